//! What the pod requests must be free.

use super::Candidate;
use crate::scheduler::pending::Pending;
use crate::scheduler::reason::{Reason, Rejection};
use crate::scheduler::snapshot::Snapshot;

/// Source: Kubernetes v1.36 `plugins/noderesources/fit.go`: more than the node has at all is hopeless.
pub(super) fn filter(snapshot: &Snapshot, pod: &Pending, on: Candidate<'_>) -> Result<(), Rejection> {
    let mut taken = std::borrow::Cow::Borrowed(&on.node.taken.needed);
    let mut pods = i64::try_from(on.node.pods.len()).unwrap_or(i64::MAX);
    for kept in snapshot.kept_against(&pod.footprint, on.name) {
        if !on.node.pods.contains_key(&kept.identity.uid) {
            taken.to_mut().add(&kept.requests.needed);
            pods += 1;
        }
    }
    let (wanted, offered) = (&pod.footprint.requests.needed, &on.facts.allocatable);
    let (mut reasons, mut hopeless) = (Vec::new(), false);
    if pods >= on.facts.pods {
        reasons.push(Reason::TooManyPods);
    }
    let mut check = |resource: &str, wanted: i64, taken: i64, offered: i64| {
        if wanted > 0 && wanted > offered.saturating_sub(taken) {
            reasons.push(Reason::Insufficient(resource.to_owned()));
            hopeless |= wanted > offered;
        }
    };
    check("cpu", wanted.cpu, taken.cpu, offered.cpu);
    check("memory", wanted.memory, taken.memory, offered.memory);
    check("ephemeral-storage", wanted.storage, taken.storage, offered.storage);
    for (name, amount) in &wanted.extended {
        let of = |amounts: &std::collections::BTreeMap<String, i64>| amounts.get(name).copied().unwrap_or(0);
        check(name, *amount, of(&taken.extended), of(&offered.extended));
    }
    if reasons.is_empty() { Ok(()) } else { Err(Rejection { reasons, hopeless }) }
}
