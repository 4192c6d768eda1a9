//! What the agent of a node may do: look after itself, its pods, and read what they use.
//!
//! Source: Kubernetes v1.36 `plugin/pkg/auth/authorizer/node`. What it may write into objects is for `admission` to see.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::rights::{Attributes, selected};
use crate::selector::FieldSelector;
use crate::store::{Collection, ListQuery, ObjectId, Store};

/// What every node may, whichever objects it is about.
const FREE: &[(&str, &str, &[&str])] = &[
    ("", "endpoints", &["get"]),
    ("", "events", &["create", "patch", "update"]),
    ("", "nodes", &["create"]),
    ("", "pods", &["create"]),
    ("", "services", &["get", "list", "watch"]),
    ("authentication.k8s.io", "tokenreviews", &["create"]),
    ("authorization.k8s.io", "localsubjectaccessreviews", &["create"]),
    ("authorization.k8s.io", "subjectaccessreviews", &["create"]),
    ("certificates.k8s.io", "certificatesigningrequests", &["create", "get", "list", "watch"]),
    ("node.k8s.io", "runtimeclasses", &["get", "list", "watch"]),
    ("storage.k8s.io", "csidrivers", &["get", "list", "watch"]),
    ("storage.k8s.io", "volumeattachments", &["get"]),
];

/// Besides, where the object must be the node's own.
const OWN: &[(&str, &str, &[&str])] = &[
    ("", "configmaps", &["get", "list", "watch"]),
    ("", "nodes", &["get", "list", "patch", "update", "watch"]),
    ("", "nodes/status", &["patch", "update"]),
    ("", "persistentvolumeclaims", &["get"]),
    ("", "persistentvolumes", &["get"]),
    ("", "pods", &["delete", "get", "list", "watch"]),
    ("", "pods/eviction", &["create"]),
    ("", "pods/status", &["patch", "update"]),
    ("", "secrets", &["get", "list", "watch"]),
    ("", "serviceaccounts/token", &["create"]),
    ("coordination.k8s.io", "leases", &["create", "delete", "get", "patch", "update"]),
    ("storage.k8s.io", "csinodes", &["create", "delete", "get", "patch", "update"]),
];

/// The rules of the role `system:node`, which nobody is bound to: it shows what nodes may.
pub(crate) fn rules() -> Vec<Value> {
    let rule = |(group, resource, verbs): &(&str, &str, &[&str])| json!({"apiGroups": [group], "resources": [resource], "verbs": verbs});
    FREE.iter().chain(OWN).map(rule).collect()
}

fn within(table: &[(&str, &str, &[&str])], group: &str, resource: &str, verb: &str) -> bool {
    table.iter().any(|(known, plural, verbs)| *known == group && *plural == resource && verbs.contains(&verb))
}

/// Whether the agent of `node` may.
pub(super) fn may(store: &Store, node: &str, what: Attributes<'_>) -> bool {
    let Attributes::Resource { verb, group, resource, namespace, name, fields } = what else { return false };
    if within(FREE, group, resource, verb) {
        return true;
    }
    within(OWN, group, resource, verb)
        && match (group, resource) {
            ("", "nodes" | "nodes/status") | ("storage.k8s.io", "csinodes") => {
                name == node || verb == "create"
            }
            ("coordination.k8s.io", _) => {
                namespace == "kube-node-lease" && (name == node || verb == "create")
            }
            ("", "pods") if matches!(verb, "list" | "watch") => {
                selected(fields, "spec.nodeName") == Some(node)
            }
            // Those of others are refused by admission, with a better reason.
            ("", "pods") if verb == "delete" => true,
            ("", "pods") => is_at(store, node, namespace, name),
            ("", "pods/status" | "pods/eviction") => true,
            ("", "persistentvolumes") => claimed(store, node, name),
            (_, plural) => !name.is_empty() && used(store, node, namespace, plural).contains(name),
        }
}

