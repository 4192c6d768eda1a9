//! Ports of the node that the pod wants and another has.

use super::Candidate;
use crate::scheduler::pending::Pending;
use crate::scheduler::reason::{Reason, Rejection};
use crate::scheduler::snapshot::Snapshot;

pub(super) fn filter(snapshot: &Snapshot, pod: &Pending, on: Candidate<'_>) -> Result<(), Rejection> {
    let wanted = &pod.footprint.ports;
    if wanted.is_empty() {
        return Ok(());
    }
    let there = on.node.pods.values().map(|other| &**other);
    let mut all = there.chain(snapshot.kept_against(&pod.footprint, on.name));
    let clash = all.any(|other| other.ports.iter().any(|port| wanted.iter().any(|one| one.clashes(port))));
    if clash { Err(Reason::Ports.alone(false)) } else { Ok(()) }
}
