//! The Node object and the patch of its status.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{
        ContainerImage, DaemonEndpoint, Node, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeSpec,
        NodeStatus, Taint,
    },
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::ObjectMeta},
};
use proto::quantity;
use serde_json::{Value, json};

use super::{
    Amounts, NodeSettings, RuntimeHealth,
    machine::{self, Machine},
};

/// The label by which clouds know an edge node: this key with an empty value (KubeEdge v1.23
/// `cloud/pkg/edgecontroller`).
const EDGE_LABEL: &str = "node-role.kubernetes.io/edge";

/// What is known of the node now.
#[derive(Clone, Copy)]
pub(super) struct Seen<'a> {
    pub(super) machine: &'a Machine,
    pub(super) runtime: &'a RuntimeHealth,
    /// `None` while nobody has looked.
    pub(super) images: Option<&'a [ContainerImage]>,
}

/// The object that registers this node.
pub(super) fn node(settings: &NodeSettings, seen: Seen<'_>, conditions: Vec<NodeCondition>) -> Node {
    Node {
        metadata: ObjectMeta {
            name: Some(settings.name.clone()),
            labels: Some(labels(settings)),
            annotations: Some(BTreeMap::from([(
                "volumes.kubernetes.io/controller-managed-attach-detach".to_owned(),
                "true".to_owned(),
            )])),
            ..ObjectMeta::default()
        },
        spec: Some(NodeSpec {
            unschedulable: (!settings.schedulable).then_some(true),
            taints: taints(settings),
            ..NodeSpec::default()
        }),
        status: Some(status(settings, seen, conditions)),
    }
}

/// A strategic merge patch for the node's status that carries all that this node says about itself.
pub(super) fn status_patch(settings: &NodeSettings, seen: Seen<'_>, conditions: Vec<NodeCondition>) -> Value {
    let order: Vec<_> = conditions.iter().map(|condition| json!({ "type": condition.type_ })).collect();
    let mut status = json!(status(settings, seen, conditions));
    // The list of addresses is ours alone: an address that is gone must not be merged back in.
    if let Some(addresses) = status["addresses"].as_array_mut() {
        addresses.push(json!({ "$patch": "replace" }));
    }
    status["$setElementOrder/conditions"] = order.into();
    json!({ "status": status })
}

fn labels(settings: &NodeSettings) -> BTreeMap<String, String> {
    let arch = machine::architecture();
    let fixed = [
        ("beta.kubernetes.io/arch", arch),
        ("beta.kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", arch),
        ("kubernetes.io/hostname", settings.name.as_str()),
        ("kubernetes.io/os", "linux"),
        ("node-role.kubernetes.io/agent", ""),
        (EDGE_LABEL, ""),
    ];
    let fixed = fixed.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
    settings.labels.clone().into_iter().chain(fixed).collect()
}

fn taints(settings: &NodeSettings) -> Option<Vec<Taint>> {
    let mut taints = settings.taints.clone();
    if !settings.schedulable {
        taints.push(Taint {
            key: "node.kubernetes.io/unschedulable".to_owned(),
            effect: "NoSchedule".to_owned(),
            ..Taint::default()
        });
    }
    Some(taints).filter(|taints| !taints.is_empty())
}

/// Amounts as a node reports them; what is set aside as huge pages is named by the size of a page.
fn resources(amounts: Amounts, machine: &Machine, max_pods: u32) -> BTreeMap<String, Quantity> {
    let fixed = [
        ("cpu".to_owned(), quantity::of_milli(amounts.cpu_milli)),
        ("memory".to_owned(), quantity::of_bytes(amounts.memory)),
        ("ephemeral-storage".to_owned(), quantity::of_bytes(amounts.storage)),
        ("pods".to_owned(), max_pods.to_string()),
    ];
    let huge = machine.huge_pages.iter().map(|pages| {
        (format!("hugepages-{}", quantity::of_bytes(pages.page)), quantity::of_bytes(pages.bytes))
    });
    fixed.into_iter().chain(huge).map(|(name, amount)| (name, Quantity(amount))).collect()
}

