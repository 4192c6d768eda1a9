//! Nodes that fall silent, come back, and go. With real kubectl against the real API.

mod support;

use std::time::Duration;

use controllers::Settings;
use serde_json::{Value, json};
use support::Managed;
use support::cluster::expect;

fn impatient() -> Settings {
    Settings {
        node_monitor_grace: Duration::from_secs(5),
        node_startup_grace: Duration::from_secs(2),
        node_quarantine: Duration::from_millis(200),
        pod_gc_period: Duration::from_millis(200),
        ..Settings::default()
    }
}

fn condition<'v>(object: &'v Value, kind: &str) -> &'v Value {
    let conditions = object["status"]["conditions"].as_array();
    conditions.into_iter().flatten().find(|condition| condition["type"] == kind).unwrap_or(&Value::Null)
}

fn is_ready(object: &Value, status: &str) -> bool {
    condition(object, "Ready")["status"] == status
}

fn taints(node: &Value) -> Vec<String> {
    let text = |taint: &Value, key: &str| taint[key].as_str().unwrap().to_owned();
    let mut taints: Vec<String> = node["spec"]["taints"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|taint| format!("{}:{}", text(taint, "key"), text(taint, "effect")))
        .collect();
    taints.sort();
    taints
}

async fn pod(managed: &Managed, name: &str, node: &str) -> Value {
    let pod = json!({
        "metadata": {"name": name}, "spec": {"nodeName": node, "containers": [{"name": "c", "image": "i"}]},
    });
    expect(managed.cluster.call("POST", "/api/v1/namespaces/default/pods", pod), 201).await;
    managed
        .until(&format!("/api/v1/namespaces/default/pods/{name}"), "ready", |pod| is_ready(pod, "True"))
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_node_is_not_ready_until_it_is_back_and_nothing_was_deleted() {
    let mut managed = Managed::start_with(impatient()).await;
    let (edge, _other) = (managed.node("edge"), managed.node("other"));
    let (before, _) = (pod(&managed, "on-edge", "edge").await, pod(&managed, "on-other", "other").await);
    managed.until("/api/v1/nodes/edge", "free of taints", |node| taints(node).is_empty()).await;
    edge.stop().await;
    // In the middle of its silence, nobody watches for a while.
    managed.restart_controllers(impatient()).await;
    let node = managed
        .until("/api/v1/nodes/edge", "given up", |node| is_ready(node, "Unknown") && taints(node).len() == 2)
        .await;
    let ready = condition(&node, "Ready");
    assert_eq!(
        (&ready["reason"], &ready["message"]),
        (&json!("NodeStatusUnknown"), &json!("Kubelet stopped posting node status."))
    );
    assert_eq!(condition(&node, "DiskPressure")["reason"], "NodeStatusNeverUpdated");
    assert_eq!(
        taints(&node),
        ["node.kubernetes.io/unreachable:NoExecute", "node.kubernetes.io/unreachable:NoSchedule"]
    );
    assert!(node["spec"]["taints"].as_array().unwrap().iter().all(|taint| taint["timeAdded"].is_string()));
    managed.until("/api/v1/namespaces/default/pods/on-edge", "not ready", |pod| is_ready(pod, "False")).await;
    managed
        .until_kubectl(&["get", "nodes"], "NotReady for kubectl", |out| {
            out.lines().any(|line| line.starts_with("edge") && line.contains(" NotReady "))
                && out.lines().any(|line| line.starts_with("other") && line.contains(" Ready "))
        })
        .await;
    for (about, kind) in [("node/edge", "Normal"), ("pod/on-edge", "Warning")] {
        let events = managed
            .until_kubectl(&["events", "-A", "--for", about], "told", |out| out.contains("NodeNotReady"))
            .await;
        assert!(events.lines().any(|line| line.contains("NodeNotReady") && line.contains(kind)), "{events}");
    }
    let other =
        expect(managed.cluster.call("GET", "/api/v1/namespaces/default/pods/on-other", Value::Null), 200)
            .await;
    assert!(is_ready(&other, "True"));

    let _edge = managed.node("edge");
    managed
        .until("/api/v1/nodes/edge", "back", |node| is_ready(node, "True") && taints(node).is_empty())
        .await;
    let after =
        expect(managed.cluster.call("GET", "/api/v1/namespaces/default/pods/on-edge", Value::Null), 200)
            .await;
    assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"]);
    assert_eq!(after["metadata"].get("deletionTimestamp"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_node_is_told_and_dressed_and_one_that_never_speaks_is_given_up() {
    let managed = Managed::start_with(impatient()).await;
    let _edge = managed.node("edge");
    let mute = json!({"metadata": {"name": "mute"}});
    let born = expect(managed.cluster.call("POST", "/api/v1/nodes", mute), 201).await;
    assert_eq!(taints(&born), ["node.kubernetes.io/not-ready:NoSchedule"]);
    let dressed = |node: &Value| {
        node["metadata"]["annotations"]["node.alpha.kubernetes.io/ttl"] == "0"
            && node["metadata"]["labels"]["beta.kubernetes.io/os"] == "linux"
            && node["metadata"]["labels"]["beta.kubernetes.io/arch"] == "amd64"
    };
    managed.until("/api/v1/nodes/edge", "dressed", dressed).await;
    managed
        .until_kubectl(&["describe", "node", "edge"], "told", |out| {
            out.contains("RegisteredNode")
                && out.contains("Node edge event: Registered Node edge in Controller")
        })
        .await;
    let node = managed.until("/api/v1/nodes/mute", "given up", |node| is_ready(node, "Unknown")).await;
    assert_eq!(condition(&node, "Ready")["message"], "Kubelet never posted node status.");

    managed.cluster.must(&["cordon", "edge"]).await;
    managed
        .until("/api/v1/nodes/edge", "cordoned", |node| {
            taints(node) == ["node.kubernetes.io/unschedulable:NoSchedule"]
        })
        .await;
    managed.cluster.must(&["uncordon", "edge"]).await;
    managed.until("/api/v1/nodes/edge", "open", |node| taints(node).is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_of_a_node_whose_object_is_gone_are_removed_and_others_stay() {
    let managed = Managed::start_with(impatient()).await;
    let (edge, _other) = (managed.node("edge"), managed.node("other"));
    pod(&managed, "on-edge", "edge").await;
    pod(&managed, "on-other", "other").await;
    edge.stop().await;
    managed.cluster.must(&["delete", "node", "edge"]).await;
    managed.until("/api/v1/namespaces/default/pods/on-edge", "gone", |pod| pod["code"] == 404).await;
    let other =
        expect(managed.cluster.call("GET", "/api/v1/namespaces/default/pods/on-other", Value::Null), 200)
            .await;
    assert!(is_ready(&other, "True"));
    let told = "/api/v1/namespaces/default/events?fieldSelector=reason%3DRemovingNode";
    let events = managed.until(told, "told", |events| !events["items"].as_array().unwrap().is_empty()).await;
    assert_eq!(events["items"][0]["message"], "Node edge event: Removing Node edge from Controller");
}
