//! What pods on this node may not have twice: ports of the host, and more than the machine has. A pod that is bound here in
//! spite of that is refused, in the kubelet's words (Kubernetes v1.36 `pkg/kubelet/lifecycle/predicate.go`).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use k8s_openapi::api::core::v1::{Container, ContainerPort, Pod};
use proto::quantity::{self, QuantityError};

use super::node::Amounts;
use super::pod::policy;
use super::pod::status::QosClass;

/// Why a pod cannot run here, as far as one may tell before it begins.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Rejection {
    /// One word for its status, such as `NodePorts`.
    pub reason: String,
    /// What is in the way.
    pub message: String,
}

/// What pods may ask for altogether: what is allocatable.
#[derive(Clone, Copy, Debug)]
pub struct Capacity {
    /// Thousandths of a CPU.
    pub cpu_milli: i64,
    /// Bytes.
    pub memory: i64,
    /// Bytes of the node's disk.
    pub storage: i64,
    /// How many pods.
    pub pods: i64,
}

impl Capacity {
    /// From what is allocatable, and the number of pods.
    pub fn new(allocatable: Amounts, pods: u32) -> Self {
        let signed = |amount: u64| i64::try_from(amount).unwrap_or(i64::MAX);
        Self {
            cpu_milli: signed(allocatable.cpu_milli),
            memory: signed(allocatable.memory),
            storage: signed(allocatable.storage),
            pods: i64::from(pods),
        }
    }
}

/// What the pods that have begun hold, by uid.
#[derive(Debug, Default)]
pub struct Admission {
    held: Mutex<BTreeMap<String, Claim>>,
}

/// What one pod holds.
#[derive(Clone, Debug)]
struct Claim {
    class: QosClass,
    ports: Vec<HostPort>,
    cpu_milli: i64,
    memory: i64,
    storage: i64,
}

/// A port of the host.
#[derive(Clone, Debug)]
struct HostPort {
    address: String,
    protocol: String,
    number: i32,
}

impl Admission {
    /// Notes what a pod holds that has begun before, or that is never refused.
    pub fn keep(&self, pod: &Pod) {
        self.lock().insert(uid(pod).to_owned(), Claim::of(pod));
    }

    /// Gives the pod what it asks for, or says why it cannot have it. May be repeated.
    ///
    /// # Errors
    /// When another pod holds a port that it asks for, or when too little is left.
    pub fn admit(&self, pod: &Pod, capacity: Capacity) -> Result<(), Rejection> {
        let mut held = self.lock();
        let claim = Claim::of(pod);
        let others = || held.iter().filter(|(holder, _)| holder.as_str() != uid(pod)).map(|(_, claim)| claim);
        let used = |of: fn(&Claim) -> i64| others().map(of).fold(0, i64::saturating_add);
        fits("pods", 1, others().fold(0, |sum, _| sum + 1), capacity.pods)?;
        fits("cpu", claim.cpu_milli, used(|claim| claim.cpu_milli), capacity.cpu_milli)?;
        fits("memory", claim.memory, used(|claim| claim.memory), capacity.memory)?;
        fits("ephemeral-storage", claim.storage, used(|claim| claim.storage), capacity.storage)?;
        if others().flat_map(|other| &other.ports).any(|port| claim.ports.iter().any(|own| own.clashes(port)))
        {
            return Err(Rejection {
                reason: "NodePorts".to_owned(),
                message:
                    "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"
                        .to_owned(),
            });
        }
        held.insert(uid(pod).to_owned(), claim);
        Ok(())
    }

    /// Forgets what a pod held that has ended.
    pub fn release(&self, uid: &str) {
        self.lock().remove(uid);
    }

