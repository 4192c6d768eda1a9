//! Topology spread constraints that must hold. Source: Kubernetes v1.36 `plugins/podtopologyspread/filtering.go`.

use std::collections::{BTreeMap, HashMap};

use super::Candidate;
use super::taints::REPELLING;
use crate::scheduler::node::Facts;
use crate::scheduler::pending::{Pending, Spread};
use crate::scheduler::reason::{Reason, Rejection};
use crate::scheduler::snapshot::{NodeName, Snapshot};

/// Pods by place, for one constraint.
pub(super) struct Count<'s> {
    constraint: &'s Spread,
    places: BTreeMap<String, i64>,
    least: i64,
    /// 1 if the pod itself counts.
    own: i64,
}

/// Whether a node counts for a constraint of a pod.
pub(in crate::scheduler) fn included(pod: &Pending, constraint: &Spread, name: &str, facts: &Facts) -> bool {
    (!constraint.honor_affinity || pod.wants(name, &facts.labels))
        && (!constraint.honor_taints || pod.untolerated(&facts.taints, REPELLING).is_none())
}

/// How many pods of the pod's namespace that `constraint` selects are on each node; those that go do not count.
pub(in crate::scheduler) fn selected(
    snapshot: &Snapshot,
    pod: &Pending,
    constraint: &Spread,
) -> HashMap<NodeName, i64> {
    let mut counts = HashMap::new();
    let alike = snapshot.classes().filter(|(class, _)| {
        class.namespace == pod.footprint.class.namespace
            && !class.going
            && constraint.selector.matches(&class.labels)
    });
    for (name, count) in alike.flat_map(|(_, nodes)| nodes) {
        *counts.entry(NodeName::clone(name)).or_default() += count;
    }
    counts
}

pub(super) fn count<'s>(snapshot: &Snapshot, pod: &'s Pending) -> Vec<Count<'s>> {
    let constraints: Vec<_> = pod.spread.iter().filter(|constraint| constraint.hard).collect();
    let all = |facts: &Facts| constraints.iter().all(|one| facts.labels.contains_key(&one.topology_key));
    let one = |constraint: &&'s Spread| {
        let pods = selected(snapshot, pod, constraint);
        let mut places = BTreeMap::<String, i64>::new();
        for (name, _, facts) in snapshot.nodes() {
            if all(facts)
                && included(pod, constraint, name, facts)
                && let Some(place) = facts.labels.get(&constraint.topology_key)
            {
                *places.entry(place.clone()).or_default() += pods.get(name).copied().unwrap_or(0);
            }
        }
        let few = places.len() < constraint.min_domains;
        let least = if few { 0 } else { places.values().copied().min().unwrap_or(i64::MAX) };
        let own = i64::from(constraint.selector.matches(&pod.footprint.class.labels));
        Count { constraint, places, least, own }
    };
    constraints.iter().map(one).collect()
}

pub(super) fn filter(counts: &[Count<'_>], on: Candidate<'_>) -> Result<(), Rejection> {
    for count in counts {
        let Some(place) = on.facts.labels.get(&count.constraint.topology_key) else {
            return Err(Reason::SpreadLabel.alone(true));
        };
        let there = count.places.get(place).copied().unwrap_or(0);
        if (there + count.own).saturating_sub(count.least) > count.constraint.max_skew {
            return Err(Reason::Spread.alone(false));
        }
    }
    Ok(())
}
