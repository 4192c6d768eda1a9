//! Daemon sets through the real control plane and the real kubectl.

mod support;

use std::time::Duration;

use controllers::Settings;
use serde_json::{Value, json};
use support::Managed;

const SET: &str = "/apis/apps/v1/namespaces/default/daemonsets/ds1";
const PODS: &str = "/api/v1/namespaces/default/pods";

async fn apply(managed: &Managed, extra: &str, image: &str) {
    let text = format!(
        "apiVersion: apps/v1
kind: DaemonSet
metadata: {{name: ds1}}
spec:
{extra}
  selector: {{matchLabels: {{app: ds1}}}}
  template:
    metadata: {{labels: {{app: ds1}}}}
    spec:
      containers: [{{name: main, image: \"{image}\"}}]
"
    );
    let file = managed.cluster.manifest("ds1.yaml", &text);
    managed.cluster.must(&["apply", "-f", &file]).await;
}

fn numbers(set: &Value) -> [i64; 5] {
    [
        "desiredNumberScheduled",
        "currentNumberScheduled",
        "numberReady",
        "updatedNumberScheduled",
        "numberAvailable",
    ]
    .map(|field| set["status"][field].as_i64().unwrap_or(0))
}

async fn rolled_out(managed: &Managed) -> String {
    let is_seen = |set: &Value| {
        set["status"]["observedGeneration"] == set["metadata"]["generation"] && numbers(set)[0] > 0
    };
    managed.until(SET, "seen", is_seen).await;
    managed.cluster.must(&["rollout", "status", "ds/ds1", "--timeout=25s"]).await
}

async fn images(managed: &Managed) -> Vec<String> {
    let pods = managed.cluster.json(&["get", "pods", "-l", "app=ds1"]).await;
    let image = |pod: &Value| pod["spec"]["containers"][0]["image"].as_str().unwrap().to_owned();
    pods["items"].as_array().unwrap().iter().map(image).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_gets_its_pod_and_kubectl_describes_the_set_line_by_line() {
    let managed = Managed::start().await;
    let _nodes = [managed.ready_node("edge-1").await, managed.ready_node("edge-2").await];
    apply(&managed, "", "nginx:1").await;
    assert!(rolled_out(&managed).await.ends_with("daemon set \"ds1\" successfully rolled out\n"));
    let _third = managed.ready_node("edge-3").await;
    let set = managed.until(SET, "on three nodes", |set| numbers(set) == [3, 3, 3, 3, 3]).await;
    assert_eq!(set["metadata"]["annotations"]["deprecated.daemonset.template.generation"], "1");
    let pods = managed.cluster.json(&["get", "pods", "-l", "app=ds1"]).await;
    let mut nodes = Vec::new();
    for pod in pods["items"].as_array().unwrap() {
        let node = pod["spec"]["nodeName"].as_str().unwrap();
        let terms =
            "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms";
        assert_eq!(pod.pointer(&format!("{terms}/0/matchFields/0/values/0")).unwrap(), node);
        assert_eq!(pod["metadata"]["labels"]["pod-template-generation"], "1");
        assert!(pod["metadata"]["name"].as_str().unwrap().starts_with("ds1-"), "{pod}");
        nodes.push(node.to_owned());
    }
    nodes.sort();
    assert_eq!(nodes, ["edge-1", "edge-2", "edge-3"]);
    let table = managed.cluster.must(&["get", "ds", "ds1", "--no-headers"]).await;
    let table: Vec<_> = table.split_whitespace().collect();
    assert_eq!(table[..7], ["ds1", "3", "3", "3", "3", "3", "<none>"]);
    let described = managed
        .until_kubectl(&["describe", "ds", "ds1"], "described with its events", |text| {
            text.matches("SuccessfulCreate").count() == 3
        })
        .await;
    for line in [
        "Selector:       app=ds1",
        "Node-Selector:  <none>",
        "Desired Number of Nodes Scheduled: 3",
        "Current Number of Nodes Scheduled: 3",
        "Number of Nodes Scheduled with Up-to-date Pods: 3",
        "Number of Nodes Scheduled with Available Pods: 3",
        "Number of Nodes Misscheduled: 0",
        "Pods Status:  3 Running / 0 Waiting / 0 Succeeded / 0 Failed",
    ] {
        assert!(described.lines().any(|found| found == line), "no {line:?} in {described}");
    }
    assert!(described.contains("daemonset-controller  Created pod: ds1-"), "{described}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_is_updated_undone_and_restarted_with_kubectl_while_the_controllers_are_killed() {
    let mut managed = Managed::start().await;
    let _nodes = [
        managed.ready_node("edge-1").await,
        managed.ready_node("edge-2").await,
        managed.ready_node("edge-3").await,
    ];
    apply(&managed, "", "nginx:1").await;
    rolled_out(&managed).await;
    apply(&managed, "", "nginx:2").await;
    managed.until(SET, "in the middle", |set| set["status"]["updatedNumberScheduled"] == 1).await;
    managed.kill_controllers(Settings::default());
    rolled_out(&managed).await;
    assert_eq!(images(&managed).await, ["nginx:2"; 3]);
    let history = managed.cluster.must(&["rollout", "history", "ds/ds1"]).await;
    assert_eq!(history.lines().skip(2).collect::<Vec<_>>(), ["1         <none>", "2         <none>", ""]);
    let first = managed.cluster.must(&["rollout", "history", "ds/ds1", "--revision=1"]).await;
    assert!(first.contains("Image:\tnginx:1"), "{first}");
    let undone = managed.cluster.must(&["rollout", "undo", "ds/ds1"]).await;
    assert_eq!(undone, "daemonset.apps/ds1 rolled back\n");
    managed.kill_controllers(Settings::default());
    managed
        .until(SET, "seen", |set| set["status"]["observedGeneration"] == set["metadata"]["generation"])
        .await;
    rolled_out(&managed).await;
    assert_eq!(images(&managed).await, ["nginx:1"; 3]);
    let history = managed.cluster.must(&["rollout", "history", "ds/ds1"]).await;
    assert_eq!(history.lines().skip(2).collect::<Vec<_>>(), ["2         <none>", "3         <none>", ""]);
    let before = managed.cluster.json(&["get", "pods", "-l", "app=ds1"]).await;
    managed.cluster.must(&["rollout", "restart", "ds/ds1"]).await;
    managed
        .until(SET, "seen", |set| set["status"]["observedGeneration"] == set["metadata"]["generation"])
        .await;
    rolled_out(&managed).await;
    let after = managed.cluster.json(&["get", "pods", "-l", "app=ds1"]).await;
    let uids = |pods: &Value| {
        pods["items"].as_array().unwrap().iter().map(|pod| pod["metadata"]["uid"].clone()).collect::<Vec<_>>()
    };
    assert!(uids(&after).iter().all(|uid| !uids(&before).contains(uid)));
    assert_eq!(after["items"][0]["metadata"]["labels"]["pod-template-generation"], "4");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tainted_node_gets_no_pod_until_it_recovers_and_the_numbers_are_right() {
    let managed = Managed::start().await;
    let _nodes = [managed.ready_node("edge-1").await, managed.ready_node("edge-2").await];
    managed.cluster.must(&["taint", "node", "edge-2", "mine=x:NoSchedule"]).await;
    apply(&managed, "", "nginx:1").await;
    managed.until(SET, "on one node", |set| numbers(set) == [1, 1, 1, 1, 1]).await;
    managed.cluster.must(&["taint", "node", "edge-2", "mine-"]).await;
    managed.until(SET, "on both", |set| numbers(set) == [2, 2, 2, 2, 2]).await;
    // Cordoned nodes keep their daemons, and get them.
    managed.cluster.must(&["cordon", "edge-2"]).await;
    managed.cluster.must(&["delete", "pod", "-l", "app=ds1", "--timeout=25s"]).await;
    managed.until(SET, "on both again", |set| numbers(set) == [2, 2, 2, 2, 2]).await;
    managed.cluster.must(&["taint", "node", "edge-2", "gone=x:NoExecute"]).await;
    managed.until(SET, "driven out", |set| numbers(set) == [1, 1, 1, 1, 1]).await;
    managed
        .until_kubectl(&["describe", "ds", "ds1"], "told", |text| {
            text.contains("daemonset-controller  Deleted pod: ds1-")
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreachable_node_keeps_its_pod_gets_no_new_one_and_is_counted_again_when_it_is_back() {
    let impatient = Settings { node_monitor_grace: Duration::from_secs(3), ..Settings::default() };
    let managed = Managed::start_with(impatient).await;
    let (first, _second) = (managed.ready_node("edge-1").await, managed.ready_node("edge-2").await);
    apply(&managed, "", "nginx:1").await;
    managed.until(SET, "on both", |set| numbers(set) == [2, 2, 2, 2, 2]).await;
    first.stop().await;
    let unreachable = |node: &Value| {
        let taints = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
        taints.iter().filter(|taint| taint["key"] == "node.kubernetes.io/unreachable").count() == 2
    };
    managed.until("/api/v1/nodes/edge-1", "unreachable", unreachable).await;
    // Its pod stays, on a node that takes none: Kubernetes counts it as misscheduled.
    let set = managed.until(SET, "one away", |set| numbers(set) == [1, 1, 1, 1, 1]).await;
    assert_eq!(set["status"]["numberMisscheduled"], 1);
    let on_edge = format!("{PODS}?labelSelector=app%3Dds1&fieldSelector=spec.nodeName%3Dedge-1");
    let (_, before) = managed.cluster.call("GET", &on_edge, Value::Null).await;
    assert_eq!(before["items"][0]["metadata"].get("deletionTimestamp"), None, "{before:#}");
    // When it is deleted all the same, no other comes.
    let name = before["items"][0]["metadata"]["name"].as_str().unwrap();
    managed.cluster.must(&["delete", "pod", name, "--force", "--grace-period=0"]).await;
    managed.until(SET, "without it", |set| set["status"]["numberMisscheduled"] == 0).await;
    let (_, none) = managed.cluster.call("GET", &on_edge, Value::Null).await;
    assert_eq!(none["items"], json!([]));
    let _first = managed.node("edge-1");
    let set = managed.until(SET, "on both again", |set| numbers(set) == [2, 2, 2, 2, 2]).await;
    assert_eq!(
        (&set["status"]["numberMisscheduled"], set["status"].get("numberUnavailable")),
        (&json!(0), None)
    );
    let (_, after) = managed.cluster.call("GET", &on_edge, Value::Null).await;
    assert_ne!(after["items"][0]["metadata"]["uid"], before["items"][0]["metadata"]["uid"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_pod_is_told_and_replaced() {
    let managed = Managed::start().await;
    let _node = managed.ready_node("edge-1").await;
    apply(&managed, "", "nginx:1").await;
    rolled_out(&managed).await;
    managed.cluster.must(&["annotate", "pod", "-l", "app=ds1", "agent/exit=1"]).await;
    managed
        .until_kubectl(&["describe", "ds", "ds1"], "told", |text| {
            text.contains("Warning  FailedDaemonPod") && text.contains("on node edge-1, will try to kill it")
        })
        .await;
    managed.until(SET, "running again", |set| numbers(set) == [1, 1, 1, 1, 1]).await;
    let pods = managed.until(PODS, "one pod", |pods| pods["items"].as_array().unwrap().len() == 1).await;
    assert_eq!(pods["items"][0]["metadata"]["annotations"]["agent/exit"], Value::Null);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orphans_are_adopted_and_on_delete_leaves_old_pods_alone() {
    let managed = Managed::start().await;
    let _node = managed.ready_node("edge-1").await;
    let orphan = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "stray", "labels": {"app": "ds1"}},
        "spec": {"nodeName": "edge-1", "containers": [{"name": "main", "image": "nginx:1"}]}});
    let (code, orphan) = managed.cluster.call("POST", PODS, orphan).await;
    assert_eq!(code, 201, "{orphan}");
    apply(&managed, "  updateStrategy: {type: OnDelete}", "nginx:2").await;
    managed.until(SET, "adopted", |set| numbers(set) == [1, 1, 1, 0, 1]).await;
    let pods = managed.cluster.json(&["get", "pods", "-l", "app=ds1"]).await;
    assert_eq!(pods["items"].as_array().unwrap().len(), 1);
    assert_eq!(pods["items"][0]["metadata"]["uid"], orphan["metadata"]["uid"]);
    assert_eq!(pods["items"][0]["metadata"]["ownerReferences"][0]["kind"], "DaemonSet");
    managed.cluster.must(&["delete", "pod", "-l", "app=ds1", "--timeout=25s"]).await;
    managed.until(SET, "updated", |set| numbers(set) == [1, 1, 1, 1, 1]).await;
    assert_eq!(images(&managed).await, ["nginx:2"]);
}
