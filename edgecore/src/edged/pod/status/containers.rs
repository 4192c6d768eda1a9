//! `containerStatuses` and `initContainerStatuses`.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container as Spec, ContainerState as State, ContainerStateRunning, ContainerStateTerminated,
    ContainerStateWaiting, ContainerStatus, VolumeMountStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::super::members::Role;
use super::super::plan::{Goal, View, has_ended};
use super::super::policy::{self, RestartPolicy};
use super::{NodeFacts, pod_label, whole_seconds};
use crate::edged::runtime::{Container, ContainerState, Exit};

pub(super) fn of(view: View<'_>, node: &NodeFacts, specs: &[Spec], role: Role) -> Vec<ContainerStatus> {
    specs.iter().map(|spec| one(view, node, spec, role)).collect()
}

fn one(view: View<'_>, node: &NodeFacts, spec: &Spec, role: Role) -> ContainerStatus {
    let latest = view.seen.latest(&spec.name);
    let prior = prior(view, spec, role);
    let Some(container) = latest else { return unseen(view, spec, role, prior) };
    let mut state = state_of(node, container);
    let mut last =
        view.seen.ended(&spec.name).find(|ended| ended.id != container.id).map(|ended| state_of(node, ended));
    if let Some(waiting) = waiting(view, spec, role, container) {
        // What ended is told as the last state while the container waits for its next start.
        if container.exit().is_some() {
            last = Some(state);
        }
        state = State { waiting: Some(waiting), ..State::default() };
    }
    let running = state.running.is_some();
    let health = view.healths.of(&container.id);
    let started = running && health.started;
    let succeeded_init =
        role == Role::Init && state.terminated.as_ref().is_some_and(|end| end.exit_code == 0);
    ContainerStatus {
        name: spec.name.clone(),
        image: if container.image.is_empty() { image(spec) } else { shown_image(spec, container) },
        image_id: container.image_ref.clone(),
        container_id: Some(format!("{}://{}", node.runtime, container.id)),
        ready: match role {
            Role::Init if !policy::is_sidecar(spec) => succeeded_init,
            Role::Ephemeral => false,
            _ => started && health.ready,
        },
        started: (role != Role::Ephemeral).then_some(started),
        restart_count: i32::try_from(container.restarts()).unwrap_or(i32::MAX),
        state: Some(state),
        last_state: Some(
            last.or_else(|| prior.and_then(|prior| prior.last_state.clone())).unwrap_or_default(),
        ),
        volume_mounts: mounts(spec),
        ..ContainerStatus::default()
    }
}

/// Runtimes answer with an id when an image was started by id: show what the user wrote then.
fn shown_image(spec: &Spec, container: &Container) -> String {
    if container.image.starts_with("sha256:") { image(spec) } else { container.image.clone() }
}

fn image(spec: &Spec) -> String {
    spec.image.clone().unwrap_or_default()
}

fn prior<'a>(view: View<'a>, spec: &Spec, role: Role) -> Option<&'a ContainerStatus> {
    let status = view.prior?;
    let list = match role {
        Role::Init => &status.init_container_statuses,
        Role::Main => &status.container_statuses,
        Role::Ephemeral => &status.ephemeral_container_statuses,
    };
    list.as_ref()?.iter().find(|status| status.name == spec.name)
}

/// The runtime knows no container of this name.
fn unseen(view: View<'_>, spec: &Spec, role: Role, prior: Option<&ContainerStatus>) -> ContainerStatus {
    // An ephemeral container that was there does not come back.
    let ending = view.goal != Goal::Run || has_ended(view) || role == Role::Ephemeral;
    let had = prior.filter(|prior| prior.container_id.is_some());
    let started = (role != Role::Ephemeral).then_some(false);
    let mut status = match had {
        Some(prior) => ContainerStatus { ready: false, started, ..prior.clone() },
        None => ContainerStatus {
            name: spec.name.clone(),
            image: image(spec),
            last_state: Some(State::default()),
            started,
            volume_mounts: mounts(spec),
            ..ContainerStatus::default()
        },
    };
    if ending && had.is_some() {
        let ended = prior.and_then(|prior| prior.state.as_ref()).filter(|state| state.terminated.is_some());
        let state =
            ended.cloned().unwrap_or_else(|| State { terminated: Some(vanished()), ..State::default() });
        let init_done = policy::inits(view.pod).iter().any(|init| init.name == spec.name)
            && state.terminated.as_ref().is_some_and(|end| end.exit_code == 0);
        status.ready = init_done;
        status.state = Some(state);
        return status;
    }
    if let Some(ran) = had.and_then(|prior| prior.state.as_ref()).filter(|state| state.waiting.is_none()) {
        let told = if ran.terminated.is_some() {
            ran.clone()
        } else {
            State { terminated: Some(vanished()), ..State::default() }
        };
        status.last_state = Some(told);
    }
    status.state = Some(State { waiting: Some(not_started(view, spec)), ..State::default() });
    status
}

