//! Nodes with taints that the pod does not tolerate. Nodes that went silent are among them.

use super::Candidate;
use crate::scheduler::pending::Pending;
use crate::scheduler::reason::{Reason, Rejection};

/// Effects that keep pods away.
pub(super) const REPELLING: &[&str] = &["NoSchedule", "NoExecute"];

pub(super) fn filter(pod: &Pending, on: Candidate<'_>) -> Result<(), Rejection> {
    match pod.untolerated(&on.facts.taints, REPELLING) {
        None => Ok(()),
        Some(_) => Err(Reason::Taint.alone(true)),
    }
}