fn status(settings: &NodeSettings, seen: Seen<'_>, conditions: Vec<NodeCondition>) -> NodeStatus {
    let machine = seen.machine;
    let version = match seen.runtime {
        RuntimeHealth::Ready { version } => version.as_str(),
        RuntimeHealth::Broken { .. } | RuntimeHealth::Unknown => "",
    };
    let capacity = machine.amounts();
    let allocatable = settings.reserve.allocatable(capacity, machine.huge());
    let address = |kind: &str, address: String| NodeAddress { type_: kind.to_owned(), address };
    NodeStatus {
        capacity: Some(resources(capacity, machine, settings.max_pods)),
        // A kubelet leaves a tenth of the disk to the system by default.
        allocatable: Some(resources(allocatable, machine, settings.max_pods)),
        conditions: Some(conditions),
        addresses: Some(vec![
            address("InternalIP", settings.address.to_string()),
            address("Hostname", settings.name.clone()),
        ]),
        daemon_endpoints: Some(NodeDaemonEndpoints {
            kubelet_endpoint: Some(DaemonEndpoint { port: i32::from(settings.port) }),
        }),
        node_info: Some(machine::info(version)),
        images: seen.images.map(<[ContainerImage]>::to_vec),
        ..NodeStatus::default()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{super::condition::tests::settings, super::machine::HugePages, *};

    fn seen(machine: &Machine) -> Seen<'_> {
        Seen { machine, runtime: &RuntimeHealth::Unknown, images: None }
    }

    #[test]
    fn a_node_carries_the_label_by_which_clouds_know_an_edge_node() {
        let node = node(&settings(), seen(&Machine::look(Path::new("/"))), Vec::new());
        let labels = node.metadata.labels.unwrap();
        assert_eq!(labels.get(EDGE_LABEL).map(String::as_str), Some(""));
        assert_eq!(labels.get("zone").map(String::as_str), Some("skerry"));
    }

    #[test]
    fn a_node_that_takes_no_pods_is_registered_unschedulable() {
        let settings = NodeSettings { schedulable: false, ..settings() };
        let node = node(&settings, seen(&Machine::look(Path::new("/"))), Vec::new());
        let spec = node.spec.unwrap();
        assert_eq!(spec.unschedulable, Some(true));
        assert_eq!(spec.taints.unwrap()[0].key, "node.kubernetes.io/unschedulable");
    }

    #[test]
    fn the_patch_replaces_the_addresses_and_merges_the_conditions() {
        let patch = status_patch(&settings(), seen(&Machine::default()), Vec::new());
        assert_eq!(patch["status"]["addresses"][2]["$patch"], "replace");
        assert!(patch["status"]["$setElementOrder/conditions"].is_array());
        assert!(patch["status"].get("images").is_none(), "what nobody looked at is left as it was");
    }

    #[test]
    fn amounts_are_written_as_a_kubelet_writes_them() {
        let mut machine = Machine { cpus: 2, ..Machine::default() };
        machine.memory.capacity = (4 << 30) + 4096;
        machine.huge_pages =
            vec![HugePages { page: 2 << 20, bytes: 64 << 20 }, HugePages { page: 1 << 30, bytes: 0 }];
        let status = status(&settings(), seen(&machine), Vec::new());
        let text = |list: &Option<BTreeMap<String, Quantity>>, name: &str| {
            list.as_ref().and_then(|list| list.get(name)).map(|quantity| quantity.0.clone())
        };
        let expected = [
            ("cpu", "2", "2"),
            ("memory", "4194308Ki", "4128772Ki"),
            ("ephemeral-storage", "0", "0"),
            ("hugepages-2Mi", "64Mi", "64Mi"),
            ("hugepages-1Gi", "0", "0"),
            ("pods", "110", "110"),
        ];
        for (name, capacity, allocatable) in expected {
            assert_eq!(text(&status.capacity, name).as_deref(), Some(capacity), "{name}");
            assert_eq!(text(&status.allocatable, name).as_deref(), Some(allocatable), "{name}");
        }
    }
}
