//! Nodes whose CPU and memory would be used alike. Source: Kubernetes v1.36 `plugins/noderesources/balanced_allocation.go`.

use super::{BEST, Candidate};
use crate::scheduler::pending::Pending;

pub(super) fn score(pod: &Pending, candidates: &[Candidate<'_>]) -> Vec<i64> {
    let asked = &pod.footprint.requests.needed;
    if asked.cpu == 0 && asked.memory == 0 {
        return vec![0; candidates.len()];
    }
    candidates.iter().map(|on| balance(pod, *on)).collect()
}

#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "a score from 0 to 100")]
fn balance(pod: &Pending, on: Candidate<'_>) -> i64 {
    let (taken, asked, offered) =
        (&on.node.taken.needed, &pod.footprint.requests.needed, &on.facts.allocatable);
    let fraction = |taken: i64, asked: i64, offered: i64| {
        (offered > 0).then(|| (taken.saturating_add(asked) as f64 / offered as f64).min(1.0))
    };
    let fractions =
        (fraction(taken.cpu, asked.cpu, offered.cpu), fraction(taken.memory, asked.memory, offered.memory));
    let deviation = match fractions {
        (Some(cpu), Some(memory)) => (cpu - memory).abs() / 2.0,
        _ => 0.0,
    };
    ((1.0 - deviation) * BEST as f64) as i64
}
