//! Admission plugins NodeRestriction and TaintNodesByCondition: what the agent of a node may not write, and how a node begins.
//!
//! Source: Kubernetes v1.36 `plugin/pkg/admission/noderestriction`.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::auth::nodes::mentions;
use super::super::objects::Part;
use super::{Target, forbidden};
use crate::schema::Json;
use crate::status::Status;

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const MIRROR: &str = "kubernetes.io/config.mirror";
/// Labels of Kubernetes' own that an agent may set on its node.
const LABELS: &[&str] = &[
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "kubernetes.io/arch",
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "node.kubernetes.io/instance-type",
    "node.kubernetes.io/windows-build",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];
/// KubeEdge's agents say with these that they are at the edge.
const ROLES: &[&str] = &["node-role.kubernetes.io/edge", "node-role.kubernetes.io/agent"];

/// A new node is no place for pods before its agent says that it is ready. One that says so at once needs nobody to take the taint away
/// again.
pub(super) fn not_ready_yet(node: &mut Value) {
    let ready = |one: &Value| one.text("/type") == "Ready" && one.text("/status") == "True";
    if node.list("/status/conditions").iter().any(ready) {
        return;
    }
    let Some(spec) = node.child("spec") else { return };
    let there = |taint: &Value| taint.text("/key") == NOT_READY && taint.text("/effect") == "NoSchedule";
    if !spec.list("/taints").iter().any(there) {
        spec.default_to("taints", Vec::<Value>::new());
        if let Some(taints) = spec.get_mut("taints").and_then(Value::as_array_mut) {
            taints.push(json!({"key": NOT_READY, "effect": "NoSchedule"}));
        }
    }
}

fn agent(target: &Target) -> Option<&str> {
    target.who.as_deref()?.node()
}

pub(super) fn create(target: &Target, new: &Value) -> Result<(), Status> {
    let Some(node) = agent(target) else { return Ok(()) };
    let refuse = |why: &str| Err(forbidden(target, new, why));
    let name = new.text("/metadata/name");
    match kind(target) {
        "pods" => {
            if !new.object("/metadata/annotations").is_some_and(|all| all.contains_key(MIRROR)) {
                return refuse(&format!(
                    "pod does not have \"{MIRROR}\" annotation, node {node:?} can only create mirror pods"
                ));
            }
            if new.text("/spec/nodeName") != node {
                return refuse(&format!(
                    "node {node:?} can only create pods with spec.nodeName set to itself"
                ));
            }
            for plural in ["secrets", "configmaps", "persistentvolumeclaims"] {
                let mut used = BTreeSet::new();
                mentions(&new["spec"], plural, &mut used);
                if !used.is_empty() {
                    return refuse(&format!("node {node:?} can not create pods that reference {plural}"));
                }
            }
            Ok(())
        }
        "nodes" if name != node => refuse(&format!("node {node:?} is not allowed to modify node {name:?}")),
        "nodes" => labels(target, node, &json!({}), new),
        "leases" if target.namespace != "kube-node-lease" || name != node => {
            refuse("can only access node lease with the same name as the requesting node")
        }
        _ => Ok(()),
    }
}

pub(super) fn update(target: &Target, part: Part, old: &Value, new: &Value) -> Result<(), Status> {
    let Some(node) = agent(target) else { return Ok(()) };
    match kind(target) {
        "pods" if part == Part::Status && old.text("/spec/nodeName") != node => Err(forbidden(
            target,
            old,
            &format!("node {node:?} can only update pod status for pods with spec.nodeName set to itself"),
        )),
        "nodes" => {
            if old.list("/spec/taints") != new.list("/spec/taints") && part != Part::Status {
                let why = format!("node {node:?} is not allowed to modify taints");
                return Err(forbidden(target, old, &why));
            }
            labels(target, node, old, new)
        }
        _ => Ok(()),
    }
}

pub(super) fn remove(target: &Target, object: &Value) -> Result<(), Status> {
    match agent(target) {
        Some(node) if kind(target) == "pods" && object.text("/spec/nodeName") != node => {
            let why = format!("node {node:?} can only delete pods with spec.nodeName set to itself");
            Err(forbidden(target, object, &why))
        }
        _ => Ok(()),
    }
}

fn kind(target: &Target) -> &str {
    match target.resource.group.as_str() {
        "" | "coordination.k8s.io" => &target.resource.plural,
        _ => "",
    }
}

/// An agent may not make its node look like a place for pods that need a trusted one.
fn labels(target: &Target, node: &str, old: &Value, new: &Value) -> Result<(), Status> {
    let empty = serde_json::Map::new();
    let of = |object: &'_ Value| object.object("/metadata/labels").cloned().unwrap_or_else(|| empty.clone());
    let (before, after) = (of(old), of(new));
    let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let changed = keys.into_iter().filter(|key| before.get(*key) != after.get(*key));
    let closed: Vec<&str> = changed.map(String::as_str).filter(|key| !is_open(key)).collect();
    if closed.is_empty() {
        return Ok(());
    }
    let why = format!("node {node:?} is not allowed to modify labels: {}", closed.join(", "));
    Err(forbidden(target, new, &why))
}

fn is_open(label: &str) -> bool {
    let prefix = label.split_once('/').map_or("", |(prefix, _)| prefix);
    let ours = |domain: &str| prefix == domain || prefix.ends_with(&format!(".{domain}"));
    let restricted =
        prefix == "node-restriction.kubernetes.io" || prefix.ends_with(".node-restriction.kubernetes.io");
    !restricted
        && (!(ours("kubernetes.io") || ours("k8s.io"))
            || LABELS.contains(&label)
            || ROLES.contains(&label)
            || ["kubelet.kubernetes.io", "node.kubernetes.io"].iter().any(|open| ours(open)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_kubernetes_are_closed_but_for_the_known_ones() {
        for open in [
            "team",
            "example.com/x",
            "kubernetes.io/hostname",
            "node-role.kubernetes.io/edge",
            "node.kubernetes.io/y",
        ] {
            assert!(is_open(open), "{open}");
        }
        for closed in [
            "node-restriction.kubernetes.io/x",
            "kubernetes.io/x",
            "node-role.kubernetes.io/control-plane",
            "x.k8s.io/y",
        ] {
            assert!(!is_open(closed), "{closed}");
        }
    }
}
