//! Namespaces: what every one has (service account `default`, the CA's certificate), and how one that is deleted gets empty.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;

use serde_json::{Value, json};

use super::{all, place};
use crate::apiserver::objects::Part;
use crate::apiserver::{Api, Deletion, Propagation, Target, Write, metadata};
use crate::status::{Reason, Status};

const ROOT_CA: &str = "kube-root-ca.crt";

/// Furnishes and empties; tells whether a namespace is on its way out.
pub(super) async fn pass(api: &Api) -> bool {
    let Some(namespaces) = place(api, "", "v1", "namespaces", "", "") else { return false };
    let mut leaving = false;
    for (key, namespace) in all(api, &namespaces, None) {
        if namespace["metadata"]["deletionTimestamp"].is_null() {
            api.furnish(&key.name).await;
        } else {
            leaving = true;
            if let Err(status) = clear(api, &namespaces.named(&key.name)).await {
                tracing::warn!(namespace = &*key.name, "cannot clear a namespace yet: {status}");
            }
        }
    }
    leaving
}

impl Api {
    /// Gives a namespace what every namespace has. Does nothing to one that is going or gone.
    pub(crate) fn furnish<'a>(&'a self, namespace: &'a str) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        // Boxed, because creating an object furnishes namespaces.
        Box::pin(async move {
            let going = |object: &Value| !object["metadata"]["deletionTimestamp"].is_null();
            let known = place(self, "", "v1", "namespaces", "", namespace)
                .and_then(|target| self.store.get(&target.id()))
                .is_some_and(|object| !going(&object.value()));
            if !known {
                return;
            }
            let account =
                json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
            let note = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.";
            let authority = json!({
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": ROOT_CA, "annotations": {"kubernetes.io/description": note}},
                "data": {"ca.crt": self.ca},
            });
            for (plural, name, object) in
                [("serviceaccounts", "default", account), ("configmaps", ROOT_CA, authority)]
            {
                if let Some(target) = place(self, "", "v1", plural, namespace, name) {
                    ensure(self, &target, object).await;
                }
            }
        })
    }
}

/// Creates the object, or puts its `data` right.
async fn ensure(api: &Api, target: &Target, object: Value) {
    let done = match api.store.get(&target.id()) {
        None => api.create(target, object, &Write::by_server()).await,
        Some(there) if object.get("data").is_none_or(|data| there.value().get("data") == Some(data)) => {
            return;
        }
        Some(_) => {
            let right = |old: &Value| {
                let mut new = old.clone();
                new["data"] = object["data"].clone();
                Ok(new)
            };
            api.modify(target, Part::Whole, &Write::by_server(), right).await
        }
    };
    match done {
        Ok(_) => {}
        Err(status)
            if matches!(status.reason, Reason::AlreadyExists | Reason::NotFound | Reason::Forbidden) => {}
        Err(status) => tracing::warn!("cannot furnish namespace {}: {status}", target.namespace),
    }
}

