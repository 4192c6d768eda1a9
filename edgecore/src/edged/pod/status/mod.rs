//! A pod's status from what is observed, in Kubernetes' words. No I/O, no clock of its own.

mod conditions;
mod containers;
mod qos;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, HostIP, Pod, PodIP, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::members::{self, Role};
use super::plan::{self, Goal, View};
use super::policy::{self, Outcome};

pub use conditions::sent_away;
pub use qos::QosClass;

/// What is the same for all pods of a node.
#[derive(Clone, Debug)]
pub struct NodeFacts {
    /// The node's address.
    pub address: IpAddr,
    /// Scheme of container ids, such as `containerd`.
    pub runtime: String,
}

/// The status of a pod, ready to be reported.
pub fn build(view: View<'_>, node: &NodeFacts) -> PodStatus {
    let inits: Vec<ContainerStatus> = containers::of(view, node, policy::inits(view.pod), Role::Init);
    let mains: Vec<ContainerStatus> =
        containers::of(view, node, &policy::spec(view.pod).containers, Role::Main);
    let ephemerals = containers::of(view, node, &members::ephemerals(view.pod), Role::Ephemeral);
    let phase = phase(view, &inits, &mains);
    let (reason, message) = explain(view, phase);
    let addresses = addresses(view, node);
    PodStatus {
        conditions: Some(conditions::of(view, phase, &inits, &mains)),
        host_ip: Some(node.address.to_string()),
        host_ips: Some(vec![HostIP { ip: node.address.to_string() }]),
        pod_ip: addresses.first().map(|pod| pod.ip.clone()),
        pod_ips: (!addresses.is_empty()).then_some(addresses),
        phase: Some(phase.to_owned()),
        qos_class: Some(QosClass::of(view.pod).to_string()),
        start_time: Some(Time(start_time(view))),
        init_container_statuses: (!inits.is_empty()).then_some(inits),
        container_statuses: (!mains.is_empty()).then_some(mains),
        ephemeral_container_statuses: (!ephemerals.is_empty()).then_some(ephemerals),
        reason,
        message,
        observed_generation: view.pod.metadata.generation,
        ..PodStatus::default()
    }
}

/// When this node took the pod on; whole seconds, as the API keeps it.
fn start_time(view: View<'_>) -> Timestamp {
    let known = view.prior.and_then(|status| status.start_time.as_ref()).map(|time| time.0);
    known.unwrap_or_else(|| whole_seconds(view.wall))
}

/// The API keeps whole seconds; comparing anything finer would report changes that are none.
pub fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

fn addresses(view: View<'_>, node: &NodeFacts) -> Vec<PodIP> {
    if policy::host_network(view.pod) {
        return vec![PodIP { ip: node.address.to_string() }];
    }
    let seen: Vec<PodIP> = view.seen.addresses.iter().map(|ip| PodIP { ip: ip.to_string() }).collect();
    if !seen.is_empty() {
        return seen;
    }
    // A pod that is ending keeps the address it had.
    let ending = view.goal != Goal::Run || plan::has_ended(view);
    let before = view.prior.filter(|_| ending).and_then(|status| status.pod_ips.clone());
    before.unwrap_or_default()
}

fn phase(view: View<'_>, inits: &[ContainerStatus], mains: &[ContainerStatus]) -> &'static str {
    let stopping = view.goal != Goal::Run;
    let nothing_alive = !view.seen.containers.iter().any(|container| container.running());
    if nothing_alive {
        match plan::ending(view) {
            Some(Outcome::Succeeded) => return "Succeeded",
            Some(Outcome::Failed) => return "Failed",
            None => {}
        }
    }
    if stopping && nothing_alive {
        let well = mains.iter().all(|status| exit_code(status) == Some(0));
        return if well && !mains.is_empty() { "Succeeded" } else { "Failed" };
    }
    let initialising = mains.iter().all(|status| status.container_id.is_none())
        && inits.iter().any(|status| exit_code(status) != Some(0) && !is_started_sidecar(view, status));
    // A container that ran before counts as running while it waits for its next start.
    let never_ran = |status: &ContainerStatus| {
        let waiting = status.state.as_ref().is_none_or(|state| state.waiting.is_some());
        let before = status.last_state.as_ref().is_some_and(|state| state.terminated.is_some());
        waiting && !before
    };
    if initialising || mains.is_empty() || mains.iter().any(never_ran) { "Pending" } else { "Running" }
}

fn is_started_sidecar(view: View<'_>, status: &ContainerStatus) -> bool {
    let sidecar =
        policy::inits(view.pod).iter().any(|init| init.name == status.name && policy::is_sidecar(init));
    sidecar && status.state.as_ref().is_some_and(|state| state.running.is_some())
}

fn exit_code(status: &ContainerStatus) -> Option<i32> {
    status.state.as_ref()?.terminated.as_ref().map(|end| end.exit_code)
}

fn explain(view: View<'_>, phase: &str) -> (Option<String>, Option<String>) {
    if phase == "Failed" && plan::past_deadline(view) {
        let words = "Pod was active on the node longer than the specified deadline";
        return (Some("DeadlineExceeded".into()), Some(words.into()));
    }
    if phase == "Failed"
        && let Some(eviction) = &view.memory.evicted
    {
        return (Some("Evicted".into()), Some(eviction.message.clone()));
    }
    if phase == "Failed"
        && let Some(refused) = &view.memory.refused
    {
        return (Some(refused.reason.clone()), Some(format!("Pod was rejected: {refused}")));
    }
    let kept = view.prior.filter(|prior| prior.phase.as_deref() == Some(phase));
    kept.map(|prior| (prior.reason.clone(), prior.message.clone())).unwrap_or_default()
}

/// Whether `next` says anything that `prior` did not.
pub fn differs(prior: Option<&PodStatus>, next: &PodStatus) -> bool {
    let plain = |status: &PodStatus| serde_json::to_value(status).unwrap_or_default();
    prior.is_none_or(|prior| plain(prior) != plain(next))
}

/// Whether somebody else said of the pod that it is not ready, as happens when its node has been silent: they leave the
/// containers ready, and the agent itself says that only for want of readiness gates.
pub fn is_denied(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let says = |kind: &str, status: &str| {
        conditions.iter().find(|condition| condition.type_ == kind && condition.status == status)
    };
    says("Ready", "False").is_some_and(|ready| {
        says("ContainersReady", "True").is_some()
            && ready.reason.as_deref() != Some(conditions::GATES_NOT_READY)
    })
}

/// The name by which users know a pod in messages: `name_namespace(uid)`.
pub fn pod_label(pod: &Pod) -> String {
    let meta = &pod.metadata;
    let part = |text: &Option<String>| text.clone().unwrap_or_default();
    format!("{}_{}({})", part(&meta.name), part(&meta.namespace), part(&meta.uid))
}