fn vanished() -> ContainerStateTerminated {
    ContainerStateTerminated {
        exit_code: 137,
        reason: Some("ContainerStatusUnknown".into()),
        message: Some("The container could not be located when the pod was terminated".into()),
        ..ContainerStateTerminated::default()
    }
}

fn not_started(view: View<'_>, spec: &Spec) -> ContainerStateWaiting {
    if let Some(trouble) = view.memory.containers.get(&spec.name) {
        return ContainerStateWaiting {
            reason: Some(trouble.reason.clone()),
            message: Some(trouble.message.clone()),
        };
    }
    let reason = if policy::inits(view.pod).is_empty() { "ContainerCreating" } else { "PodInitializing" };
    ContainerStateWaiting { reason: Some(reason.into()), message: None }
}

/// Why a container that ended does not run yet, if it is going to.
fn waiting(view: View<'_>, spec: &Spec, role: Role, container: &Container) -> Option<ContainerStateWaiting> {
    let exit = container.exit()?;
    if view.goal != Goal::Run || has_ended(view) {
        return None;
    }
    if let Some(trouble) = view.memory.containers.get(&spec.name) {
        let (reason, message) = (Some(trouble.reason.clone()), Some(trouble.message.clone()));
        return Some(ContainerStateWaiting { reason, message });
    }
    let policy = RestartPolicy::of(policy::spec(view.pod));
    let comes_back =
        role != Role::Ephemeral && (policy::is_sidecar(spec) || view.seen.restarts(policy, container));
    let init_done = exit.code == 0 && policy::inits(view.pod).iter().any(|init| init.name == spec.name);
    if !comes_back
        || (init_done && !policy::is_sidecar(spec))
        || policy::due(view.seen, container, exit, view.now) <= view.now
    {
        return None;
    }
    let message = back_off_message(view, spec, container, exit);
    Some(ContainerStateWaiting { reason: Some("CrashLoopBackOff".into()), message: Some(message) })
}

fn back_off_message(view: View<'_>, spec: &Spec, container: &Container, exit: &Exit) -> String {
    let pause = policy::back_off_of(view.seen, container, exit).as_secs();
    let pause = match (pause / 60, pause % 60) {
        (0, seconds) => format!("{seconds}s"),
        (minutes, seconds) => format!("{minutes}m{seconds}s"),
    };
    format!("back-off {pause} restarting failed container={} pod={}", spec.name, pod_label(view.pod))
}

fn state_of(node: &NodeFacts, container: &Container) -> State {
    let time = |time: Timestamp| Some(Time(whole_seconds(time)));
    match &container.state {
        ContainerState::Running { started } => {
            State { running: Some(ContainerStateRunning { started_at: time(*started) }), ..State::default() }
        }
        ContainerState::Exited(exit) => State {
            terminated: Some(ContainerStateTerminated {
                container_id: Some(format!("{}://{}", node.runtime, container.id)),
                exit_code: exit.code,
                reason: Some(reason(exit)),
                message: (!exit.message.is_empty()).then(|| exit.message.clone()),
                started_at: time(exit.started),
                finished_at: time(exit.finished),
                signal: None,
            }),
            ..State::default()
        },
        ContainerState::Created => State {
            waiting: Some(ContainerStateWaiting { reason: Some("ContainerCreating".into()), message: None }),
            ..State::default()
        },
        ContainerState::Unknown => State {
            terminated: Some(ContainerStateTerminated {
                container_id: Some(format!("{}://{}", node.runtime, container.id)),
                exit_code: 255,
                reason: Some("Unknown".into()),
                message: Some("the container runtime has lost track of this container".into()),
                ..ContainerStateTerminated::default()
            }),
            ..State::default()
        },
    }
}

fn reason(exit: &Exit) -> String {
    match (exit.reason.as_str(), exit.code) {
        ("", 0) => "Completed".into(),
        ("", _) => "Error".into(),
        (words, _) => words.into(),
    }
}

fn mounts(spec: &Spec) -> Option<Vec<VolumeMountStatus>> {
    let mounts = spec.volume_mounts.as_ref().filter(|mounts| !mounts.is_empty())?;
    Some(
        mounts
            .iter()
            .map(|mount| {
                let read_only = mount.read_only.unwrap_or(false);
                VolumeMountStatus {
                    name: mount.name.clone(),
                    mount_path: mount.mount_path.clone(),
                    read_only: read_only.then_some(true),
                    recursive_read_only: read_only.then(|| "Disabled".to_owned()),
                    ..VolumeMountStatus::default()
                }
            })
            .collect(),
    )
}
