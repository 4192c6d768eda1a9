//! The conditions of a Deployment: changing one without losing since when it holds.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DeploymentCondition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

pub(super) const AVAILABLE: &str = "Available";
pub(super) const PROGRESSING: &str = "Progressing";
pub(super) const REPLICA_FAILURE: &str = "ReplicaFailure";

pub(super) const PAUSED: &str = "DeploymentPaused";
pub(super) const RESUMED: &str = "DeploymentResumed";
pub(super) const TIMED_OUT: &str = "ProgressDeadlineExceeded";
pub(super) const DONE: &str = "NewReplicaSetAvailable";

pub(super) fn new(
    kind: &str,
    status: &str,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> DeploymentCondition {
    let now = Time(Timestamp::from_second(now.as_second()).unwrap_or(now));
    DeploymentCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_update_time: Some(now.clone()),
        last_transition_time: Some(now),
    }
}

pub(super) fn find<'c>(conditions: &'c [DeploymentCondition], kind: &str) -> Option<&'c DeploymentCondition> {
    conditions.iter().find(|condition| condition.type_ == kind)
}

/// Whether the progress stands for this reason.
pub(super) fn progresses_for(conditions: &[DeploymentCondition], reason: &str) -> bool {
    find(conditions, PROGRESSING).is_some_and(|condition| condition.reason.as_deref() == Some(reason))
}

pub(super) fn remove(conditions: &mut Vec<DeploymentCondition>, kind: &str) {
    conditions.retain(|condition| condition.type_ != kind);
}

/// Replaces a condition, unless it says the same for the same reason already.
pub(super) fn set(conditions: &mut Vec<DeploymentCondition>, mut condition: DeploymentCondition) {
    if let Some(before) = find(conditions, &condition.type_) {
        if before.status == condition.status && before.reason == condition.reason {
            return;
        }
        if before.status == condition.status {
            condition.last_transition_time.clone_from(&before.last_transition_time);
        }
    }
    remove(conditions, &condition.type_);
    conditions.push(condition);
}

/// Replaces a condition even if it says the same, because there was news to date it from.
pub(super) fn renew(conditions: &mut Vec<DeploymentCondition>, mut condition: DeploymentCondition) {
    if let Some(before) = find(conditions, &condition.type_)
        && before.status == condition.status
    {
        condition.last_transition_time.clone_from(&before.last_transition_time);
    }
    remove(conditions, &condition.type_);
    conditions.push(condition);
}
