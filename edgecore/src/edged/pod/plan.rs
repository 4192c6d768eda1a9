//! The reconciler: what a pod should be, what the runtime holds, what time it is → what to do next. No I/O.
//!
//! Each call names only what can be done now; the worker does it, looks again and asks again. So a crash between any two
//! actions is just another starting point.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container as Spec, Pod, PodStatus};

use super::observed::Observed;
use super::policy::{self, Outcome, RestartPolicy};
use super::{hash, members};
use crate::edged::admission::Rejection;
use crate::edged::housekeeping::Eviction;
use crate::edged::probes::{Healths, Kind};
use crate::edged::runtime::{Container, ContainerId, ContainerState, Sandbox, SandboxId, labels};

/// What a pod is to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// It runs.
    Run,
    /// It ends within this time and everything of it is removed.
    Stop {
        /// Time for its containers to end by themselves.
        grace: Duration,
    },
}

/// Something to do for a pod.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Stop a container; neighbours in a plan are stopped at the same time.
    StopContainer {
        /// Which.
        id: ContainerId,
        /// Its name in the pod.
        name: String,
        /// Time to end by itself.
        grace: Duration,
        /// What to say in the event.
        why: String,
        /// It is stopped in order to be started again, however it ends.
        again: bool,
    },
    /// End a sandbox and release its network.
    StopSandbox(SandboxId),
    /// Forget a container that ended long ago, and its log.
    RemoveContainer(ContainerId),
    /// Forget a sandbox that nothing refers to.
    RemoveSandbox(SandboxId),
    /// Make a sandbox.
    CreateSandbox {
        /// How many there were before.
        attempt: u32,
    },
    /// Make sure of the image, make the container and start it.
    StartContainer {
        /// Its name in the pod.
        name: String,
        /// How often it was restarted before.
        restarts: u32,
        /// What it will have to wait if it ends.
        back_off: Duration,
        /// Where to start it.
        sandbox: SandboxId,
    },
    /// Give volumes back: the pod has ended for good but its object stays.
    ReleaseVolumes,
    /// Everything has ended: remove what is left, report the end.
    Finish,
}

/// What could not be done, and when to try again.
#[derive(Clone, Debug, PartialEq)]
pub struct Trouble {
    /// One word, as Kubernetes knows it, such as `ErrImagePull`.
    pub reason: String,
    /// What happened, in the words of who refused.
    pub message: String,
    /// When it happened.
    pub since: Timestamp,
    /// Not before.
    pub until: Timestamp,
    /// How often in a row.
    pub failures: u32,
}

impl Trouble {
    /// Whether the container was made and has ended: its own back-off counts.
    pub fn is_end(&self) -> bool {
        matches!(self.reason.as_str(), "RunContainerError" | "PostStartHookError")
    }

    /// Whether an image could not be fetched.
    pub fn is_pull(&self) -> bool {
        matches!(self.reason.as_str(), "ErrImagePull" | "ImagePullBackOff")
    }
}

/// What the worker remembers between steps; losing it costs at most an early retry.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// Containers that could not be started, by name.
    pub containers: BTreeMap<String, Trouble>,
    /// The sandbox could not be made.
    pub sandbox: Option<Trouble>,
    /// Volumes could not be made ready.
    pub volumes: Option<Trouble>,
    /// Whether volumes are ready.
    pub volumes_ready: bool,
    /// When this node took the pod on, on the clock that does not jump.
    pub began: Option<Timestamp>,
    /// When stopping began.
    pub stopping: Option<Timestamp>,
    /// The pod has to go for the good of the node.
    pub evicted: Option<Eviction>,
    /// The pod cannot run here: the reason and the message for its status.
    pub refused: Option<Rejection>,
    /// The end has been reported.
    pub gone_said: bool,
    /// The end has been reported and nothing is left.
    pub finished: bool,
}

/// Everything a step looks at.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The object.
    pub pod: &'a Pod,
    /// What it is to become.
    pub goal: Goal,
    /// What the runtime holds.
    pub seen: &'a Observed,
    /// The status that was reported last, also before a restart.
    pub prior: Option<&'a PodStatus>,
    /// What was tried before.
    pub memory: &'a Memory,
    /// How the running containers are.
    pub healths: &'a Healths,
    /// The clock that does not jump: what is waited for is reckoned in it.
    pub now: Timestamp,
    /// The wall clock, for what is written down.
    pub wall: Timestamp,
}

/// What to do, and when to ask again at the latest.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// In this order.
    pub actions: Vec<Action>,
    /// Nothing can be done before, unless something changes.
    pub wake: Option<Timestamp>,
}

impl Plan {
    fn wait(&mut self, until: Timestamp) {
        self.wake = Some(self.wake.map_or(until, |wake| wake.min(until)));
    }
}

