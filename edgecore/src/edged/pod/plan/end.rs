//! When a pod has ended, and how it ends: by itself, by its deadline, because it must go.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::super::policy::{self, Outcome, RestartPolicy};
use super::{Action, Plan, View, Volumes};
use crate::edged::runtime::{Container, ContainerState};

/// A pod that was ever reported ended stays ended.
pub fn has_ended(view: View<'_>) -> bool {
    let reported = view.prior.and_then(|status| status.phase.as_deref());
    matches!(reported, Some("Succeeded" | "Failed"))
        || view.memory.evicted.is_some()
        || view.memory.refused.is_some()
        || policy::outcome(view.pod, view.seen).is_some()
        || past_deadline(view)
        || lost_for_good(view)
}

/// `activeDeadlineSeconds` have passed.
pub fn past_deadline(view: View<'_>) -> bool {
    deadline(view).is_some_and(|end| view.now >= end)
}

pub(super) fn deadline(view: View<'_>) -> Option<Timestamp> {
    let seconds = policy::spec(view.pod).active_deadline_seconds?;
    let start = view.memory.began.or_else(|| Some(view.prior?.start_time.as_ref()?.0))?;
    start.checked_add(SignedDuration::from_secs(seconds)).ok()
}

/// A pod that is never restarted and whose sandbox died while it ran cannot come back.
fn lost_for_good(view: View<'_>) -> bool {
    let never = RestartPolicy::of(policy::spec(view.pod)) == RestartPolicy::Never;
    let current = view.seen.current(policy::host_network(view.pod));
    let had_containers = view
        .prior
        .and_then(|status| status.container_statuses.as_ref())
        .is_some_and(|list| list.iter().any(|status| status.container_id.is_some()));
    never && current.is_none() && had_containers && !view.seen.containers.iter().any(Container::running)
}

/// Ends what runs, the sandboxes after it, and then all that is left.
pub(super) fn wind_down(view: View<'_>, grace: Duration, finish: bool) -> Plan {
    let mut plan = Plan::default();
    let seen = view.seen;
    let sidecar =
        |name: &str| policy::inits(view.pod).iter().any(|init| init.name == name && policy::is_sidecar(init));
    let alive: Vec<&Container> = seen
        .containers
        .iter()
        .filter(|c| matches!(c.state, ContainerState::Running { .. } | ContainerState::Unknown))
        .collect();
    // Sidecars serve the others to their end.
    let others_alive = alive.iter().any(|container| !sidecar(&container.name));
    let grace = remaining(grace, view.memory.stopping, view.now);
    for container in alive.iter().filter(|container| !others_alive || !sidecar(&container.name)) {
        plan.actions.push(stop(container, grace, "Stopping container"));
    }
    if !plan.actions.is_empty() {
        return plan;
    }
    plan.actions.extend(seen.sandboxes.iter().filter(|s| s.ready).map(|s| Action::StopSandbox(s.id.clone())));
    if !plan.actions.is_empty() {
        return plan;
    }
    if finish && !(view.memory.finished && seen.is_empty()) {
        plan.actions.push(Action::Finish);
    } else if !finish && view.memory.volumes != Volumes::Released {
        plan.actions.push(Action::ReleaseVolumes);
    }
    plan
}

/// What is left of the grace period when stopping takes several steps.
fn remaining(grace: Duration, since: Option<Timestamp>, now: Timestamp) -> Duration {
    let spent =
        since.map_or(Duration::ZERO, |since| now.duration_since(since).try_into().unwrap_or_default());
    grace.saturating_sub(spent)
}

pub(super) fn stop(container: &Container, grace: Duration, why: &str) -> Action {
    Action::StopContainer {
        id: container.id.clone(),
        name: container.name.clone(),
        grace,
        why: format!("{why} {}", container.name),
        again: false,
    }
}

/// How the pod ended, for its phase.
pub fn ending(view: View<'_>) -> Option<Outcome> {
    match view.prior.and_then(|status| status.phase.as_deref()) {
        Some("Succeeded") => return Some(Outcome::Succeeded),
        Some("Failed") => return Some(Outcome::Failed),
        _ => {}
    }
    if past_deadline(view) || view.memory.evicted.is_some() || view.memory.refused.is_some() {
        return Some(Outcome::Failed);
    }
    policy::outcome(view.pod, view.seen).or_else(|| lost_for_good(view).then_some(Outcome::Failed))
}
