//! Webhooks that may only refuse: all at once.

use std::sync::Arc;

use futures::{StreamExt, stream};
use serde_json::Value;

use super::Question;
use super::webhook::{Trouble, Webhook};
use crate::apiserver::Api;
use crate::registry::Resource;
use crate::status::Status;

/// How many are asked about one request at the same time; more wait.
const AT_ONCE: usize = 32;

impl Api {
    /// Refuses what a policy or a validating webhook does not want. Policies come first: they cost less.
    pub(in crate::apiserver) async fn judge(
        &self,
        question: &Question<'_>,
        object: Option<&Value>,
    ) -> Result<(), Status> {
        if !self.has_judges(question.target) {
            return Ok(());
        }
        if let Some(refusal) = self.policies_refuse(question, object)? {
            return Err(refusal);
        }
        let mut concerned = Vec::new();
        for hook in self.registrations.validating(&self.store) {
            if let Some(asked) = hook.concerns(self, question, object)? {
                concerned.push((concerned.len(), hook, asked));
            }
        }
        if concerned.is_empty() {
            return Ok(());
        }
        let asked = concerned
            .into_iter()
            .map(|(index, hook, asked)| self.refusal(question, object, index, hook, asked));
        let answers = stream::iter(asked).buffered(AT_ONCE).collect();
        let refusals: Vec<Option<Status>> = question.target.turn.without(answers).await;
        refusals.into_iter().flatten().next().map_or(Ok(()), Err)
    }

    async fn refusal(
        &self,
        question: &Question<'_>,
        object: Option<&Value>,
        index: usize,
        hook: Arc<Webhook>,
        asked: Arc<Resource>,
    ) -> Option<Status> {
        match hook.ask(self, question, &asked, object, false).await {
            Ok(_) => None,
            Err(Trouble::Final(status)) => Some(status),
            Err(Trouble::Call(why)) => {
                let status = hook.unreached(&why);
                if status.is_none() {
                    let key =
                        format!("failed-open.validating.webhook.admission.k8s.io/round_0_index_{index}");
                    question.target.notes.annotate(key, hook.name.clone());
                }
                status
            }
        }
    }
}
