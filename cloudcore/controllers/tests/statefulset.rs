//! Stateful sets through the real control plane and the real kubectl.

mod support;

use controllers::Settings;
use serde_json::{Value, json};
use support::Managed;

const SET: &str = "/apis/apps/v1/namespaces/default/statefulsets/st1";
const PODS: &str = "/api/v1/namespaces/default/pods";

async fn apply(managed: &Managed, replicas: u8, extra: &str, image: &str) {
    let text = format!(
        "apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: st1}}
spec:
  replicas: {replicas}
  serviceName: st1
{extra}
  selector: {{matchLabels: {{app: st1}}}}
  template:
    metadata: {{labels: {{app: st1}}}}
    spec:
      containers: [{{name: main, image: \"{image}\"}}]
"
    );
    let file = managed.cluster.manifest("st1.yaml", &text);
    managed.cluster.must(&["apply", "-f", &file]).await;
}

async fn rolled_out(managed: &Managed) -> String {
    managed
        .until(SET, "seen", |set| set["status"]["observedGeneration"] == set["metadata"]["generation"])
        .await;
    managed.cluster.must(&["rollout", "status", "sts/st1", "--timeout=25s"]).await
}

/// Name and image of every pod, in order.
async fn pods(managed: &Managed) -> Vec<(String, String)> {
    let pods = managed.cluster.json(&["get", "pods", "-l", "app=st1", "--sort-by=.metadata.name"]).await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let pods = pods["items"].as_array().unwrap().iter();
    pods.map(|pod| (text(&pod["metadata"]["name"]), text(&pod["spec"]["containers"][0]["image"]))).collect()
}

fn named(image: &str, ordinals: std::ops::Range<u8>) -> Vec<(String, String)> {
    ordinals.map(|ordinal| (format!("st1-{ordinal}"), image.to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_are_numbered_made_in_order_and_come_back_under_their_names() {
    let mut managed = Managed::start().await;
    let _node = managed.ready_node("edge-1").await;
    apply(&managed, 3, "", "nginx:1").await;
    assert!(
        rolled_out(&managed)
            .await
            .ends_with("partitioned roll out complete: 3 new pods have been updated...\n")
    );
    assert_eq!(pods(&managed).await, named("nginx:1", 0..3));
    let set = managed.cluster.json(&["get", "sts", "st1"]).await;
    let revision = &set["status"]["currentRevision"];
    assert_eq!((revision, &set["status"]["collisionCount"]), (&set["status"]["updateRevision"], &json!(0)));
    let pod = managed.cluster.json(&["get", "pod", "st1-1"]).await;
    assert_eq!(pod["metadata"]["labels"]["statefulset.kubernetes.io/pod-name"], "st1-1");
    assert_eq!(pod["metadata"]["labels"]["apps.kubernetes.io/pod-index"], "1");
    assert_eq!(&pod["metadata"]["labels"]["controller-revision-hash"], revision);
    assert_eq!((&pod["spec"]["hostname"], &pod["spec"]["subdomain"]), (&json!("st1-1"), &json!("st1")));
    let table = managed.cluster.must(&["get", "sts", "st1", "--no-headers"]).await;
    assert!(table.starts_with("st1   3/3"), "{table}");
    let described = managed
        .until_kubectl(&["describe", "sts", "st1"], "described with its events", |text| {
            text.contains("statefulset-controller  create Pod st1-2 in StatefulSet st1 successful")
        })
        .await;
    for line in [
        "Replicas:           3 desired | 3 total",
        "Update Strategy:    RollingUpdate",
        "  Partition:        0",
        "Pods Status:        3 Running / 0 Waiting / 0 Succeeded / 0 Failed",
        "Volume Claims:     <none>",
    ] {
        assert!(described.lines().any(|found| found == line), "no {line:?} in {described}");
    }
    let made: Vec<_> = described.lines().filter(|line| line.contains("SuccessfulCreate")).collect();
    assert_eq!(made.len(), 3, "{described}");

    managed.cluster.must(&["delete", "pod", "st1-1", "--wait=false"]).await;
    managed.kill_controllers(Settings::default());
    let uid = pod["metadata"]["uid"].clone();
    managed
        .until(&format!("{PODS}/st1-1"), "another under the same name", |pod| {
            pod["status"]["phase"] == "Running" && pod["metadata"]["uid"] != uid
        })
        .await;
    managed.cluster.must(&["scale", "sts", "st1", "--replicas=1"]).await;
    managed.until(PODS, "one pod", |pods| pods["items"].as_array().unwrap().len() == 1).await;
    assert_eq!(pods(&managed).await, named("nginx:1", 0..1));
    let described = managed
        .until_kubectl(&["describe", "sts", "st1"], "told", |text| {
            text.matches("SuccessfulDelete").count() == 2
        })
        .await;
    assert!(described.contains("delete Pod st1-2 in StatefulSet st1 successful"), "{described}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_goes_down_to_the_partition_and_can_be_undone_while_the_controllers_are_killed() {
    let mut managed = Managed::start().await;
    let _node = managed.ready_node("edge-1").await;
    let partition = |number: u8| format!("  updateStrategy: {{rollingUpdate: {{partition: {number}}}}}");
    apply(&managed, 3, &partition(1), "nginx:1").await;
    rolled_out(&managed).await;
    apply(&managed, 3, &partition(1), "nginx:2").await;
    managed.until(SET, "in the middle", |set| set["status"]["updatedReplicas"] == 1).await;
    managed.kill_controllers(Settings::default());
    assert!(
        rolled_out(&managed)
            .await
            .ends_with("partitioned roll out complete: 2 new pods have been updated...\n")
    );
    let mut expected = named("nginx:1", 0..1);
    expected.extend(named("nginx:2", 1..3));
    assert_eq!(pods(&managed).await, expected);
    let set = managed.cluster.json(&["get", "sts", "st1"]).await;
    assert_ne!(set["status"]["currentRevision"], set["status"]["updateRevision"]);
    apply(&managed, 3, &partition(0), "nginx:2").await;
    managed
        .until(SET, "complete", |set| set["status"]["currentRevision"] == set["status"]["updateRevision"])
        .await;
    assert_eq!(pods(&managed).await, named("nginx:2", 0..3));
    let history = managed.cluster.must(&["rollout", "history", "sts/st1"]).await;
    assert_eq!(history.lines().skip(2).collect::<Vec<_>>(), ["1         <none>", "2         <none>", ""]);
    let undone = managed.cluster.must(&["rollout", "undo", "sts/st1"]).await;
    assert_eq!(undone, "statefulset.apps/st1 rolled back\n");
    managed.kill_controllers(Settings::default());
    rolled_out(&managed).await;
    assert_eq!(pods(&managed).await, named("nginx:1", 0..3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parallel_set_starts_at_its_number_and_its_volume_claims_go_as_it_wishes() {
    let managed = Managed::start().await;
    let _node = managed.ready_node("edge-1").await;
    let extra = "  podManagementPolicy: Parallel
  ordinals: {start: 5}
  persistentVolumeClaimRetentionPolicy: {whenDeleted: Delete, whenScaled: Delete}
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}";
    apply(&managed, 2, extra, "nginx:1").await;
    managed.until(SET, "made", |set| set["status"]["replicas"] == 2).await;
    assert_eq!(pods(&managed).await, named("nginx:1", 5..7));
    let pod = managed.cluster.json(&["get", "pod", "st1-6"]).await;
    let volume = pod["spec"]["volumes"].as_array().unwrap().iter().find(|volume| volume["name"] == "data");
    assert_eq!(volume.unwrap()["persistentVolumeClaim"]["claimName"], "data-st1-6");
    let claim = managed.cluster.json(&["get", "pvc", "data-st1-6"]).await;
    assert_eq!(claim["metadata"]["ownerReferences"][0]["kind"], "StatefulSet");
    assert_eq!(claim["metadata"]["labels"], json!({"app": "st1"}));
    managed
        .until_kubectl(&["describe", "sts", "st1"], "told", |text| {
            text.contains("create Claim data-st1-6 Pod st1-6 in StatefulSet st1 success")
        })
        .await;
    managed.cluster.must(&["scale", "sts", "st1", "--replicas=1"]).await;
    let claim = "/api/v1/namespaces/default/persistentvolumeclaims/data-st1-6";
    managed
        .until(claim, "going with its pod", |claim| {
            claim["metadata"]["ownerReferences"][0]["kind"] == "Pod" || claim["code"] == 404
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_ended_is_told_and_replaced() {
    let managed = Managed::start().await;
    let _node = managed.ready_node("edge-1").await;
    apply(&managed, 1, "", "nginx:1").await;
    rolled_out(&managed).await;
    managed.cluster.must(&["annotate", "pod", "st1-0", "agent/exit=1"]).await;
    managed
        .until_kubectl(&["describe", "sts", "st1"], "told", |text| {
            text.contains("StatefulSet default/st1 is recreating failed Pod st1-0")
        })
        .await;
    managed
        .until(&format!("{PODS}/st1-0"), "running", |pod| {
            pod["status"]["phase"] == "Running" && pod["metadata"]["annotations"]["agent/exit"].is_null()
        })
        .await;
}
