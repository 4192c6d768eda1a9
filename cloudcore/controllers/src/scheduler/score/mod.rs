//! Which of the nodes that may run a pod is best: one file a score, from 0 to 100 each, added with Kubernetes' weights.

mod affinity;
mod balance;
mod fit;
mod images;
mod pods;
mod spread;
mod taints;

use super::filter::Candidate;
use super::labels::PodSelector;
use super::pending::Pending;
use super::snapshot::Snapshot;

/// The best that a node can get in one score.
const BEST: i64 = 100;

/// The total of each candidate, in their order. `kin` selects the pods of the same owner or service, for pods that say nothing
/// about how to spread them.
pub(crate) fn score(
    snapshot: &Snapshot,
    pod: &Pending,
    kin: Option<&PodSelector>,
    candidates: &[Candidate<'_>],
) -> Vec<i64> {
    let scores = [
        (3, taints::score(pod, candidates)),
        (2, affinity::score(pod, candidates)),
        (2, spread::score(snapshot, pod, kin, candidates)),
        (2, pods::score(snapshot, pod, candidates)),
        (1, fit::score(pod, candidates)),
        (1, balance::score(pod, candidates)),
        (1, images::score(snapshot, pod, candidates)),
    ];
    let total = |at: usize| scores.iter().map(|(weight, scores)| weight * scores.get(at).unwrap_or(&0)).sum();
    (0..candidates.len()).map(total).collect()
}

/// Scales so that the largest becomes the best; all zeros stay zeros.
fn scale_to_largest(scores: &mut [i64]) {
    let largest = scores.iter().copied().max().unwrap_or(0);
    if largest > 0 {
        scores.iter_mut().for_each(|score| *score = BEST * *score / largest);
    }
}
