//! Custom kinds: a definition is taken into the registry with the write that brings it, and its objects go before it does.

use jiff::Timestamp;
use serde_json::Value;

use super::{all, place};
use crate::apiserver::objects::Part;
use crate::apiserver::{Api, CRD_FINALIZER, Deletion, Target, Write, metadata};
use crate::status::{Reason, Status};
use crate::store::Collection;

fn definition(api: &Api, name: &str) -> Option<Target> {
    place(api, "apiextensions.k8s.io", "v1", "customresourcedefinitions", "", name)
}

/// Clears the objects of definitions that go; tells whether one is on its way out.
pub(super) async fn pass(api: &Api) -> bool {
    let Some(definitions) = definition(api, "") else { return false };
    let mut leaving = false;
    for (key, crd) in all(api, &definitions, None) {
        if !crd["metadata"]["deletionTimestamp"].is_null() {
            leaving = true;
            if let Err(status) = clear(api, &definitions.named(&key.name), &crd).await {
                tracing::warn!(crd = &*key.name, "cannot clear a custom resource definition yet: {status}");
            }
        }
    }
    leaving
}

impl Api {
    /// Makes the registry serve what the stored definition says now, and the definition say what is served.
    pub(crate) async fn sync_crd(&self, name: &str) {
        let _one_at_a_time = self.crds.lock().await;
        let Some(target) = definition(self, name) else { return };
        if self.store.get(&target.id()).is_some() {
            return self.install(&target).await;
        }
        self.registry.remove_crd(name);
        // Somebody may have waited for its names.
        for (key, crd) in all(self, &target, None) {
            if !has_its_names(&crd) {
                self.install(&target.named(&key.name)).await;
            }
        }
    }

    async fn install(&self, target: &Target) {
        let Some(stored) = self.store.get(&target.id()) else { return };
        let status = self.registry.install_crd(&stored.value(), Timestamp::now());
        let said = |old: &Value| {
            let mut new = old.clone();
            new["status"] = status.clone();
            Ok(new)
        };
        // Not through `modify`, which would come back here.
        if let Err(status) = self.write(target, Part::Whole, &Write::by_nobody(false), said).await
            && status.reason != Reason::NotFound
        {
            tracing::warn!(
                crd = target.name,
                "cannot write the status of a custom resource definition: {status}"
            );
        }
    }
}

fn has_its_names(crd: &Value) -> bool {
    let conditions = crd["status"]["conditions"].as_array();
    conditions
        .is_some_and(|all| all.iter().any(|one| one["type"] == "NamesAccepted" && one["status"] == "True"))
}

/// One round: asks all objects to go, and lets the definition go when none is left.
async fn clear(api: &Api, target: &Target, crd: &Value) -> Result<(), Status> {
    let text = |pointer: &str| crd.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (group, plural) = (text("/spec/group"), text("/spec/names/plural"));
    let snapshot = api.registry.snapshot();
    let served = snapshot.resources.iter().find(|one| one.group == group && one.plural == plural);
    if let Some(resource) = served {
        let objects = Target::new(resource.clone(), "", "");
        for (key, object) in all(api, &objects, None) {
            if !object["metadata"]["deletionTimestamp"].is_null() {
                continue;
            }
            let one = Target { namespace: key.namespace.to_string(), ..objects.named(&key.name) };
            match api.remove(&one, &Deletion::default()).await {
                Ok(_) => {}
                Err(status) if status.reason == Reason::NotFound => {}
                Err(status) => return Err(status),
            }
        }
    }
    let empty = api.store.count(&Collection::new(group, plural)) == 0;
    let time = metadata::now();
    let next = |old: &Value| {
        let mut new = old.clone();
        if empty {
            if let Some(finalizers) = new["metadata"]["finalizers"].as_array_mut() {
                finalizers.retain(|finalizer| finalizer != CRD_FINALIZER);
            }
        } else {
            let message = "CustomResource deletion is in progress";
            metadata::set_condition(
                &mut new,
                "Terminating",
                "True",
                "InstanceDeletionInProgress",
                message,
                &time,
            );
        }
        Ok(new)
    };
    match api.modify(target, Part::Whole, &Write::by_nobody(false), next).await {
        Err(status) if status.reason != Reason::NotFound => Err(status),
        _ => Ok(()),
    }
}