/// Whether the pod runs on the node.
fn is_at(store: &Store, node: &str, namespace: &str, pod: &str) -> bool {
    let id = ObjectId::new(&Collection::new("", "pods"), namespace, pod);
    store.get(&id).is_some_and(|pod| pod.value()["spec"]["nodeName"] == node)
}

fn pods(store: &Store, node: &str, namespace: Option<&str>) -> Vec<Value> {
    let collection = Collection::new("", "pods");
    let query = ListQuery { collection: &collection, namespace, at: None, after: None, limit: 0 };
    let Ok(selector) = FieldSelector::parse(&format!("spec.nodeName={node}"), "pods") else {
        return Vec::new();
    };
    // The newest state is always there.
    let page = store.list(&query, |object| selector.matches(&object.index));
    page.map(|page| page.objects.iter().map(|(_, pod)| pod.value()).collect()).unwrap_or_default()
}

/// Names of the objects of a kind in a namespace that the node's pods use.
fn used(store: &Store, node: &str, namespace: &str, plural: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for pod in pods(store, node, Some(namespace)) {
        if plural == "serviceaccounts/token" {
            found.extend(pod["spec"]["serviceAccountName"].as_str().map(str::to_owned));
        } else {
            mentions(&pod["spec"], plural, &mut found);
        }
    }
    found
}

/// Whether a claim of one of the node's pods is bound to the volume.
fn claimed(store: &Store, node: &str, volume: &str) -> bool {
    pods(store, node, None).iter().any(|pod| {
        let mut claims = BTreeSet::new();
        mentions(&pod["spec"], "persistentvolumeclaims", &mut claims);
        let namespace = pod["metadata"]["namespace"].as_str().unwrap_or_default();
        claims.iter().any(|claim| {
            let id = ObjectId::new(&Collection::new("", "persistentvolumeclaims"), namespace, claim);
            store.get(&id).is_some_and(|claim| claim.value()["spec"]["volumeName"] == volume)
        })
    })
}

/// Collects the names under which a pod spec mentions objects of a kind.
pub(crate) fn mentions(spec: &Value, plural: &str, found: &mut BTreeSet<String>) {
    let keys: &[&str] = match plural {
        "secrets" => &["secret", "secretRef", "secretKeyRef", "nodePublishSecretRef", "imagePullSecrets"],
        "configmaps" => &["configMap", "configMapRef", "configMapKeyRef"],
        "persistentvolumeclaims" => &["persistentVolumeClaim"],
        _ => return,
    };
    match spec {
        Value::Object(map) => {
            for (key, value) in map {
                if keys.contains(&key.as_str()) {
                    let several = value.as_array().map(Vec::as_slice).unwrap_or_default();
                    for one in several.iter().chain([value]) {
                        let named =
                            ["name", "secretName", "claimName"].iter().find_map(|key| one.get(key)?.as_str());
                        found.extend(named.map(str::to_owned));
                    }
                }
                mentions(value, plural, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| mentions(item, plural, found)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_a_pod_uses_is_found() {
        let spec = json!({
            "imagePullSecrets": [{"name": "pull"}],
            "containers": [{
                "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "env", "key": "k"}}}],
                "envFrom": [{"configMapRef": {"name": "from"}}],
            }],
            "volumes": [
                {"name": "v", "secret": {"secretName": "vol"}},
                {"name": "p", "projected": {"sources": [{"secret": {"name": "proj"}}, {"configMap": {"name": "ca"}}]}},
                {"name": "c", "persistentVolumeClaim": {"claimName": "data"}},
            ],
        });
        let of = |plural: &str| {
            let mut found = BTreeSet::new();
            mentions(&spec, plural, &mut found);
            found.into_iter().collect::<Vec<_>>()
        };
        assert_eq!(of("secrets"), ["env", "proj", "pull", "vol"]);
        assert_eq!(of("configmaps"), ["ca", "from"]);
        assert_eq!(of("persistentvolumeclaims"), ["data"]);
    }
}
