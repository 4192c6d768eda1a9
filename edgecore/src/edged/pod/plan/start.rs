//! Which containers start, and which are ended in order to start again.

use std::time::Duration;

use k8s_openapi::api::core::v1::Container as Spec;

use super::super::policy::{self, RestartPolicy};
use super::super::{hash, members};
use super::end::stop;
use super::{Action, Plan, Trouble, View, Volumes};
use crate::edged::probes::Kind;
use crate::edged::runtime::{Container, ContainerState, Sandbox, labels};

/// Volumes are there and the last attempt is long enough ago.
pub(super) fn may_start(view: View<'_>, trouble: Option<&Trouble>, plan: &mut Plan) -> bool {
    if view.memory.volumes != Volumes::Ready {
        if let Some(trouble) = &view.memory.mounting {
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

/// Starts each of them once, also while the init containers have not ended, and however the pod is restarted.
pub(super) fn start_ephemerals(view: View<'_>, sandbox: &Sandbox, plan: &mut Plan) {
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
pub(super) fn start_inits(view: View<'_>, sandbox: &Sandbox, plan: &mut Plan) -> bool {
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

/// Starts those that are to run, and ends those that a probe or a new definition wants ended.
pub(super) fn start_mains(view: View<'_>, sandbox: &Sandbox, plan: &mut Plan) {
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
