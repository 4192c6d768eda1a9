//! The Node object and the patch of its status.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{
        DaemonEndpoint, Node, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeSpec, NodeStatus, Taint,
    },
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::ObjectMeta},
};
use serde_json::{Value, json};

use super::{
    NodeSettings, RuntimeHealth,
    machine::{self, Machine},
};

/// The label by which clouds know an edge node: this key with an empty value (KubeEdge v1.23
/// `cloud/pkg/edgecontroller`).
const EDGE_LABEL: &str = "node-role.kubernetes.io/edge";

/// The object that registers this node.
pub(super) fn node(
    settings: &NodeSettings,
    machine: &Machine,
    runtime: &RuntimeHealth,
    conditions: Vec<NodeCondition>,
) -> Node {
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
        status: Some(status(settings, machine, runtime, conditions)),
    }
}

/// A strategic merge patch for the node's status that carries all that this node says about itself.
pub(super) fn status_patch(
    settings: &NodeSettings,
    machine: &Machine,
    runtime: &RuntimeHealth,
    conditions: Vec<NodeCondition>,
) -> Value {
    let order: Vec<_> = conditions.iter().map(|condition| json!({ "type": condition.type_ })).collect();
    let mut status = json!(status(settings, machine, runtime, conditions));
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

fn status(
    settings: &NodeSettings,
    machine: &Machine,
    runtime: &RuntimeHealth,
    conditions: Vec<NodeCondition>,
) -> NodeStatus {
    let version = match runtime {
        RuntimeHealth::Ready { version } => version.as_str(),
        RuntimeHealth::Broken { .. } | RuntimeHealth::Unknown => "",
    };
    let resources = |disk: u64| {
        BTreeMap::from([
            ("cpu".to_owned(), Quantity(machine.cpus.to_string())),
            ("memory".to_owned(), Quantity(format!("{}Ki", machine.memory.capacity / 1024))),
            ("ephemeral-storage".to_owned(), Quantity(disk.to_string())),
            ("pods".to_owned(), Quantity(settings.max_pods.to_string())),
        ])
    };
    let address = |kind: &str, address: String| NodeAddress { type_: kind.to_owned(), address };
    NodeStatus {
        capacity: Some(resources(machine.disk.capacity)),
        // A kubelet leaves a tenth of the disk to the system by default.
        allocatable: Some(resources(machine.disk.capacity / 10 * 9)),
        conditions: Some(conditions),
        addresses: Some(vec![
            address("InternalIP", settings.address.to_string()),
            address("Hostname", settings.name.clone()),
        ]),
        daemon_endpoints: Some(NodeDaemonEndpoints {
            kubelet_endpoint: Some(DaemonEndpoint { port: i32::from(settings.port) }),
        }),
        node_info: Some(machine::info(version)),
        ..NodeStatus::default()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{super::condition::tests::settings, *};

    #[test]
    fn a_node_carries_the_label_by_which_clouds_know_an_edge_node() {
        let node = node(&settings(), &Machine::look(Path::new("/")), &RuntimeHealth::Unknown, Vec::new());
        let labels = node.metadata.labels.unwrap();
        assert_eq!(labels.get(EDGE_LABEL).map(String::as_str), Some(""));
        assert_eq!(labels.get("zone").map(String::as_str), Some("skerry"));
    }

    #[test]
    fn a_node_that_takes_no_pods_is_registered_unschedulable() {
        let settings = NodeSettings { schedulable: false, ..settings() };
        let node = node(&settings, &Machine::look(Path::new("/")), &RuntimeHealth::Unknown, Vec::new());
        let spec = node.spec.unwrap();
        assert_eq!(spec.unschedulable, Some(true));
        assert_eq!(spec.taints.unwrap()[0].key, "node.kubernetes.io/unschedulable");
    }

    #[test]
    fn the_patch_replaces_the_addresses_and_merges_the_conditions() {
        let patch = status_patch(&settings(), &Machine::default(), &RuntimeHealth::Unknown, Vec::new());
        assert_eq!(patch["status"]["addresses"][2]["$patch"], "replace");
        assert!(patch["status"]["$setElementOrder/conditions"].is_array());
    }
}
