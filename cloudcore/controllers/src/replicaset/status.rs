//! What the status of a ReplicaSet or ReplicationController says.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use super::kind::Replicated;
use crate::error::Error;
use crate::pods::{is_available, is_ready};

const REPLICA_FAILURE: &str = "ReplicaFailure";

/// What could not be done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Failure {
    /// A pod could not be made.
    Create,
    /// A pod could not be deleted.
    Delete,
}

/// The status of a set that has these pods. Counters of zero are left out, as Kubernetes does.
pub(super) fn status<S: Replicated>(
    set: &S,
    active: &[Arc<Pod>],
    terminating: usize,
    failure: Option<(Failure, &Error)>,
    now: Timestamp,
) -> ReplicaSetStatus {
    let min_ready = set.min_ready_seconds();
    let template = set.template().and_then(|template| template.metadata.as_ref()?.labels.as_ref());
    let labelled =
        |pod: &Pod| template.into_iter().flatten().all(|(key, value)| pod.labels().get(key) == Some(value));
    let count = |wanted: &dyn Fn(&Pod) -> bool| number(active.iter().filter(|pod| wanted(pod)).count());
    let conditions = conditions(set.conditions(), failure, now);
    ReplicaSetStatus {
        replicas: number(active.len()),
        fully_labeled_replicas: some(count(&labelled)),
        ready_replicas: some(count(&is_ready)),
        available_replicas: some(count(&|pod| is_available(pod, min_ready, now))),
        terminating_replicas: Some(number(terminating)),
        observed_generation: set.meta().generation,
        conditions: (!conditions.is_empty()).then_some(conditions),
    }
}

fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

fn some(count: i32) -> Option<i32> {
    (count != 0).then_some(count)
}

fn conditions(
    mut conditions: Vec<ReplicaSetCondition>,
    failure: Option<(Failure, &Error)>,
    now: Timestamp,
) -> Vec<ReplicaSetCondition> {
    let before = conditions.iter().find(|condition| condition.type_ == REPLICA_FAILURE).cloned();
    conditions.retain(|condition| condition.type_ != REPLICA_FAILURE);
    let Some((failure, error)) = failure else { return conditions };
    let reason = match failure {
        Failure::Create => "FailedCreate",
        Failure::Delete => "FailedDelete",
    };
    conditions.push(match before {
        Some(before) if before.reason.as_deref() == Some(reason) => before,
        _ => ReplicaSetCondition {
            type_: REPLICA_FAILURE.to_owned(),
            status: "True".to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(error.said()),
            last_transition_time: Some(Time(Timestamp::from_second(now.as_second()).unwrap_or(now))),
        },
    });
    conditions
}
