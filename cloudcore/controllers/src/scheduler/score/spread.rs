//! Topology spread constraints that should hold, and the default spreading of pods that have none. Source: Kubernetes v1.36
//! `plugins/podtopologyspread/scoring.go`.

use std::collections::BTreeMap;

use super::{BEST, Candidate};
use crate::scheduler::filter::{included, selected};
use crate::scheduler::labels::PodSelector;
use crate::scheduler::pending::{Pending, Spread};
use crate::scheduler::snapshot::Snapshot;

const HOSTNAME: &str = "kubernetes.io/hostname";
const ZONE: &str = "topology.kubernetes.io/zone";

pub(super) fn score(
    snapshot: &Snapshot,
    pod: &Pending,
    kin: Option<&PodSelector>,
    candidates: &[Candidate<'_>],
) -> Vec<i64> {
    let own = !pod.spread.is_empty();
    let constraints: Vec<Spread> = match kin {
        _ if own => pod.spread.iter().filter(|constraint| !constraint.hard).cloned().collect(),
        Some(kin) => vec![default(HOSTNAME, 3, kin), default(ZONE, 5, kin)],
        None => Vec::new(),
    };
    if constraints.is_empty() {
        return vec![0; candidates.len()];
    }
    // With the default constraints a node without a zone is spread by host all the same.
    let counts = |labels: &BTreeMap<String, String>| {
        !own || constraints.iter().all(|one| labels.contains_key(&one.topology_key))
    };
    let eligible: Vec<_> = candidates.iter().filter(|on| counts(&on.facts.labels)).collect();
    let mut raw = vec![0.0; candidates.len()];
    for constraint in &constraints {
        let key = &constraint.topology_key;
        let pods = selected(snapshot, pod, constraint);
        let mut places: BTreeMap<String, i64> =
            eligible.iter().filter_map(|on| Some((on.facts.labels.get(key)?.clone(), 0))).collect();
        let per_node = key == HOSTNAME;
        let size = if per_node { eligible.len() } else { places.len() };
        for (name, _, facts) in snapshot.nodes() {
            if counts(&facts.labels)
                && included(pod, constraint, name, facts)
                && let Some(place) = facts.labels.get(key).and_then(|value| places.get_mut(value))
            {
                *place += pods.get(name).copied().unwrap_or(0);
            }
        }
        for (on, raw) in candidates.iter().zip(&mut raw) {
            if let Some(value) = on.facts.labels.get(key) {
                let there = if per_node { pods.get(on.name) } else { places.get(value) };
                *raw += cost(there.copied().unwrap_or(0), constraint.max_skew, size);
            }
        }
    }
    #[allow(clippy::cast_possible_truncation, reason = "counts of pods")]
    let costs: Vec<_> = candidates
        .iter()
        .zip(raw)
        .map(|(on, cost)| counts(&on.facts.labels).then_some(cost.round() as i64))
        .collect();
    let (least, most) =
        costs.iter().flatten().fold((i64::MAX, 0), |(least, most), cost| (least.min(*cost), most.max(*cost)));
    let normal = |cost: &Option<i64>| match cost {
        None => 0,
        Some(_) if most == 0 => BEST,
        Some(cost) => BEST * (most + least - cost) / most,
    };
    costs.iter().map(normal).collect()
}

fn default(key: &str, max_skew: i64, kin: &PodSelector) -> Spread {
    Spread {
        max_skew,
        topology_key: key.to_owned(),
        selector: kin.clone(),
        min_domains: 1,
        honor_affinity: true,
        honor_taints: false,
        hard: false,
    }
}

/// `size` is how many places there are: among few, a pod more weighs less.
#[allow(clippy::cast_precision_loss, reason = "counts of pods and places")]
fn cost(pods: i64, max_skew: i64, size: usize) -> f64 {
    pods as f64 * ((size + 2) as f64).ln() + (max_skew - 1) as f64
}