    /// Thousandths of a CPU that the pods of that class ask for together.
    pub fn cpu_milli(&self, class: QosClass) -> i64 {
        let held = self.lock();
        held.values().filter(|one| one.class == class).map(|one| one.cpu_milli).fold(0, i64::saturating_add)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Claim>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Thousandths of a CPU that the pod asks for.
pub fn cpu_request(pod: &Pod) -> i64 {
    Claim::of(pod).cpu_milli
}

/// Whether the pod may begin on a node that is short of memory although it asks for none, as those of daemon sets may.
pub fn bears_memory_pressure(pod: &Pod) -> bool {
    policy::spec(pod).tolerations.iter().flatten().any(|toleration| {
        let text = |part: &Option<String>| part.clone().unwrap_or_default();
        let (key, exists) = (text(&toleration.key), text(&toleration.operator) == "Exists");
        matches!(text(&toleration.effect).as_str(), "" | "NoSchedule")
            && (key == "node.kubernetes.io/memory-pressure" || (key.is_empty() && exists))
            && (exists || text(&toleration.value).is_empty())
    })
}

fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

fn fits(resource: impl fmt::Display, requested: i64, used: i64, capacity: i64) -> Result<(), Rejection> {
    if requested <= 0 || used.saturating_add(requested) <= capacity {
        return Ok(());
    }
    Err(Rejection {
        reason: format!("OutOf{resource}"),
        message: format!(
            "Node didn't have enough resource: {resource}, requested: {requested}, used: {used}, capacity: {capacity}"
        ),
    })
}

impl Claim {
    fn of(pod: &Pod) -> Self {
        let spec = policy::spec(pod);
        let sidecars = policy::inits(pod).iter().filter(|init| policy::is_sidecar(init));
        let together: Vec<&Container> = spec.containers.iter().chain(sidecars).collect();
        let sum = |name: &str, unit: fn(&str) -> Result<i64, QuantityError>| {
            let all = together.iter().map(|container| request(container, name, unit));
            let all = all.fold(0, i64::saturating_add);
            let inits = policy::inits(pod).iter().map(|init| request(init, name, unit));
            inits.fold(all, i64::max)
        };
        let ports = together.iter().flat_map(|container| container.ports.iter().flatten());
        Self {
            class: QosClass::of(pod),
            ports: ports.filter_map(|port| HostPort::of(port, policy::host_network(pod))).collect(),
            cpu_milli: sum("cpu", quantity::milli),
            memory: sum("memory", quantity::whole),
            storage: sum("ephemeral-storage", quantity::whole),
        }
    }
}

/// What the container asks for, or may use at most; nothing when that cannot be read.
fn request(container: &Container, name: &str, unit: fn(&str) -> Result<i64, QuantityError>) -> i64 {
    let Some(resources) = &container.resources else { return 0 };
    let requests = resources.requests.as_ref().and_then(|requests| requests.get(name));
    let limits = resources.limits.as_ref().and_then(|limits| limits.get(name));
    requests.or(limits).and_then(|quantity| unit(&quantity.0).ok()).unwrap_or(0)
}

impl HostPort {
    fn of(port: &ContainerPort, host_network: bool) -> Option<Self> {
        let number = port.host_port.unwrap_or(0);
        let number = if number == 0 && host_network { port.container_port } else { number };
        (number > 0).then(|| Self {
            address: port.host_ip.clone().filter(|ip| !ip.is_empty()).unwrap_or_else(|| "0.0.0.0".to_owned()),
            protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
            number,
        })
    }

    fn clashes(&self, other: &Self) -> bool {
        const ALL: &str = "0.0.0.0";
        (self.number, &self.protocol) == (other.number, &other.protocol)
            && (self.address == other.address || self.address == ALL || other.address == ALL)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const MACHINE: Capacity = Capacity { cpu_milli: 2000, memory: 1 << 30, storage: 1 << 30, pods: 10 };

    fn pod(uid: &str, port: serde_json::Value, cpu: &str) -> Pod {
        serde_json::from_value(json!({ "metadata": { "uid": uid }, "spec": { "containers": [
            { "name": "c", "ports": [port], "resources": { "requests": { "cpu": cpu } } },
        ] } }))
        .expect("a pod")
    }

    #[test]
    fn a_port_of_the_host_is_held_by_one_pod_until_it_ends() {
        let admission = Admission::default();
        let port = |ip: &str, protocol: &str| json!({ "containerPort": 80, "hostPort": 8080, "hostIP": ip, "protocol": protocol });
        let (first, second) = (pod("1", port("127.0.0.1", "TCP"), "0"), pod("2", port("", "TCP"), "0"));
        admission.admit(&first, MACHINE).expect("free");
        admission.admit(&first, MACHINE).expect("its own");
        assert_eq!(admission.admit(&second, MACHINE).expect_err("held").reason, "NodePorts");
        admission.admit(&pod("3", port("127.0.0.2", "TCP"), "0"), MACHINE).expect("another address");
        admission.admit(&pod("4", port("127.0.0.1", "UDP"), "0"), MACHINE).expect("another protocol");
        admission.admit(&pod("5", json!({ "containerPort": 80 }), "0"), MACHINE).expect("not of the host");
        admission.release("1");
        admission.release("3");
        admission.admit(&second, MACHINE).expect("free again");
    }

    #[test]
    fn only_who_tolerates_it_begins_on_a_node_short_of_memory() {
        let bears = |toleration: serde_json::Value| {
            let pod = json!({ "spec": { "containers": [], "tolerations": [toleration] } });
            bears_memory_pressure(&serde_json::from_value(pod).expect("a pod"))
        };
        let key = "node.kubernetes.io/memory-pressure";
        assert!(bears(json!({ "key": key, "operator": "Exists", "effect": "NoSchedule" })));
        assert!(bears(json!({ "key": key })));
        assert!(bears(json!({ "operator": "Exists" })));
        assert!(!bears(json!({ "key": key, "operator": "Exists", "effect": "NoExecute" })));
        assert!(!bears(json!({ "key": key, "value": "yes" })));
        assert!(!bears(json!({ "key": "node.kubernetes.io/disk-pressure", "operator": "Exists" })));
    }

    #[test]
    fn a_pod_that_asks_for_more_than_is_left_is_refused_in_the_kubelets_words() {
        let admission = Admission::default();
        let port = json!({ "containerPort": 80 });
        admission.keep(&pod("1", port.clone(), "1500m"));
        let refused = admission.admit(&pod("2", port.clone(), "1"), MACHINE).expect_err("too much");
        assert_eq!(refused.reason, "OutOfcpu");
        assert_eq!(
            refused.message,
            "Node didn't have enough resource: cpu, requested: 1000, used: 1500, capacity: 2000"
        );
        admission.admit(&pod("3", port.clone(), "500m"), MACHINE).expect("just enough");
        let few = Capacity { pods: 2, ..MACHINE };
        let refused = admission.admit(&pod("4", port.clone(), "0"), few).expect_err("too many");
        assert_eq!(
            refused.message,
            "Node didn't have enough resource: pods, requested: 1, used: 2, capacity: 2"
        );
        // Who asks for nothing is not refused for what others hold.
        admission.keep(&pod("4", port.clone(), "10"));
        admission.admit(&pod("5", port, "0"), MACHINE).expect("nothing asked");
    }
}
