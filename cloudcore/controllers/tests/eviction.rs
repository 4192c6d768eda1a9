//! Pods leave nodes whose taints they do not tolerate, when their time has come. With real kubectl against the real API.

mod support;

use std::time::Duration;

use controllers::Settings;
use serde_json::{Value, json};
use support::Managed;
use support::cluster::expect;

const PODS: &str = "/api/v1/namespaces/default/pods";

async fn pod(managed: &Managed, name: &str, tolerations: Value) {
    labelled(managed, name, json!({}), tolerations).await;
}

async fn labelled(managed: &Managed, name: &str, labels: Value, tolerations: Value) {
    let pod = json!({"metadata": {"name": name, "labels": labels}, "spec": {
        "nodeName": "edge", "tolerations": tolerations, "containers": [{"name": "c", "image": "i"}],
    }});
    expect(managed.cluster.call("POST", PODS, pod), 201).await;
    managed.until(&format!("{PODS}/{name}"), "running", |pod| pod["status"]["phase"] == "Running").await;
}

async fn events(managed: &Managed, pod: &str, message: &str) {
    let path = format!(
        "/api/v1/namespaces/default/events?fieldSelector=reason%3DTaintManagerEviction,involvedObject.name%3D{pod}"
    );
    let told =
        |events: &Value| events["items"].as_array().unwrap().iter().any(|event| event["message"] == message);
    managed.until(&path, message, told).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_taint_drives_off_who_does_not_tolerate_it_and_lets_be_who_does() {
    let managed = Managed::start().await;
    let _edge = managed.node("edge");
    managed.until("/api/v1/nodes/edge", "there", |node| node["kind"] == "Node").await;
    pod(&managed, "strange", json!([])).await;
    pod(
        &managed,
        "patient",
        json!([{"key": "works", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 3600}]),
    )
    .await;
    pod(&managed, "stubborn", json!([{"operator": "Exists"}])).await;
    managed.cluster.must(&["taint", "node", "edge", "works=now:NoExecute"]).await;
    managed.until(&format!("{PODS}/strange"), "gone", |pod| pod["code"] == 404).await;
    events(&managed, "strange", "Marking for deletion Pod default/strange").await;
    managed.cluster.must(&["taint", "node", "edge", "works:NoExecute-"]).await;
    events(&managed, "patient", "Cancelling deletion of Pod default/patient").await;
    for name in ["patient", "stubborn"] {
        let pod = expect(managed.cluster.call("GET", &format!("{PODS}/{name}"), Value::Null), 200).await;
        assert_eq!(pod["metadata"].get("deletionTimestamp"), None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_of_a_silent_node_are_asked_to_go_in_their_time_and_stay_until_their_agent_is_back() {
    let impatient = || Settings { node_monitor_grace: Duration::from_secs(4), ..Settings::default() };
    let mut managed = Managed::start_with(impatient()).await;
    let (edge, _other) = (managed.node("edge"), managed.node("other"));
    managed.until("/api/v1/nodes/edge", "there", |node| node["kind"] == "Node").await;
    managed.until("/api/v1/nodes/other", "there", |node| node["kind"] == "Node").await;
    let unreachable = "node.kubernetes.io/unreachable";
    pod(
        &managed,
        "brief",
        json!([{"key": unreachable, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 2}]),
    )
    .await;
    // The label alone is enough, whatever the pod says itself about nodes that are away.
    let autonomy = json!({"app-offline.kubeedge.io": "autonomy"});
    let briefly =
        json!([{"key": unreachable, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1}]);
    labelled(&managed, "autonomous", autonomy, briefly).await;
    pod(&managed, "stubborn", json!([{"key": unreachable, "operator": "Exists"}])).await;
    edge.stop().await;
    managed
        .until("/api/v1/nodes/edge", "tainted", |node| {
            node["spec"]["taints"].as_array().is_some_and(|taints| taints.len() == 2)
        })
        .await;
    managed.restart_controllers(impatient()).await;
    let going = managed
        .until(&format!("{PODS}/brief"), "asked to go", |pod| {
            pod["metadata"]["deletionTimestamp"].is_string()
        })
        .await;
    let conditions = going["status"]["conditions"].as_array().unwrap();
    let why = conditions.iter().find(|condition| condition["type"] == "DisruptionTarget").unwrap();
    assert_eq!(
        (&why["status"], &why["reason"], &why["message"]),
        (
            &json!("True"),
            &json!("DeletionByTaintManager"),
            &json!("Taint manager: deleting due to NoExecute taint")
        )
    );
    events(&managed, "brief", "Marking for deletion Pod default/brief").await;
    let _edge = managed.node("edge");
    managed.until(&format!("{PODS}/brief"), "gone", |pod| pod["code"] == 404).await;
    for name in ["autonomous", "stubborn"] {
        let stays = expect(managed.cluster.call("GET", &format!("{PODS}/{name}"), Value::Null), 200).await;
        assert_eq!(stays["metadata"].get("deletionTimestamp"), None);
        let told = format!(
            "/api/v1/namespaces/default/events?fieldSelector=reason%3DTaintManagerEviction,involvedObject.name%3D{name}"
        );
        let told = expect(managed.cluster.call("GET", &told, Value::Null), 200).await;
        assert_eq!(told["items"], json!([]), "{name} was never to go");
    }
}