/// Decides the next actions for a pod.
pub fn step(view: View<'_>) -> Plan {
    match view.goal {
        Goal::Stop { grace } => wind_down(view, grace, true),
        Goal::Run if has_ended(view) => {
            let grace = policy::grace(view.pod);
            let most = view.memory.evicted.as_ref().map_or(grace, |eviction| eviction.grace);
            wind_down(view, grace.min(most), false)
        }
        Goal::Run => run(view),
    }
}

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

fn deadline(view: View<'_>) -> Option<Timestamp> {
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

fn wind_down(view: View<'_>, grace: Duration, finish: bool) -> Plan {
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
    } else if !finish && view.memory.volumes_ready {
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

fn stop(container: &Container, grace: Duration, why: &str) -> Action {
    Action::StopContainer {
        id: container.id.clone(),
        name: container.name.clone(),
        grace,
        why: format!("{why} {}", container.name),
        again: false,
    }
}

fn run(view: View<'_>) -> Plan {
    let mut plan = Plan::default();
    if let Some(end) = deadline(view) {
        plan.wait(end);
    }
    match view.seen.current(policy::host_network(view.pod)) {
        None => replace_sandbox(view, &mut plan),
        Some(sandbox) => {
            sweep(view, sandbox, &mut plan);
            start_ephemerals(view, sandbox, &mut plan);
            if start_inits(view, sandbox, &mut plan) {
                start_mains(view, sandbox, &mut plan);
            }
        }
    }
    plan
}

fn replace_sandbox(view: View<'_>, plan: &mut Plan) {
    let seen = view.seen;
    let grace = policy::grace(view.pod);
    for container in seen.containers.iter().filter(|container| container.running()) {
        plan.actions.push(stop(
            container,
            grace,
            "Pod sandbox changed, it will be killed and re-created: stopping",
        ));
    }
    if !plan.actions.is_empty() || !may_start(view, view.memory.sandbox.as_ref(), plan) {
        return;
    }
    // Also those that already ended: their network must be given back before the successor asks for one.
    plan.actions.extend(seen.sandboxes.iter().map(|sandbox| Action::StopSandbox(sandbox.id.clone())));
    let attempt = seen.sandboxes.first().map_or(0, |newest| newest.attempt.saturating_add(1));
    plan.actions.push(Action::CreateSandbox { attempt });
}

/// Volumes are there and the last attempt is long enough ago.
fn may_start(view: View<'_>, trouble: Option<&Trouble>, plan: &mut Plan) -> bool {
    if !view.memory.volumes_ready {
        if let Some(trouble) = &view.memory.volumes {
            plan.wait(trouble.until);
        }
        return false;
    }
    match trouble {
        Some(trouble) if trouble.until > view.now => {
            plan.wait(trouble.until);
            false
        }
        _ => true,
    }
}

/// Forgets what is no longer needed for a status or for `logs --previous`.
fn sweep(view: View<'_>, current: &Sandbox, plan: &mut Plan) {
    let mut kept: BTreeMap<&str, u32> = BTreeMap::new();
    let mut referred: Vec<&SandboxId> = vec![&current.id];
    for container in &view.seen.containers {
        let count = kept.entry(container.name.as_str()).or_default();
        *count += 1;
        if *count > 2 && !container.running() {
            plan.actions.push(Action::RemoveContainer(container.id.clone()));
        } else {
            referred.push(&container.sandbox);
        }
    }
    for sandbox in view.seen.sandboxes.iter().filter(|sandbox| !referred.contains(&&sandbox.id)) {
        if sandbox.ready {
            plan.actions.push(Action::StopSandbox(sandbox.id.clone()));
        }
        plan.actions.push(Action::RemoveSandbox(sandbox.id.clone()));
    }
}

/// Starts each of them once, also while the init containers have not ended, and however the pod is restarted.
fn start_ephemerals(view: View<'_>, sandbox: &Sandbox, plan: &mut Plan) {
    let told =
        view.prior.and_then(|status| status.ephemeral_container_statuses.as_deref()).unwrap_or_default();
    for ephemeral in members::ephemerals(view.pod) {
        let due = match view.seen.latest(&ephemeral.name) {
            // Left by a crash between making and starting it.
            Some(made) => made.state == ContainerState::Created,
            None => !told.iter().any(|one| one.name == ephemeral.name && one.container_id.is_some()),
        };
        if due {
            start(view, &ephemeral, sandbox, plan);
        }
    }
}

/// Brings init containers forward; true when the main containers may start.
fn start_inits(view: View<'_>, sandbox: &Sandbox, plan: &mut Plan) -> bool {
    let mains = &policy::spec(view.pod).containers;
    let passed = mains.iter().any(|main| view.seen.latest_in(&main.name, &sandbox.id).is_some());
    let policy = RestartPolicy::of(policy::spec(view.pod));
    for init in policy::inits(view.pod) {
        let container = view.seen.latest_in(&init.name, &sandbox.id);
        let sidecar = policy::is_sidecar(init);
        match container.map(|container| (container, &container.state)) {
            Some((_, ContainerState::Exited(exit))) if !sidecar && exit.code == 0 => {}
            Some((running, ContainerState::Running { .. })) if sidecar => {
                plan.actions.extend(restart_of_ill(view, init, running));
                // The next ones may count on it.
                if !passed && !view.healths.of(&running.id).started {
                    return false;
                }
            }
            Some((_, ContainerState::Running { .. })) => return false,
            // Its container may have been swept away long after it did its work.
            _ if passed && !sidecar => {}
            Some((_, ContainerState::Exited(exit)))
                if !sidecar && !policy.restarts(exit) && exit.code != 0 =>
            {
                return false;
            }
            _ => {
                start(view, init, sandbox, plan);
                if !passed {
                    return false;
                }
            }
        }
    }
    true
}

fn start_mains(view: View<'_>, sandbox: &Sandbox, plan: &mut Plan) {
    let policy = RestartPolicy::of(policy::spec(view.pod));
    for main in &policy::spec(view.pod).containers {
        match view.seen.latest(&main.name) {
            Some(container) if container.running() => {
                if let Some(restart) = restart_of_ill(view, main, container) {
                    plan.actions.push(restart);
                } else if outdated(main, container) {
                    plan.actions.push(Action::StopContainer {
                        id: container.id.clone(),
                        name: container.name.clone(),
                        grace: policy::grace(view.pod),
                        why: format!("Container {} definition changed, will be restarted", main.name),
                        again: true,
                    });
                }
            }
            Some(container) => match &container.state {
                ContainerState::Exited(_) if !view.seen.restarts(policy, container) => {}
                _ => start(view, main, sandbox, plan),
            },
            None => start(view, main, sandbox, plan),
        }
    }
}

/// Ends a container of which a probe says that it has failed; it starts again as any other that ended.
fn restart_of_ill(view: View<'_>, spec: &Spec, container: &Container) -> Option<Action> {
    let kind = view.healths.of(&container.id).failed?;
    let probe = match kind {
        Kind::Startup => &spec.startup_probe,
        Kind::Liveness | Kind::Readiness => &spec.liveness_probe,
    };
    let own = probe.as_ref().and_then(|probe| probe.termination_grace_period_seconds);
    let own = own.and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs);
    let again = policy::is_sidecar(spec) || RestartPolicy::of(policy::spec(view.pod)) != RestartPolicy::Never;
    Some(Action::StopContainer {
        id: container.id.clone(),
        name: container.name.clone(),
        grace: own.unwrap_or_else(|| policy::grace(view.pod)),
        why: format!(
            "Container {} failed {} probe{}",
            container.name,
            kind.to_string().to_lowercase(),
            if again { ", will be restarted" } else { "" }
        ),
        again,
    })
}

/// A container of another definition; one without a recorded hash is left alone.
fn outdated(spec: &Spec, container: &Container) -> bool {
    container.annotations.get(labels::CONTAINER_HASH).is_some_and(|recorded| *recorded != hash::of(spec))
}

/// Plans a start of this container, after what is in its way is gone and its pause is over.
fn start(view: View<'_>, spec: &Spec, sandbox: &Sandbox, plan: &mut Plan) {
    if !may_start(view, view.memory.containers.get(&spec.name), plan) {
        return;
    }
    let mut back_off = Duration::ZERO;
    let mut restarts = reported_restarts(view, &spec.name);
    if let Some(last) = view.seen.latest(&spec.name) {
        restarts = last.restarts().saturating_add(1);
        match &last.state {
            ContainerState::Running { .. } | ContainerState::Unknown => {
                plan.actions.push(stop(last, policy::grace(view.pod), "Stopping container"));
                return;
            }
            ContainerState::Created => {
                // Left by a crash between making and starting it.
                plan.actions.push(Action::RemoveContainer(last.id.clone()));
                restarts = last.restarts();
            }
            ContainerState::Exited(exit) => {
                let fresh_sandbox = last.sandbox != sandbox.id;
                let due = policy::due(view.seen, last, exit, view.now);
                if due > view.now && !fresh_sandbox {
                    plan.wait(due);
                    return;
                }
                back_off = policy::next_back_off(policy::back_off_of(view.seen, last, exit));
            }
        }
    }
    plan.actions.push(Action::StartContainer {
        name: spec.name.clone(),
        restarts,
        back_off,
        sandbox: sandbox.id.clone(),
    });
}

/// Restart count for a container of which the runtime has lost every trace.
fn reported_restarts(view: View<'_>, name: &str) -> u32 {
    let Some(status) = view.prior else { return 0 };
    let lists = [&status.container_statuses, &status.init_container_statuses];
    let known = lists.into_iter().flatten().flatten().find(|status| status.name == name);
    known
        .filter(|status| status.container_id.is_some())
        .map_or(0, |status| u32::try_from(status.restart_count).unwrap_or_default().saturating_add(1))
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

#[cfg(test)]
mod tests;