/// One round: asks everything in the namespace to go, and lets the namespace go when nothing is left.
async fn clear(api: &Api, namespace: &Target) -> Result<(), Status> {
    let mut seen = BTreeSet::new();
    let mut left: BTreeMap<String, usize> = BTreeMap::new();
    let mut kept: BTreeMap<String, usize> = BTreeMap::new();
    let mut failures = Vec::new();
    let how = Deletion { propagation: Some(Propagation::Background), ..Deletion::default() };
    for resource in &api.registry.snapshot().resources {
        let target = Target::new(resource.clone(), &namespace.name, "");
        if !resource.namespaced || !seen.insert(target.collection.clone()) {
            continue;
        }
        for (key, object) in all(api, &target, Some(&namespace.name)) {
            if object["metadata"]["deletionTimestamp"].is_null() {
                match api.remove(&target.named(&key.name), &how).await {
                    Ok(_) => {}
                    Err(status) if status.reason == Reason::NotFound => {}
                    Err(status) => failures.push(status.to_string()),
                }
            }
        }
        let rest = all(api, &target, Some(&namespace.name));
        if !rest.is_empty() {
            // The dot stays for core resources, too: Kubernetes writes `configmaps. has 1 resource instances`.
            *left.entry(format!("{}.{}", resource.plural, resource.group)).or_default() += rest.len();
        }
        for finalizer in rest
            .iter()
            .flat_map(|(_, object)| object["metadata"]["finalizers"].as_array().into_iter().flatten())
        {
            *kept.entry(finalizer.as_str().unwrap_or_default().to_owned()).or_default() += 1;
        }
    }
    let empty = left.is_empty();
    api.modify(namespace, Part::Whole, &Write::by_nobody(false), |old| {
        let mut new = old.clone();
        if empty {
            new["spec"]["finalizers"] = json!([]);
        } else {
            describe(&mut new, &left, &kept, &failures);
        }
        Ok(new)
    })
    .await
    .map(drop)
    .or_else(|status| if status.reason == Reason::NotFound { Ok(()) } else { Err(status) })
}

/// Says in the conditions what is waited for.
fn describe(
    namespace: &mut Value,
    left: &BTreeMap<String, usize>,
    kept: &BTreeMap<String, usize>,
    failures: &[String],
) {
    let count = |counts: &BTreeMap<String, usize>, verb: &str| {
        let parts = counts.iter().map(|(name, count)| format!("{name} {verb}{count} resource instances"));
        parts.collect::<Vec<_>>().join(", ")
    };
    let time = metadata::now();
    let mut say = |kind: &str, status: &str, reason: &str, message: String| {
        metadata::set_condition(namespace, kind, status, reason, &message, &time);
    };
    say(
        "NamespaceDeletionDiscoveryFailure",
        "False",
        "ResourcesDiscovered",
        "All resources successfully discovered".to_owned(),
    );
    say(
        "NamespaceDeletionGroupVersionParsingFailure",
        "False",
        "ParsedGroupVersions",
        "All legacy kube types successfully parsed".to_owned(),
    );
    if failures.is_empty() {
        let message = "All content successfully deleted, may be waiting on finalization".to_owned();
        say("NamespaceDeletionContentFailure", "False", "ContentDeleted", message);
    } else {
        let (count, all) = (failures.len(), failures.join(", "));
        let message = format!("Failed to delete all resource types, {count} remaining: {all}");
        say("NamespaceDeletionContentFailure", "True", "ContentDeletionFailed", message);
    }
    say(
        "NamespaceContentRemaining",
        "True",
        "SomeResourcesRemain",
        format!("Some resources are remaining: {}", count(left, "has ")),
    );
    if kept.is_empty() {
        say(
            "NamespaceFinalizersRemaining",
            "False",
            "ContentHasNoFinalizers",
            "All content-preserving finalizers finished".to_owned(),
        );
    } else {
        let message =
            format!("Some content in the namespace has finalizers remaining: {}", count(kept, "in "));
        say("NamespaceFinalizersRemaining", "True", "SomeFinalizersRemain", message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_that_cannot_go_says_what_holds_it() {
        let mut namespace = json!({"metadata": {"name": "n"}});
        let (left, kept) = ([("pods.".to_owned(), 2)].into(), BTreeMap::new());
        describe(&mut namespace, &left, &kept, &["disk full".to_owned()]);
        let condition = |index: usize| {
            let condition = &namespace["status"]["conditions"][index];
            ["type", "status", "reason", "message"].map(|key| condition[key].as_str().unwrap().to_owned())
        };
        let failure = [
            "NamespaceDeletionContentFailure",
            "True",
            "ContentDeletionFailed",
            "Failed to delete all resource types, 1 remaining: disk full",
        ];
        assert_eq!(condition(2), failure);
        assert_eq!(condition(3)[3], "Some resources are remaining: pods. has 2 resource instances");
        assert_eq!(condition(4)[3], "All content-preserving finalizers finished");
    }
}
