//! What server-side apply has to know and the schemas leave out: `x-kubernetes-list-type`, `x-kubernetes-list-map-keys` and
//! `x-kubernetes-map-type` of the built-in kinds (Kubernetes v1.36 `client-go/applyconfigurations/internal`).

use super::merge_keys::{Merge, merge_of};

/// How the parts of a list or map field are owned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topology {
    /// As its type has it: lists whole, maps and structs by their entries.
    Default,
    /// Whole, even though it is a map.
    Atomic,
    /// A list of plain values, each on its own.
    Set,
    /// A list of maps, told apart by one or two of their fields.
    Keyed(ListKey, Option<ListKey>),
}

/// A field that tells the items of a list apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListKey {
    /// Its name.
    pub name: &'static str,
    /// What it is when it is left out.
    pub default: &'static str,
}

const fn key(name: &'static str) -> ListKey {
    ListKey { name, default: "" }
}

const PROTOCOL: ListKey = ListKey { name: "protocol", default: "TCP" };

/// How `field` of the struct with this Go name is owned. Most lists that strategic merge merges by a key are keyed here, too.
pub(super) fn topology_of(go_struct: &str, field: &str) -> Topology {
    match (go_struct, field) {
        ("Container" | "EphemeralContainer", "ports") => {
            Topology::Keyed(key("containerPort"), Some(PROTOCOL))
        }
        ("ServiceSpec", "ports") => Topology::Keyed(key("port"), Some(PROTOCOL)),
        ("PodSpec", "topologySpreadConstraints") => {
            Topology::Keyed(key("topologyKey"), Some(key("whenUnsatisfiable")))
        }
        ("ResourceRequirements", "claims") => Topology::Keyed(key("name"), None),
        ("ResourceStatus", "resources") => Topology::Keyed(key("resourceID"), None),
        ("PodStatus", "hostIPs") | ("JobStatus", "conditions") => Topology::Default,
        ("PodSpec" | "Scheduling", "nodeSelector")
        | ("ServiceSpec" | "ReplicationControllerSpec", "selector") => Topology::Atomic,
        ("Endpoint", "addresses")
        | ("CSIDriverSpec", "volumeLifecycleModes")
        | ("PodFailurePolicyOnExitCodesRequirement" | "ContainerRestartRuleOnExitCodes", "values")
        | ("UncountedTerminatedPods", "failed" | "succeeded")
        | ("ValidatingAdmissionPolicyBindingSpec", "validationActions") => Topology::Set,
        _ => match merge_of(go_struct, field) {
            Merge::Default | Merge::Replace => Topology::Default,
            Merge::Set => Topology::Set,
            Merge::Key(name) => Topology::Keyed(key(name), None),
        },
    }
}

/// Structs that are owned whole.
const ATOMIC: &[&str] = &[
    "ConfigMapKeySelector",
    "CrossVersionObjectReference",
    "EndpointAddress",
    "EndpointPort",
    "FileKeySelector",
    "LabelSelector",
    "LocalObjectReference",
    "MatchResources",
    "NamedRuleWithOperations",
    "NodeSelector",
    "NodeSelectorTerm",
    "ObjectFieldSelector",
    "ObjectReference",
    "OwnerReference",
    "ParamKind",
    "ParamRef",
    "ResourceFieldSelector",
    "RoleRef",
    "ScopeSelector",
    "ScopedResourceSelectorRequirement",
    "SecretKeySelector",
    "SecretReference",
    "ServiceBackendPort",
    "TopologySelectorTerm",
    "TypedLocalObjectReference",
    "Variable",
];

/// Whether the struct with this full definition name is owned whole.
pub(super) fn is_atomic(definition: &str) -> bool {
    let go_name = definition.rsplit('.').next().unwrap_or(definition);
    ATOMIC.binary_search(&go_name).is_ok() || definition == "io.k8s.api.rbac.v1.Subject"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_that_apply_and_strategic_merge_see_differently_are_known() {
        assert_eq!(
            topology_of("Container", "ports"),
            Topology::Keyed(key("containerPort"), Some(ListKey { name: "protocol", default: "TCP" }))
        );
        assert_eq!(topology_of("Container", "env"), Topology::Keyed(key("name"), None));
        assert_eq!(topology_of("JobStatus", "conditions"), Topology::Default);
        assert_eq!(topology_of("DeploymentStatus", "conditions"), Topology::Keyed(key("type"), None));
        assert_eq!(topology_of("ObjectMeta", "finalizers"), Topology::Set);
        assert_eq!(topology_of("PodSpec", "tolerations"), Topology::Default);
        assert!(ATOMIC.is_sorted());
        assert!(is_atomic("io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector"));
        assert!(!is_atomic("io.k8s.api.core.v1.Container"));
    }
}
