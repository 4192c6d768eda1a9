//! A pod as the scheduler sees it: what it takes up where it is.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Pod, PodAffinity, PodAffinityTerm, PodAntiAffinity, PodSpec, WeightedPodAffinityTerm,
};

use super::labels::{Labels, PodTerm};
use super::resources::Requests;
use crate::cache::uid_of;

/// Which pod: its uid, and where to find it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Identity {
    pub(crate) uid: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// What a pod takes up on its node.
#[derive(Clone, Debug)]
pub(crate) struct Footprint {
    pub(crate) identity: Identity,
    pub(crate) priority: i32,
    /// When it started, or else was created.
    pub(crate) since: Timestamp,
    pub(crate) requests: Requests,
    pub(crate) ports: Vec<Port>,
    pub(crate) class: Arc<Class>,
}

/// A port of the node.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Port {
    pub(crate) number: i32,
    pub(crate) protocol: String,
    /// `0.0.0.0` is every address.
    pub(crate) address: String,
}

/// What pods that are alike have in common for the rules about other pods. Nodes count pods by class, so that such a rule
/// looks at a few classes instead of at all pods.
#[derive(Debug)]
pub(crate) struct Class {
    pub(crate) namespace: String,
    pub(crate) labels: Labels,
    /// Terminating pods do not count for the spread.
    pub(crate) going: bool,
    pub(crate) terms: PodTerms,
    /// The terms as text, which tells classes apart.
    written: String,
}

/// A pod's relations to other pods.
#[derive(Debug, Default)]
pub(crate) struct PodTerms {
    pub(crate) affinity: Vec<PodTerm>,
    pub(crate) anti_affinity: Vec<PodTerm>,
    /// Preferred terms and their weights, negative for anti-affinity.
    pub(crate) preferred: Vec<(i64, PodTerm)>,
}

// === impl Port ===

impl Port {
    /// Whether both cannot be had on one node.
    pub(crate) fn clashes(&self, other: &Self) -> bool {
        const ALL: &str = "0.0.0.0";
        self.number == other.number
            && self.protocol == other.protocol
            && (self.address == other.address || self.address == ALL || other.address == ALL)
    }
}

// === impl Class ===

impl PartialEq for Class {
    fn eq(&self, other: &Self) -> bool {
        self.namespace == other.namespace
            && self.labels == other.labels
            && self.going == other.going
            && self.written == other.written
    }
}

impl Eq for Class {}

impl Hash for Class {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.namespace.hash(state);
        self.labels.hash(state);
        self.going.hash(state);
        self.written.hash(state);
    }
}

impl Class {
    fn of(pod: &Pod, spec: &PodSpec) -> Self {
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        let labels = pod.metadata.labels.clone().unwrap_or_default();
        let (near, far) = (pod_affinity(spec), pod_anti_affinity(spec));
        let written = match (near, far) {
            (None, None) => String::new(),
            both => serde_json::to_string(&both).unwrap_or_default(),
        };
        let read = |term: &PodAffinityTerm| PodTerm::new(term, &namespace, &labels);
        let all = |terms: Option<&Vec<PodAffinityTerm>>| terms.into_iter().flatten().map(read).collect();
        let near_required =
            near.and_then(|near| near.required_during_scheduling_ignored_during_execution.as_ref());
        let far_required =
            far.and_then(|far| far.required_during_scheduling_ignored_during_execution.as_ref());
        let near_preferred =
            near.and_then(|near| near.preferred_during_scheduling_ignored_during_execution.as_ref());
        let far_preferred =
            far.and_then(|far| far.preferred_during_scheduling_ignored_during_execution.as_ref());
        let weighted = |terms: Option<&Vec<WeightedPodAffinityTerm>>, sign: i64| -> Vec<_> {
            let terms = terms.into_iter().flatten();
            terms.map(|term| (sign * i64::from(term.weight), read(&term.pod_affinity_term))).collect()
        };
        let mut preferred = weighted(near_preferred, 1);
        preferred.extend(weighted(far_preferred, -1));
        let terms = PodTerms { affinity: all(near_required), anti_affinity: all(far_required), preferred };
        Self { going: pod.metadata.deletion_timestamp.is_some(), terms, written, namespace, labels }
    }
}

impl PodTerms {}

fn pod_affinity(spec: &PodSpec) -> Option<&PodAffinity> {
    spec.affinity.as_ref()?.pod_affinity.as_ref()
}

fn pod_anti_affinity(spec: &PodSpec) -> Option<&PodAntiAffinity> {
    spec.affinity.as_ref()?.pod_anti_affinity.as_ref()
}

// === impl Footprint ===

impl Footprint {
    /// None for a pod without a spec, which the API does not make.
    pub(crate) fn of(pod: &Pod) -> Option<Self> {
        let spec = pod.spec.as_ref()?;
        let started = pod.status.as_ref().and_then(|status| status.start_time.as_ref());
        let since = started.or(pod.metadata.creation_timestamp.as_ref());
        Some(Self {
            identity: Identity::of(pod),
            priority: spec.priority.unwrap_or(0),
            since: since.map_or(Timestamp::UNIX_EPOCH, |time| time.0),
            requests: Requests::of(spec),
            ports: ports(spec),
            class: Arc::new(Class::of(pod, spec)),
        })
    }
}

impl Identity {
    pub(crate) fn of(pod: &Pod) -> Self {
        Self {
            uid: uid_of(pod),
            namespace: pod.metadata.namespace.clone().unwrap_or_default(),
            name: pod.metadata.name.clone().unwrap_or_default(),
        }
    }
}

fn ports(spec: &PodSpec) -> Vec<Port> {
    let sidecars = spec.init_containers.iter().flatten();
    let sidecars = sidecars.filter(|container| container.restart_policy.as_deref() == Some("Always"));
    let ports = spec.containers.iter().chain(sidecars).flat_map(|container| container.ports.iter().flatten());
    ports
        .filter_map(|port| {
            let number = port.host_port.filter(|number| *number > 0)?;
            let text = |text: &Option<String>, default: &str| {
                text.as_deref().filter(|text| !text.is_empty()).unwrap_or(default).to_owned()
            };
            let (protocol, address) = (text(&port.protocol, "TCP"), text(&port.host_ip, "0.0.0.0"));
            Some(Port { number, protocol, address })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_clash_on_the_same_address_or_where_one_takes_all() {
        let port = |number, protocol: &str, address: &str| Port {
            number,
            protocol: protocol.to_owned(),
            address: address.to_owned(),
        };
        let http = port(80, "TCP", "0.0.0.0");
        assert!(http.clashes(&port(80, "TCP", "127.0.0.1")));
        assert!(!http.clashes(&port(80, "UDP", "0.0.0.0")));
        assert!(!http.clashes(&port(81, "TCP", "0.0.0.0")));
        assert!(!port(80, "TCP", "127.0.0.1").clashes(&port(80, "TCP", "127.0.0.2")));
    }
}
