//! Preferred affinity and anti-affinity to other pods, from both sides. Source: Kubernetes v1.36
//! `plugins/interpodaffinity/scoring.go`.

use std::collections::HashMap;

use super::{BEST, Candidate};
use crate::scheduler::labels::PodTerm;
use crate::scheduler::pending::Pending;
use crate::scheduler::snapshot::{NodeName, Snapshot};

/// What the required affinity of another pod to this one counts for (Kubernetes' default).
const REQUIRED: i64 = 1;

/// Weights by a topology label's key and value.
type Weights = HashMap<(String, String), i64>;

pub(super) fn score(snapshot: &Snapshot, pod: &Pending, candidates: &[Candidate<'_>]) -> Vec<i64> {
    let own = &*pod.footprint.class;
    let spaces = &snapshot.namespaces;
    let mut weights = Weights::new();
    for (class, nodes) in snapshot.classes() {
        for (weight, term) in &own.terms.preferred {
            if term.matches(&class.namespace, &class.labels, spaces) {
                credit(&mut weights, snapshot, term, nodes, *weight);
            }
        }
        let required = class.terms.affinity.iter().map(|term| (REQUIRED, term));
        let theirs = class.terms.preferred.iter().map(|(weight, term)| (*weight, term)).chain(required);
        for (weight, term) in theirs.filter(|(_, term)| term.matches(&own.namespace, &own.labels, spaces)) {
            credit(&mut weights, snapshot, term, nodes, weight);
        }
    }
    let sum = |on: &Candidate<'_>| -> i64 {
        let mine = weights.iter().filter(|((key, value), _)| on.facts.labels.get(key) == Some(value));
        mine.map(|(_, weight)| weight).sum()
    };
    let mut scores: Vec<_> = candidates.iter().map(sum).collect();
    let least = scores.iter().copied().min().unwrap_or(0).min(0);
    let range = scores.iter().copied().max().unwrap_or(0).max(0) - least;
    scores.iter_mut().for_each(|score| *score = if range > 0 { BEST * (*score - least) / range } else { 0 });
    scores
}

fn credit(
    weights: &mut Weights,
    snapshot: &Snapshot,
    term: &PodTerm,
    nodes: &HashMap<NodeName, i64>,
    weight: i64,
) {
    for (name, count) in nodes {
        let facts = snapshot.node(name).and_then(|node| node.facts.as_ref());
        if let Some(value) = facts.and_then(|facts| facts.labels.get(&term.topology_key)) {
            *weights.entry((term.topology_key.clone(), value.clone())).or_default() += weight * count;
        }
    }
}
