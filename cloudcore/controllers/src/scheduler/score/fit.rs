//! Nodes that have most CPU and memory left. Source: Kubernetes v1.36 `plugins/noderesources/least_allocated.go`.

use super::{BEST, Candidate};
use crate::scheduler::pending::Pending;

pub(super) fn score(pod: &Pending, candidates: &[Candidate<'_>]) -> Vec<i64> {
    candidates.iter().map(|on| left(pod, *on)).collect()
}

fn left(pod: &Pending, on: Candidate<'_>) -> i64 {
    let (taken, asked, offered) =
        (&on.node.taken.scored, &pod.footprint.requests.scored, &on.facts.allocatable);
    let pairs = [
        (taken.cpu.saturating_add(asked.cpu), offered.cpu),
        (taken.memory.saturating_add(asked.memory), offered.memory),
    ];
    let offered: Vec<_> = pairs.into_iter().filter(|(_, offered)| *offered > 0).collect();
    let score = |(used, offered): &(i64, i64)| {
        if used > offered { 0 } else { share(offered - used, *offered) }
    };
    let count = i64::try_from(offered.len()).unwrap_or(1).max(1);
    offered.iter().map(score).sum::<i64>() / count
}

/// `part` of `whole`, of [`BEST`].
fn share(part: i64, whole: i64) -> i64 {
    i64::try_from(i128::from(part) * i128::from(BEST) / i128::from(whole)).unwrap_or(BEST)
}
