//! The pods of a daemon set: each for one node, whatever befalls that.
//!
//! Source: Kubernetes v1.36 `pkg/controller/daemon/util/daemonset_util.go`.

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{
    NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodTemplateSpec, Toleration,
};
use kube::ResourceExt;

use crate::history::POD_LABEL;
use crate::pods::control::from_template;

const GENERATION: &str = "deprecated.daemonset.template.generation";
const POD_GENERATION: &str = "pod-template-generation";

/// Conditions of a node that a daemon bears: they are what it may be there to watch or to heal.
const BORNE: &[(&str, &str)] = &[
    ("not-ready", "NoExecute"),
    ("unreachable", "NoExecute"),
    ("disk-pressure", "NoSchedule"),
    ("memory-pressure", "NoSchedule"),
    ("pid-pressure", "NoSchedule"),
    ("unschedulable", "NoSchedule"),
];

pub(super) fn own_template(set: &DaemonSet) -> Option<&PodTemplateSpec> {
    set.spec.as_ref().map(|spec| &spec.template)
}

/// A pod of the set before it is given a node.
pub(super) fn template(set: &DaemonSet) -> Option<Pod> {
    let mut pod = from_template(set, own_template(set)?);
    let spec = pod.spec.get_or_insert_default();
    let network = (spec.host_network == Some(true)).then_some(("network-unavailable", "NoSchedule"));
    let tolerations = spec.tolerations.get_or_insert_default();
    for (condition, effect) in BORNE.iter().copied().chain(network) {
        let toleration = Toleration {
            key: Some(format!("node.kubernetes.io/{condition}")),
            operator: Some("Exists".to_owned()),
            effect: Some(effect.to_owned()),
            ..Toleration::default()
        };
        let same = |one: &Toleration| {
            (&one.key, &one.operator, &one.effect)
                == (&toleration.key, &toleration.operator, &toleration.effect)
        };
        tolerations.retain(|one| !same(one));
        tolerations.push(toleration);
    }
    Some(pod)
}

/// A pod for a node; the scheduler binds it, because only there it fits.
pub(super) fn make(set: &DaemonSet, hash: &str, node: &str) -> Option<Pod> {
    let mut pod = template(set)?;
    pod.labels_mut().insert(POD_LABEL.to_owned(), hash.to_owned());
    if let Some(generation) = set.annotations().get(GENERATION) {
        pod.labels_mut().insert(POD_GENERATION.to_owned(), generation.clone());
    }
    let named = NodeSelectorRequirement {
        key: "metadata.name".to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![node.to_owned()]),
    };
    // What the template asks of nodes is settled: the node was chosen by it.
    let term = NodeSelectorTerm { match_fields: Some(vec![named]), match_expressions: None };
    let affinity = pod.spec.as_mut()?.affinity.get_or_insert_default().node_affinity.get_or_insert_default();
    affinity.required_during_scheduling_ignored_during_execution =
        Some(NodeSelector { node_selector_terms: vec![term] });
    Some(pod)
}

/// The node that a pod is on, or will be.
pub(super) fn node_of(pod: &Pod) -> Option<&str> {
    let spec = pod.spec.as_ref()?;
    let bound = spec.node_name.as_deref().filter(|name| !name.is_empty());
    bound.or_else(|| {
        let affinity = spec.affinity.as_ref()?.node_affinity.as_ref()?;
        let required = affinity.required_during_scheduling_ignored_during_execution.as_ref()?;
        let mut fields =
            required.node_selector_terms.iter().flat_map(|term| term.match_fields.iter().flatten());
        let named = fields.find(|field| field.key == "metadata.name" && field.operator == "In")?;
        named.values.as_ref()?.first().map(String::as_str)
    })
}

/// The hash of the template that a pod was made from.
pub(super) fn hash_of(pod: &Pod) -> Option<&str> {
    pod.labels().get(POD_LABEL).map(String::as_str)
}
