//! Nodes with few `PreferNoSchedule` taints that the pod does not tolerate.

use super::{BEST, Candidate, scale_to_largest};
use crate::scheduler::pending::Pending;

pub(super) fn score(pod: &Pending, candidates: &[Candidate<'_>]) -> Vec<i64> {
    let bad = |on: &Candidate<'_>| {
        let untolerated =
            |taint| pod.untolerated(std::slice::from_ref(taint), &["PreferNoSchedule"]).is_some();
        i64::try_from(on.facts.taints.iter().filter(|taint| untolerated(taint)).count()).unwrap_or(i64::MAX)
    };
    let mut scores: Vec<_> = candidates.iter().map(bad).collect();
    scale_to_largest(&mut scores);
    scores.iter_mut().for_each(|score| *score = BEST - *score);
    scores
}
