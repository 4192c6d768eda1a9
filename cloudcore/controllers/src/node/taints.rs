//! Taints that follow from a node's conditions. Pure.

use k8s_openapi::api::core::v1::{Node, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

pub(super) const NOT_READY: &str = "node.kubernetes.io/not-ready";
pub(super) const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
pub(super) const NO_EXECUTE: &str = "NoExecute";
const NO_SCHEDULE: &str = "NoSchedule";

/// Condition, status, taint.
const BY_CONDITION: &[(&str, &str, &str)] = &[
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
];

/// The status of a condition; none if the node does not have it.
pub(super) fn condition<'n>(node: &'n Node, kind: &str) -> Option<&'n str> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == kind).map(|condition| condition.status.as_str())
}

/// Whether the node says that it can run pods.
pub(super) fn is_ready(node: &Node) -> bool {
    condition(node, "Ready") == Some("True")
}

/// The key of the taint by which pods are driven off, if the node's condition is such.
pub(super) fn expelling(node: &Node) -> Option<&'static str> {
    match condition(node, "Ready")? {
        "False" => Some(NOT_READY),
        "Unknown" => Some(UNREACHABLE),
        _ => None,
    }
}

/// Whether pods are being driven off already.
pub(super) fn expels(node: &Node) -> bool {
    of(node).iter().any(|taint| is_ours(taint) && taint.effect == NO_EXECUTE)
}

pub(super) fn of(node: &Node) -> &[Taint] {
    node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default()
}

/// Whether a taint is one that follows from conditions.
fn is_ours(taint: &Taint) -> bool {
    match taint.effect.as_str() {
        NO_EXECUTE => matches!(taint.key.as_str(), NOT_READY | UNREACHABLE),
        NO_SCHEDULE => taint.key == UNSCHEDULABLE || BY_CONDITION.iter().any(|(_, _, key)| taint.key == *key),
        _ => false,
    }
}

/// The taints that the node should have, if it has others; `expel` says whether pods may be driven off.
pub(super) fn wanted(node: &Node, expel: bool, now: &Time) -> Option<Vec<Taint>> {
    let mut keys = Vec::new();
    for (kind, status, key) in BY_CONDITION {
        if condition(node, kind) == Some(status) {
            keys.push((*key, NO_SCHEDULE));
        }
    }
    // A node that has not said anything yet keeps the taint that it was born with.
    if condition(node, "Ready").is_none()
        && of(node).iter().any(|t| t.key == NOT_READY && t.effect == NO_SCHEDULE)
    {
        keys.push((NOT_READY, NO_SCHEDULE));
    }
    if node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true) {
        keys.push((UNSCHEDULABLE, NO_SCHEDULE));
    }
    keys.extend(expelling(node).filter(|_| expel).map(|key| (key, NO_EXECUTE)));

    let is_wanted =
        |taint: &Taint| keys.iter().any(|(key, effect)| taint.key == *key && taint.effect == *effect);
    let mut taints: Vec<Taint> =
        of(node).iter().filter(|taint| !is_ours(taint) || is_wanted(taint)).cloned().collect();
    let kept = taints.len();
    for (key, effect) in keys {
        if !taints.iter().any(|taint| taint.key == key && taint.effect == effect) {
            taints.push(Taint {
                key: key.to_owned(),
                effect: effect.to_owned(),
                value: None,
                time_added: Some(now.clone()),
            });
        }
    }
    (taints.len() != kept || kept != of(node).len()).then_some(taints)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(ready: &str, spec: serde_json::Value) -> Node {
        let conditions =
            json!([{"type": "Ready", "status": ready}, {"type": "DiskPressure", "status": "False"}]);
        serde_json::from_value(
            json!({"metadata": {"name": "n"}, "spec": spec, "status": {"conditions": conditions}}),
        )
        .unwrap()
    }

    fn keys(node: &Node, expel: bool) -> Option<Vec<String>> {
        let taints = wanted(node, expel, &Time(jiff::Timestamp::UNIX_EPOCH))?;
        Some(
            taints
                .iter()
                .map(|taint| format!("{}:{}", taint.key.rsplit('/').next().unwrap(), taint.effect))
                .collect(),
        )
    }

    #[test]
    fn taints_follow_the_conditions_and_leave_others_alone() {
        assert_eq!(keys(&node("True", json!({})), true), None);
        assert_eq!(keys(&node("Unknown", json!({})), false).unwrap(), ["unreachable:NoSchedule"]);
        assert_eq!(
            keys(&node("Unknown", json!({})), true).unwrap(),
            ["unreachable:NoSchedule", "unreachable:NoExecute"]
        );
        let tainted = json!({"unschedulable": true, "taints": [
            {"key": "own", "effect": "NoExecute"},
            {"key": NOT_READY, "effect": "NoSchedule"}, {"key": NOT_READY, "effect": "NoExecute"},
        ]});
        assert_eq!(
            keys(&node("Unknown", tainted.clone()), true).unwrap(),
            ["own:NoExecute", "unreachable:NoSchedule", "unschedulable:NoSchedule", "unreachable:NoExecute"]
        );
        assert_eq!(
            keys(&node("True", tainted), true).unwrap(),
            ["own:NoExecute", "unschedulable:NoSchedule"]
        );
    }

    #[test]
    fn a_node_that_never_spoke_keeps_the_taint_of_its_birth() {
        let born: Node = serde_json::from_value(json!({
            "metadata": {"name": "n"}, "spec": {"taints": [{"key": NOT_READY, "effect": "NoSchedule"}]},
        }))
        .unwrap();
        assert_eq!(keys(&born, true), None);
    }
}
