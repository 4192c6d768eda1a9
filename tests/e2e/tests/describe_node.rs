//! A node as `kubectl describe` shows it.

use std::time::Duration;

use anyhow::Result;
use e2e::{Containerd, EdgeOptions, Stack, StackOptions, eventually, pod};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use serde_json::json;

const LIMIT: Duration = Duration::from_secs(60);

/// What kubectl 1.32 prints of a kubelet's node, in its order; the events come one by one.
const SECTIONS: [&str; 33] = [
    "Name:               edge1",
    "Roles:              agent,edge",
    "Labels:             beta.kubernetes.io/arch=amd64",
    "kubernetes.io/hostname=edge1",
    "Annotations:",
    "CreationTimestamp:",
    "Taints:             <none>",
    "Unschedulable:      false",
    "Lease:",
    "HolderIdentity:  edge1",
    "RenewTime:",
    "Conditions:",
    "KubeletHasSufficientMemory   kubelet has sufficient memory available",
    "KubeletHasNoDiskPressure     kubelet has no disk pressure",
    "KubeletHasSufficientPID      kubelet has sufficient PID available",
    "EdgeReady                    edge is posting ready status",
    "Addresses:",
    "InternalIP:  127.0.0.1",
    "Hostname:    edge1",
    "Capacity:",
    "hugepages-2Mi:",
    "Allocatable:",
    "hugepages-2Mi:",
    "System Info:",
    "Machine ID:",
    "Boot ID:",
    "Container Runtime Version:  containerd://",
    "Kubelet Version:            v1.32.",
    "Non-terminated Pods:          (1 in total)",
    "default                     app",
    "Allocated resources:",
    "cpu                100m",
    "Events:",
];

/// Each text stands behind the one before.
fn in_order(text: &str, wanted: &[&str]) -> Result<(), String> {
    let mut rest = text;
    for part in wanted {
        let at = rest.find(part).ok_or_else(|| format!("{part:?} is missing or too early in\n{text}"))?;
        rest = &rest[at + part.len()..];
    }
    Ok(())
}

#[tokio::test]
async fn a_described_node_has_every_section_of_a_kubelets_node_and_tells_what_happened_to_it() -> Result<()> {
    let mut stack = Stack::start(StackOptions::default()).await?;
    let containerd = Containerd::start(stack.dir()).await?;
    let kubelet = json!({
        "systemReserved": {"cpu": "100m", "memory": "100Mi"}, "nodeStatusMaxImages": 5,
        "nodeStatusUpdateFrequency": "1s",
    });
    let overlay = json!({"modules": {"edged": {"tailoredKubeletConfig": kubelet}}});
    stack.join(&EdgeOptions { overlay, ..EdgeOptions::on(&containerd) }).await?;
    let node = stack.node_ready("edge1", LIMIT).await?;
    let status = node.status.unwrap_or_default();
    let number = |list: &Option<std::collections::BTreeMap<_, _>>, name: &str| {
        let list: &std::collections::BTreeMap<
            String,
            k8s_openapi::apimachinery::pkg::api::resource::Quantity,
        > = list.as_ref()?;
        Some(list.get(name)?.0.clone())
    };
    let kib = |text: Option<String>| text?.trim_end_matches("Ki").parse::<u64>().ok();
    let (all, left) = (number(&status.capacity, "memory"), number(&status.allocatable, "memory"));
    assert_eq!(kib(all).zip(kib(left)).map(|(all, left)| all - left), Some(100 * 1024));
    let cpus: u64 = number(&status.capacity, "cpu").and_then(|cpus| cpus.parse().ok()).unwrap_or_default();
    assert_eq!(number(&status.allocatable, "cpu"), Some(format!("{}m", cpus * 1000 - 100)));

    let mut app = pod::sleeper("app", "edge1")?;
    if let Some(container) = app.spec.as_mut().and_then(|spec| spec.containers.first_mut()) {
        container.resources = serde_json::from_value(json!({"requests": {"cpu": "100m"}}))?;
    }
    Api::<Pod>::namespaced(stack.client(), "default").create(&Default::default(), &app).await?;
    pod::ready(&stack.client(), "app", LIMIT).await?;
    eventually("all of it is told", LIMIT, || async {
        let text = stack.kubectl(&["describe", "node", "edge1"]).map_err(|error| error.to_string())?;
        in_order(&text, &SECTIONS)?;
        let events = [
            "Starting kubelet.",
            "Node edge1 status is now: NodeHasSufficientMemory",
            "Node edge1 status is now: NodeHasNoDiskPressure",
            "Node edge1 status is now: NodeHasSufficientPID",
            "Node edge1 status is now: NodeReady",
            "Updated Node Allocatable limit across pods",
        ];
        match events.into_iter().find(|event| !text.contains(event)) {
            Some(event) => Err(format!("{event:?} is missing in\n{text}")),
            None => Ok(()),
        }
    })
    .await?;
    let nodes: Api<Node> = Api::all(stack.client());
    let images = eventually("images are listed", LIMIT, || async {
        let node = nodes.get("edge1").await.map_err(|error| error.to_string())?;
        node.status
            .and_then(|status| status.images)
            .filter(|images| !images.is_empty())
            .ok_or_else(|| "none".to_owned())
    })
    .await?;
    assert!(images.iter().all(|image| image.names.iter().flatten().next().is_some()), "{images:?}");
    Ok(())
}
