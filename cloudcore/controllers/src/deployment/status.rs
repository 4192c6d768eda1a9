//! What the status of a Deployment says, and whether its rollout gets on. Source: Kubernetes v1.36
//! `pkg/controller/deployment/progress.go` and `sync.go`.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DeploymentCondition, DeploymentStatus, ReplicaSetCondition};
use kube::ResourceExt;

use super::condition::{self, AVAILABLE, DONE, PAUSED, PROGRESSING, REPLICA_FAILURE, RESUMED, TIMED_OUT};
use super::view::{Set, View, actual, available, size};

/// The sets of a deployment after a look's writes.
#[derive(Clone, Default)]
pub(super) struct Sets {
    pub(super) new: Option<Set>,
    pub(super) old: Vec<Set>,
}

/// What happened to the newest set.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum News {
    Created(String),
    Found(String),
    /// It could not be made, with the API's words.
    Failed(String),
    /// Another template has its name.
    Collided,
}

impl Sets {
    pub(super) fn all(&self) -> impl Iterator<Item = &Set> {
        self.new.iter().chain(&self.old)
    }

    fn sum(&self, of: impl Fn(&Set) -> i32) -> i32 {
        self.all().map(of).sum()
    }
}

/// The status, with the conditions that follow from `news` and, while something is rolled out, from the progress since the last one.
pub(super) fn status(
    view: &View<'_>,
    sets: &Sets,
    news: Option<&News>,
    rolls: bool,
    now: Timestamp,
) -> DeploymentStatus {
    let before = view.deployment.status.clone().unwrap_or_default();
    let mut conditions = before.conditions.clone().unwrap_or_default();
    if view.deadline().is_some() {
        pause(view, &mut conditions, now);
        announce(news, &mut conditions, now);
    }
    let mut status = counters(view, sets, before.collision_count, news);
    availability(view, &status, &mut conditions, now);
    if rolls {
        progress(view, sets, &before, &status, &mut conditions, now);
        failures(sets, &mut conditions, now);
    }
    status.conditions = (!conditions.is_empty()).then_some(conditions);
    status
}

fn counters(view: &View<'_>, sets: &Sets, collisions: Option<i32>, news: Option<&News>) -> DeploymentStatus {
    let some = |count: i32| (count != 0).then_some(count);
    let status = |set: &Set, of: fn(&k8s_openapi::api::apps::v1::ReplicaSetStatus) -> Option<i32>| {
        set.status.as_ref().and_then(of).unwrap_or(0)
    };
    let all_available = sets.sum(|set| available(set));
    let collided = i32::from(news == Some(&News::Collided));
    DeploymentStatus {
        observed_generation: view.deployment.metadata.generation,
        replicas: some(sets.sum(|set| actual(set))),
        updated_replicas: some(sets.new.as_ref().map_or(0, |set| actual(set))),
        ready_replicas: some(sets.sum(|set| status(set, |status| status.ready_replicas))),
        available_replicas: some(all_available),
        unavailable_replicas: some((sets.sum(|set| size(set)) - all_available).max(0)),
        terminating_replicas: Some(sets.sum(|set| status(set, |status| status.terminating_replicas))),
        collision_count: collisions.map(|count| count + collided).or_else(|| some(collided)),
        conditions: None,
    }
}

fn pause(view: &View<'_>, conditions: &mut Vec<DeploymentCondition>, now: Timestamp) {
    if condition::progresses_for(conditions, TIMED_OUT) {
        return;
    }
    match (view.is_paused(), condition::progresses_for(conditions, PAUSED)) {
        (true, false) => {
            condition::set(
                conditions,
                condition::new(PROGRESSING, "Unknown", PAUSED, "Deployment is paused", now),
            );
        }
        (false, true) => {
            condition::set(
                conditions,
                condition::new(PROGRESSING, "Unknown", RESUMED, "Deployment is resumed", now),
            );
        }
        _ => {}
    }
}

fn announce(news: Option<&News>, conditions: &mut Vec<DeploymentCondition>, now: Timestamp) {
    let made = match news {
        Some(News::Created(name)) => {
            let message = format!("Created new replica set {name:?}");
            condition::new(PROGRESSING, "True", "NewReplicaSetCreated", &message, now)
        }
        Some(News::Found(name)) if condition::find(conditions, PROGRESSING).is_none() => {
            let message = format!("Found new replica set {name:?}");
            condition::new(PROGRESSING, "True", "FoundNewReplicaSet", &message, now)
        }
        Some(News::Failed(message)) => {
            condition::new(PROGRESSING, "False", "ReplicaSetCreateError", message, now)
        }
        _ => return,
    };
    condition::set(conditions, made);
}

