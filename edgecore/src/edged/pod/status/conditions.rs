//! The pod conditions that belong to the node.

use k8s_openapi::api::core::v1::{ContainerStatus, PodCondition, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::super::plan::View;
use super::super::policy;
use super::whole_seconds;

/// A verdict: true, or false with reason and message.
type Verdict = Result<(), (String, String)>;

/// Why a pod whose containers are ready is not ready (kubelet `status.ReadinessGatesNotReady`).
pub(super) const GATES_NOT_READY: &str = "ReadinessGatesNotReady";

pub(super) fn of(
    view: View<'_>,
    phase: &str,
    inits: &[ContainerStatus],
    mains: &[ContainerStatus],
) -> Vec<PodCondition> {
    let containers = containers_ready(phase, inits, mains, view);
    let sandbox = view.seen.current(policy::host_network(view.pod)).is_some();
    let sandbox = if sandbox { Ok(()) } else { Err(Default::default()) };
    let mut all = vec![
        condition(view, "PodReadyToStartContainers", sandbox),
        condition(view, "Initialized", initialized(phase, inits, mains, view)),
        condition(view, "Ready", containers.clone().and_then(|()| gates(view))),
        condition(view, "ContainersReady", containers),
        condition(view, "PodScheduled", Ok(())),
    ];
    all.extend(disruption(view));
    all
}

const DISRUPTION: &str = "DisruptionTarget";
/// The node itself ends the pod.
const BY_NODE: &str = "TerminationByKubelet";

/// Why this node was ending the pod when it was last heard of.
pub fn sent_away(prior: Option<&PodStatus>) -> Option<&str> {
    let conditions = prior.and_then(|prior| prior.conditions.as_ref())?;
    let said = conditions.iter().find(|one| {
        one.type_ == DISRUPTION && one.status == "True" && one.reason.as_deref() == Some(BY_NODE)
    });
    said?.message.as_deref()
}

/// That the node itself ended the pod; said for good.
fn disruption(view: View<'_>) -> Option<PodCondition> {
    let before =
        view.prior.and_then(|prior| prior.conditions.as_ref()?.iter().find(|one| one.type_ == DISRUPTION));
    let Some(eviction) = view.memory.evicted.as_ref().filter(|_| before.is_none()) else {
        return before.cloned();
    };
    Some(PodCondition {
        type_: DISRUPTION.to_owned(),
        status: "True".to_owned(),
        reason: Some(BY_NODE.to_owned()),
        message: Some(eviction.message.clone()),
        last_transition_time: Some(Time(whole_seconds(view.wall))),
        ..PodCondition::default()
    })
}

fn condition(view: View<'_>, kind: &str, verdict: Verdict) -> PodCondition {
    let (status, reason, message) = match verdict {
        Ok(()) => ("True", String::new(), String::new()),
        Err((reason, message)) => ("False", reason, message),
    };
    let before = view.prior.and_then(|prior| prior.conditions.as_ref()).and_then(|list| {
        list.iter()
            .find(|before| before.type_ == kind && before.status == status)?
            .last_transition_time
            .clone()
    });
    PodCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: (!reason.is_empty()).then_some(reason),
        message: (!message.is_empty()).then_some(message),
        last_transition_time: Some(before.unwrap_or_else(|| Time(whole_seconds(view.wall)))),
        ..PodCondition::default()
    }
}

fn names<'a>(statuses: impl Iterator<Item = &'a ContainerStatus>) -> String {
    statuses.map(|status| status.name.as_str()).collect::<Vec<_>>().join(" ")
}

fn initialized(phase: &str, inits: &[ContainerStatus], mains: &[ContainerStatus], view: View<'_>) -> Verdict {
    if phase == "Succeeded" {
        return Ok(());
    }
    if mains.iter().any(|status| status.container_id.is_some()) {
        return Ok(());
    }
    let incomplete = names(inits.iter().filter(|status| !(status.ready || sidecar_runs(view, status))));
    if incomplete.is_empty() {
        return Ok(());
    }
    Err(("ContainersNotInitialized".into(), format!("containers with incomplete status: [{incomplete}]")))
}

fn sidecar_runs(view: View<'_>, status: &ContainerStatus) -> bool {
    policy::inits(view.pod).iter().any(|init| init.name == status.name && policy::is_sidecar(init))
        && status.started == Some(true)
}

fn containers_ready(
    phase: &str,
    inits: &[ContainerStatus],
    mains: &[ContainerStatus],
    view: View<'_>,
) -> Verdict {
    match phase {
        "Succeeded" => return Err(("PodCompleted".into(), String::new())),
        "Failed" => return Err(("PodFailed".into(), String::new())),
        _ => {}
    }
    let sidecars = inits.iter().filter(|status| {
        policy::inits(view.pod).iter().any(|init| init.name == status.name && policy::is_sidecar(init))
    });
    let unready = names(sidecars.chain(mains).filter(|status| !status.ready));
    if unready.is_empty() {
        return Ok(());
    }
    Err(("ContainersNotReady".into(), format!("containers with unready status: [{unready}]")))
}

/// Conditions that others set and that the pod demands for readiness.
fn gates(view: View<'_>) -> Verdict {
    let wanted = policy::spec(view.pod).readiness_gates.as_deref().unwrap_or_default();
    let set = view.pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let missing: Vec<&str> = wanted
        .iter()
        .map(|gate| gate.condition_type.as_str())
        .filter(|gate| !set.iter().any(|condition| condition.type_ == *gate && condition.status == "True"))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let message = format!("the readiness gates are not all true: {}", missing.join(", "));
    Err((GATES_NOT_READY.into(), message))
}
