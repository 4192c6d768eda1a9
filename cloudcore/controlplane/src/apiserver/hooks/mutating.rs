//! Webhooks that may change an object: one after the other, by name.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::Question;
use super::reply::Reply;
use super::webhook::{Trouble, Webhook};
use crate::apiserver::Api;
use crate::patch::{self, PatchType};
use crate::registry::Resource;
use crate::status::Status;

impl Api {
    /// The object as the mutating webhooks want it; none when they leave it as it is.
    pub(in crate::apiserver) async fn mutate(
        &self,
        question: &Question<'_>,
        object: Option<&Value>,
    ) -> Result<Option<Value>, Status> {
        if !self.has_mutators(question.target) {
            return Ok(None);
        }
        let hooks = self.registrations.mutating(&self.store);
        let mut current = object.cloned();
        let mut changed = false;
        // Those who asked for it see the object again when it was changed after them, once.
        let (mut seen, mut again) = (BTreeSet::new(), BTreeSet::new());
        for round in 0..2 {
            for (index, hook) in hooks.iter().enumerate() {
                if round > 0 && !again.contains(&index) {
                    continue;
                }
                let Some(asked) = hook.concerns(self, question, current.as_ref())? else { continue };
                let place = format!("round_{round}_index_{index}");
                let new = self.change(question, hook, &asked, current.as_ref(), &place).await?;
                if let Some(new) = new {
                    current = Some(new);
                    changed = true;
                    again.append(&mut seen);
                }
                if hook.again && round == 0 {
                    seen.insert(index);
                }
            }
        }
        Ok(current.filter(|_| changed))
    }

    /// What one webhook makes of the object, if anything.
    async fn change(
        &self,
        question: &Question<'_>,
        hook: &Webhook,
        asked: &Resource,
        object: Option<&Value>,
        place: &str,
    ) -> Result<Option<Value>, Status> {
        let notes = &question.target.notes;
        let answer = question.target.turn.without(hook.ask(self, question, asked, object, true)).await;
        let told = match answer {
            Ok(reply) => patched(question, hook, asked, object, &reply),
            Err(trouble) => Err(trouble),
        };
        let (mutated, new) = match told {
            Ok(new) => (new.is_some(), new),
            Err(Trouble::Final(status)) => return Err(status),
            Err(Trouble::Call(why)) => match hook.unreached(&why) {
                Some(status) => return Err(status),
                None => {
                    let key = format!("failed-open.mutation.webhook.admission.k8s.io/{place}");
                    notes.annotate(key, hook.name.clone());
                    (false, None)
                }
            },
        };
        let note = json!({"configuration": hook.configuration, "webhook": hook.name, "mutated": mutated});
        notes.annotate(format!("mutation.webhook.admission.k8s.io/{place}"), note.to_string());
        Ok(new)
    }
}

/// The object with the webhook's patch, complete again; none when that changes nothing.
fn patched(
    question: &Question<'_>,
    hook: &Webhook,
    asked: &Resource,
    object: Option<&Value>,
    reply: &Reply,
) -> Result<Option<Value>, Trouble> {
    let Some(patch) = &reply.patch else { return Ok(None) };
    let wrong = |why: String| Trouble::Final(Status::internal(&why).with_cause("", &why, ""));
    let Some(object) = object else {
        return Err(wrong(format!(
            "admission webhook \"{}\" attempted to modify the object, which is not supported for this operation",
            hook.name
        )));
    };
    if reply.patch_type != "JSONPatch" {
        return Err(Trouble::Call(format!("unsupported patch type \"{}\"", reply.patch_type)));
    }
    let shown = question.convert(asked, object);
    let mut new =
        patch::apply(PatchType::Json, asked, &shown, patch).map_err(|error| wrong(error.to_string()))?;
    if new == shown {
        return Ok(None);
    }
    // What a webhook makes must still be an object of its kind.
    if new["kind"] != shown["kind"] || new["apiVersion"] != shown["apiVersion"] {
        let found = format!("{}, Kind={}", new["apiVersion"], new["kind"]).replace('"', "");
        return Err(wrong(format!(
            "admission webhook \"{}\" changed the kind of the object to {found}",
            hook.name
        )));
    }
    if !question.has_own_body() {
        let decoded = asked.decode(&mut new);
        decoded.map_err(|error| {
            let (kind, version) = (&asked.kind, &asked.version);
            wrong(format!("{kind} in version \"{version}\" cannot be handled as a {kind}: {error}"))
        })?;
    }
    let mut new = question.convert_back(asked, &new);
    (question.settle)(&mut new).map_err(Trouble::Final)?;
    Ok(Some(new).filter(|new| new != object))
}
