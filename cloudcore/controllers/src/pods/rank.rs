//! Which pods of an owner to delete first when there are too many.
//!
//! Source: Kubernetes v1.36 `pkg/controller/controller_utils.go` (`ActivePodsWithRanks`). There, times of one magnitude are told apart
//! by the uid before restarts are compared, which is no order; here the uid comes last.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use crate::cache::uid_of;
use crate::pods::{is_ready, phase, ready_since};

const COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// The smallest key goes first.
type Key = (bool, u8, bool, i32, Reverse<usize>, u32, Reverse<i32>, u32, String);

/// `pods` in the order in which they should go. `related` says how many pods of the same owner each node has.
pub(crate) fn first_to_go(
    pods: &[Arc<Pod>],
    related: &HashMap<String, usize>,
    now: Timestamp,
) -> Vec<Arc<Pod>> {
    let mut pods = pods.to_vec();
    pods.sort_by_cached_key(|pod| key(pod, related, now));
    pods
}

fn key(pod: &Pod, related: &HashMap<String, usize>, now: Timestamp) -> Key {
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default();
    let phase = match phase(pod) {
        "Running" => 2,
        "Unknown" => 1,
        _ => 0,
    };
    let ready = ready_since(pod).map_or(0, |since| magnitude(since, now));
    let created = pod.metadata.creation_timestamp.as_ref().map_or(0, |time| magnitude(time.0, now));
    let neighbours = related.get(node).copied().unwrap_or(0);
    (
        !node.is_empty(),
        phase,
        is_ready(pod),
        cost(pod),
        Reverse(neighbours),
        ready,
        Reverse(restarts(pod)),
        created,
        uid_of(pod),
    )
}

/// The power of two of the time that has passed, so that pods which are about equally old count as such.
fn magnitude(since: Timestamp, now: Timestamp) -> u32 {
    let passed = now.as_nanosecond().saturating_sub(since.as_nanosecond());
    u128::try_from(passed).unwrap_or(0).checked_ilog2().map_or(0, |log| log + 1)
}

fn cost(pod: &Pod) -> i32 {
    let annotations = pod.metadata.annotations.as_ref();
    annotations.and_then(|all| all.get(COST)).and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn restarts(pod: &Pod) -> i32 {
    let containers = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    containers.into_iter().flatten().map(|container| container.restart_count).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_000_000;

    fn now() -> Timestamp {
        Timestamp::from_second(NOW).unwrap()
    }

    fn pod(
        name: &str,
        node: Option<&str>,
        phase: &str,
        ready_for: Option<i64>,
        restarts: i32,
        cost: &str,
    ) -> Arc<Pod> {
        let time = |ago: i64| Timestamp::from_second(NOW - ago).unwrap().to_string();
        let ready = ready_for.map_or("False", |_| "True");
        let pod = json!({
            "metadata": {"name": name, "uid": name, "creationTimestamp": time(90), "annotations": {COST: cost}},
            "spec": {"nodeName": node, "containers": []},
            "status": {
                "phase": phase,
                "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": time(ready_for.unwrap_or(0))}],
                "containerStatuses": [{"name": "c", "image": "", "imageID": "", "ready": true, "restartCount": restarts}],
            },
        });
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    fn order(pods: &[Arc<Pod>], related: &[(&str, usize)]) -> Vec<String> {
        let related = related.iter().map(|(node, count)| ((*node).to_owned(), *count)).collect();
        first_to_go(pods, &related, now()).iter().map(|pod| uid_of(&**pod)).collect()
    }

    #[test]
    fn what_is_worth_least_goes_first() {
        let worth = [
            pod("unbound", None, "Pending", None, 0, ""),
            pod("pending", Some("a"), "Pending", None, 0, ""),
            pod("unknown", Some("a"), "Unknown", None, 0, ""),
            pod("unready", Some("a"), "Running", None, 0, ""),
            pod("cheap", Some("a"), "Running", Some(500), 0, "-5"),
            pod("crowded", Some("b"), "Running", Some(500), 0, ""),
            pod("fresh", Some("a"), "Running", Some(5), 0, ""),
            pod("restarted", Some("a"), "Running", Some(500), 7, ""),
            pod("steady", Some("a"), "Running", Some(500), 0, ""),
            pod("dear", Some("b"), "Running", Some(5), 0, "9"),
        ];
        let wanted: Vec<_> = worth.iter().map(|pod| uid_of(&**pod)).collect();
        let mut shuffled = worth.to_vec();
        shuffled.reverse();
        assert_eq!(order(&shuffled, &[("a", 1), ("b", 2)]), wanted);
    }

    proptest! {
        #[test]
        fn the_order_does_not_depend_on_how_the_pods_came(
            seeds in prop::collection::vec((0..3usize, 0..3usize, prop::option::of(0..9i64), 0..3i32, -1..2i32), 1..12),
            rotation in 0..12usize,
        ) {
            let pods: Vec<_> = seeds.iter().enumerate().map(|(number, (node, phase, ready, restarts, cost))| {
                let node = [None, Some("a"), Some("b")][*node];
                let phase = ["Pending", "Unknown", "Running"][*phase];
                pod(&number.to_string(), node, phase, *ready, *restarts, &cost.to_string())
            }).collect();
            let mut turned = pods.clone();
            turned.rotate_left(rotation % pods.len());
            prop_assert_eq!(order(&pods, &[("a", 2)]), order(&turned, &[("a", 2)]));
        }
    }
}
