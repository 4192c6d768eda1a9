//! Nodes that were cordoned.

use k8s_openapi::api::core::v1::Taint;

use super::Candidate;
use crate::scheduler::pending::{Pending, tolerates};
use crate::scheduler::reason::{Reason, Rejection};

pub(super) fn filter(pod: &Pending, on: Candidate<'_>) -> Result<(), Rejection> {
    if !on.facts.unschedulable {
        return Ok(());
    }
    let cordon = Taint {
        key: "node.kubernetes.io/unschedulable".to_owned(),
        effect: "NoSchedule".to_owned(),
        ..Taint::default()
    };
    match pod.tolerations.iter().any(|toleration| tolerates(toleration, &cordon)) {
        true => Ok(()),
        false => Err(Reason::Unschedulable.alone(true)),
    }
}