fn availability(
    view: &View<'_>,
    status: &DeploymentStatus,
    conditions: &mut Vec<DeploymentCondition>,
    now: Timestamp,
) {
    let enough = status.available_replicas.unwrap_or(0) >= view.replicas() - view.max_unavailable();
    let made = if enough {
        let message = "Deployment has minimum availability.";
        condition::new(AVAILABLE, "True", "MinimumReplicasAvailable", message, now)
    } else {
        let message = "Deployment does not have minimum availability.";
        condition::new(AVAILABLE, "False", "MinimumReplicasUnavailable", message, now)
    };
    condition::set(conditions, made);
}

/// Whether all pods are of the newest template and work.
pub(super) fn is_complete(view: &View<'_>, status: &DeploymentStatus) -> bool {
    let wanted = view.replicas();
    let counts = [status.updated_replicas, status.replicas, status.available_replicas];
    counts.into_iter().all(|count| count.unwrap_or(0) == wanted)
        && status.observed_generation >= view.deployment.metadata.generation
}

fn has_got_on(before: &DeploymentStatus, after: &DeploymentStatus) -> bool {
    let count = |count: Option<i32>| count.unwrap_or(0);
    let old = |status: &DeploymentStatus| count(status.replicas) - count(status.updated_replicas);
    count(after.updated_replicas) > count(before.updated_replicas)
        || old(after) < old(before)
        || count(after.ready_replicas) > count(before.ready_replicas)
        || count(after.available_replicas) > count(before.available_replicas)
}

fn progress(
    view: &View<'_>,
    sets: &Sets,
    before: &DeploymentStatus,
    after: &DeploymentStatus,
    conditions: &mut Vec<DeploymentCondition>,
    now: Timestamp,
) {
    let Some(deadline) = view.deadline() else {
        condition::remove(conditions, PROGRESSING);
        return;
    };
    let was_done = after.replicas == after.updated_replicas && condition::progresses_for(conditions, DONE);
    if was_done {
        return;
    }
    let subject = match &sets.new {
        Some(new) => format!("ReplicaSet {:?}", new.name_any()),
        None => format!("Deployment {:?}", view.deployment.name_any()),
    };
    if is_complete(view, after) {
        let message = format!("{subject} has successfully progressed.");
        condition::set(conditions, condition::new(PROGRESSING, "True", DONE, &message, now));
    } else if has_got_on(before, after) {
        let message = format!("{subject} is progressing.");
        condition::renew(conditions, condition::new(PROGRESSING, "True", "ReplicaSetUpdated", &message, now));
    } else if is_overdue(conditions, deadline, now) {
        let message = format!("{subject} has timed out progressing.");
        condition::set(conditions, condition::new(PROGRESSING, "False", TIMED_OUT, &message, now));
    }
}

fn is_overdue(conditions: &[DeploymentCondition], deadline: i64, now: Timestamp) -> bool {
    let Some(progress) = condition::find(conditions, PROGRESSING) else { return false };
    match progress.reason.as_deref() {
        Some(DONE) => false,
        Some(TIMED_OUT) => true,
        _ => progress
            .last_update_time
            .as_ref()
            .is_some_and(|last| last.0.as_second() + deadline < now.as_second()),
    }
}

fn failures(sets: &Sets, conditions: &mut Vec<DeploymentCondition>, now: Timestamp) {
    let failure = |set: &Set| -> Option<ReplicaSetCondition> {
        let conditions = set.status.as_ref()?.conditions.as_ref()?;
        conditions.iter().find(|condition| condition.type_ == REPLICA_FAILURE).cloned()
    };
    match sets.all().find_map(failure) {
        Some(failure) => {
            let (reason, message) = (failure.reason.unwrap_or_default(), failure.message.unwrap_or_default());
            condition::set(
                conditions,
                condition::new(REPLICA_FAILURE, &failure.status, &reason, &message, now),
            );
        }
        None => condition::remove(conditions, REPLICA_FAILURE),
    }
}

/// When the deadline of a rollout has to be looked at again.
pub(super) fn next_look(view: &View<'_>, status: &DeploymentStatus, now: Timestamp) -> Option<Duration> {
    let deadline = view.deadline()?;
    let progress = condition::find(status.conditions.as_deref()?, PROGRESSING)?;
    // A deadline runs only while something is rolled out.
    if is_complete(view, status) || matches!(progress.reason.as_deref(), Some(DONE | PAUSED | TIMED_OUT)) {
        return None;
    }
    let due = progress.last_update_time.as_ref()?.0.as_second() + deadline + 1;
    Some(Duration::from_secs(u64::try_from(due - now.as_second()).unwrap_or(0).max(1)))
}
