//! Objects that are told, not stored: which APIs are here, and how the parts of the server are.

use serde_json::{Value, json};

use super::Api;
use crate::discovery;
use crate::registry::Resource;
use crate::schema::Json;
use crate::selector::{Index, Selector};
use crate::store::{Collection, ObjectId};

/// Where groups stand in the order of preference (Kubernetes v1.36 `pkg/controlplane/apiserver/aggregator.go`).
const PRIORITIES: &[(&str, i64)] = &[
    ("", 18_000),
    ("apps", 17_800),
    ("events.k8s.io", 17_750),
    ("authentication.k8s.io", 17_700),
    ("authorization.k8s.io", 17_600),
    ("autoscaling", 17_500),
    ("batch", 17_400),
    ("certificates.k8s.io", 17_300),
    ("networking.k8s.io", 17_200),
    ("policy", 17_100),
    ("rbac.authorization.k8s.io", 17_000),
    ("storage.k8s.io", 16_800),
    ("apiextensions.k8s.io", 16_700),
    ("admissionregistration.k8s.io", 16_700),
    ("scheduling.k8s.io", 16_600),
    ("coordination.k8s.io", 16_500),
    ("node.k8s.io", 16_300),
    ("discovery.k8s.io", 16_200),
];
/// The same for groups of CRDs.
const OF_CRDS: i64 = 1000;
/// What the server consists of; they are one process, so they are well when it answers.
const PARTS: &[&str] = &["controller-manager", "etcd-0", "scheduler"];

/// All objects of the kind, by name; none when they are stored.
pub(super) fn objects(api: &Api, resource: &Resource) -> Option<Vec<Value>> {
    match (resource.group.as_str(), resource.plural.as_str()) {
        ("", "componentstatuses") => Some(PARTS.iter().map(|part| component(part)).collect()),
        ("apiregistration.k8s.io", "apiservices") => Some(services(api)),
        _ => None,
    }
}

/// Those of them that are selected.
pub(super) fn selected(objects: Vec<Value>, collection: &Collection, selector: &Selector) -> Vec<Value> {
    let takes = |object: &Value| {
        selector.matches_document(&Index::of(collection.as_str(), object), || object.clone())
    };
    objects.into_iter().filter(takes).collect()
}

fn component(name: &str) -> Value {
    json!({
        "kind": "ComponentStatus", "apiVersion": "v1", "metadata": {"name": name},
        "conditions": [{"type": "Healthy", "status": "True", "message": "ok"}],
    })
}

fn services(api: &Api) -> Vec<Value> {
    let snapshot = api.registry.snapshot();
    let mut served = discovery::groups(&snapshot);
    served.push(("", vec!["v1"]));
    let since = made(api);
    let mut services: Vec<Value> = served
        .iter()
        // This group is the one that tells; Kubernetes does not list it either.
        .filter(|(group, _)| *group != "apiregistration.k8s.io")
        .flat_map(|(group, versions)| {
            let best = versions.len();
            let since = &since;
            versions.iter().enumerate().map(move |(at, version)| service(group, version, best - at, since))
        })
        .collect();
    services.sort_by(|one, other| one.text("/metadata/name").cmp(other.text("/metadata/name")));
    services
}

/// When the cluster was made: of what is told, nothing is older, and most is not younger.
fn made(api: &Api) -> String {
    let oldest = api.store.get(&ObjectId::new(&Collection::new("", "namespaces"), "", "kube-system"));
    oldest
        .map(|namespace| namespace.value().text("/metadata/creationTimestamp").to_owned())
        .unwrap_or_default()
}

fn service(group: &str, version: &str, rank: usize, since: &str) -> Value {
    let known = PRIORITIES.iter().find(|(name, _)| *name == group);
    let managed = if known.is_some() { "onstart" } else { "true" };
    let mut spec = json!({
        "version": version, "groupPriorityMinimum": known.map_or(OF_CRDS, |(_, priority)| *priority),
        "versionPriority": rank,
    });
    if !group.is_empty() {
        spec["group"] = json!(group);
    }
    json!({
        "kind": "APIService", "apiVersion": "apiregistration.k8s.io/v1",
        "metadata": {
            "name": format!("{version}.{group}"), "creationTimestamp": since,
            "labels": {"kube-aggregator.kubernetes.io/automanaged": managed},
        },
        "spec": spec,
        "status": {"conditions": [{
            "type": "Available", "status": "True", "reason": "Local", "lastTransitionTime": since,
            "message": "Local APIServices are always available",
        }]},
    })
}
