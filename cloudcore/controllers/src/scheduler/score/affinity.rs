//! Nodes that the pod's preferred node affinity matches.

use super::{Candidate, scale_to_largest};
use crate::scheduler::pending::Pending;

pub(super) fn score(pod: &Pending, candidates: &[Candidate<'_>]) -> Vec<i64> {
    let matched = |on: &Candidate<'_>| {
        let terms = pod.preferred.iter().filter(|(_, term)| term.matches(on.name, &on.facts.labels));
        terms.map(|(weight, _)| weight).sum()
    };
    let mut scores: Vec<i64> = candidates.iter().map(matched).collect();
    scale_to_largest(&mut scores);
    scores
}
