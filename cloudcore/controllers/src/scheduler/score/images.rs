//! Nodes that have the pod's images already. Source: Kubernetes v1.36 `plugins/imagelocality`.

use super::{BEST, Candidate};
use crate::scheduler::pending::Pending;
use crate::scheduler::snapshot::Snapshot;

/// Images below the first do not count, and those above the second, per image, no more than it; in bytes.
const LEAST: i64 = 23 << 20;
const MOST: i64 = 1000 << 20;

pub(super) fn score(snapshot: &Snapshot, pod: &Pending, candidates: &[Candidate<'_>]) -> Vec<i64> {
    let names: Vec<_> = pod.images.iter().map(|image| tagged(image)).collect();
    let nodes = i64::try_from(snapshot.len()).unwrap_or(i64::MAX).max(1);
    let most = MOST.saturating_mul(i64::try_from(names.len()).unwrap_or(1));
    let score = |on: &Candidate<'_>| {
        // An image that few nodes have counts less, lest all pods go to those few.
        let weight = |name: &String| {
            let size = on.facts.images.get(name).copied().unwrap_or(0);
            size / nodes * snapshot.nodes_with(name)
        };
        let sum = names.iter().map(weight).sum::<i64>().clamp(LEAST, most.max(LEAST + 1));
        BEST * (sum - LEAST) / (most - LEAST).max(1)
    };
    candidates.iter().map(score).collect()
}

/// The image's name as nodes report it.
fn tagged(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    if last.contains(':') || last.contains('@') { image.to_owned() } else { format!("{image}:latest") }
}
