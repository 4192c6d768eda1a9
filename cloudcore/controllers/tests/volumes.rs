//! Volumes and claims find each other, pods wait for them, and neither goes while it is in use.

mod support;

use serde_json::{Value, json};
use support::Managed;

const CLAIMS: &str = "/api/v1/namespaces/default/persistentvolumeclaims";
const VOLUMES: &str = "/api/v1/persistentvolumes";
const PODS: &str = "/api/v1/namespaces/default/pods";

async fn create(managed: &Managed, path: &str, body: Value) -> Value {
    let (code, made) = managed.cluster.call("POST", path, body).await;
    assert_eq!(code, 201, "{made:#}");
    made
}

fn with(mut document: Value, change: Value) -> Value {
    document.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    document
}

async fn volume(managed: &Managed, name: &str, size: &str, change: Value) {
    let spec = json!({
        "capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/srv/data"},
    });
    let meta = json!({"name": name, "labels": {"disk": name}});
    create(managed, VOLUMES, json!({"metadata": meta, "spec": with(spec, change)})).await;
}

async fn claim(managed: &Managed, name: &str, size: &str, change: Value) {
    let spec = json!({
        "resources": {"requests": {"storage": size}}, "accessModes": ["ReadWriteOnce"], "storageClassName": "",
    });
    create(managed, CLAIMS, json!({"metadata": {"name": name}, "spec": with(spec, change)})).await;
}

async fn pod(managed: &Managed, name: &str, claims: &[&str]) {
    let volume = |claim: &&str| json!({"name": claim, "persistentVolumeClaim": {"claimName": claim}});
    let volumes: Vec<_> = claims.iter().map(volume).collect();
    let spec = json!({"containers": [{"name": "main", "image": "busybox"}], "volumes": volumes});
    create(managed, PODS, json!({"metadata": {"name": name}, "spec": spec})).await;
}

async fn phase(managed: &Managed, collection: &str, name: &str, phase: &str) -> Value {
    let path = format!("{collection}/{name}");
    managed.until(&path, phase, |object| object["status"]["phase"] == phase).await
}

async fn told(managed: &Managed, kind: &str, name: &str, what: &str) {
    managed.until_kubectl(&["describe", kind, name], what, |text| text.contains(what)).await;
}

async fn unscheduled(managed: &Managed, name: &str, why: &str) {
    let says =
        |pod: &Value| pod["status"]["conditions"][0]["message"].as_str().is_some_and(|m| m.contains(why));
    managed.until(&format!("{PODS}/{name}"), why, says).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_gets_the_smallest_volume_that_suits_it_and_its_pod_runs_then() {
    let managed = Managed::start().await;
    let _node = managed.ready_node("one").await;
    claim(&managed, "data", "2Gi", json!({})).await;
    pod(&managed, "user", &["data"]).await;
    unscheduled(&managed, "user", "pod has unbound immediate PersistentVolumeClaims").await;
    let why = "no persistent volumes available for this claim and no storage class is set";
    told(&managed, "pvc", "data", why).await;
    told(&managed, "pvc", "data", "persistentvolume-controller").await;

    volume(&managed, "small", "1Gi", json!({})).await;
    volume(&managed, "other", "2Gi", json!({"storageClassName": "other"})).await;
    volume(&managed, "shared", "2Gi", json!({"accessModes": ["ReadOnlyMany"]})).await;
    for name in ["small", "other", "shared"] {
        phase(&managed, VOLUMES, name, "Available").await;
    }
    volume(&managed, "right", "3Gi", json!({})).await;
    let bound = phase(&managed, CLAIMS, "data", "Bound").await;
    assert_eq!(bound["spec"]["volumeName"], "right");
    assert_eq!(bound["status"]["capacity"], json!({"storage": "3Gi"}));
    assert_eq!(bound["status"]["accessModes"], json!(["ReadWriteOnce"]));
    assert_eq!(bound["metadata"]["annotations"]["pv.kubernetes.io/bind-completed"], "yes");
    let right = phase(&managed, VOLUMES, "right", "Bound").await;
    assert_eq!(right["spec"]["claimRef"]["uid"], bound["metadata"]["uid"]);
    phase(&managed, PODS, "user", "Running").await;
    let shown = managed.cluster.must(&["get", "pv,pvc", "--no-headers"]).await;
    assert!(shown.contains("default/data"), "{shown}");

    // Of many claims and volumes at once, each has one of its own.
    for number in 0..10 {
        claim(&managed, &format!("many-{number}"), "5Gi", json!({})).await;
        volume(&managed, &format!("many-{number}"), "5Gi", json!({})).await;
    }
    let mut taken = std::collections::BTreeSet::new();
    for number in 0..10 {
        let bound = phase(&managed, CLAIMS, &format!("many-{number}"), "Bound").await;
        taken.insert(bound["spec"]["volumeName"].as_str().unwrap().to_owned());
    }
    assert_eq!(taken.len(), 10, "{taken:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn selectors_names_and_reservations_are_kept() {
    let managed = Managed::start().await;
    volume(&managed, "fast", "1Gi", json!({})).await;
    volume(&managed, "slow", "1Gi", json!({})).await;
    let reserved = json!({"claimRef": {"namespace": "default", "name": "chosen"}});
    volume(&managed, "reserved", "1Gi", reserved).await;
    let selector = json!({"selector": {"matchLabels": {"disk": "slow"}}});
    claim(&managed, "selecting", "1Gi", selector).await;
    claim(&managed, "naming", "1Gi", json!({"volumeName": "fast"})).await;
    claim(&managed, "chosen", "1Gi", json!({})).await;
    for (name, volume) in [("selecting", "slow"), ("naming", "fast"), ("chosen", "reserved")] {
        assert_eq!(phase(&managed, CLAIMS, name, "Bound").await["spec"]["volumeName"], volume);
    }
    claim(&managed, "late", "1Gi", json!({"volumeName": "fast"})).await;
    told(&managed, "pvc", "late", "volume \"fast\" already bound to a different claim.").await;
    volume(&managed, "tiny", "1Mi", json!({})).await;
    claim(&managed, "large", "1Gi", json!({"volumeName": "tiny"})).await;
    told(&managed, "pvc", "large", "Cannot bind to requested volume \"tiny\": requested PV is too small")
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_of_a_class_that_waits_is_bound_where_its_pod_can_run() {
    let managed = Managed::start().await;
    let _nodes = [managed.ready_node("one").await, managed.ready_node("two").await];
    let class = json!({
        "metadata": {"name": "local", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer",
    });
    create(&managed, "/apis/storage.k8s.io/v1/storageclasses", class).await;
    let on = |node: &str| {
        let term = json!({"matchExpressions": [
            {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]},
        ]});
        json!({"storageClassName": "local", "nodeAffinity": {"required": {"nodeSelectorTerms": [term]}}})
    };
    volume(&managed, "on-three", "1Gi", on("three")).await;
    // The class is the cluster's.
    claim(&managed, "data", "1Gi", json!({"storageClassName": null})).await;
    told(&managed, "pvc", "data", "waiting for first consumer to be created before binding").await;
    pod(&managed, "user", &["data"]).await;
    let none = "2 node(s) didn't find available persistent volumes to bind";
    unscheduled(&managed, "user", none).await;
    told(&managed, "pvc", "data", "waiting for pod user to be scheduled").await;

    volume(&managed, "on-two", "4Gi", on("two")).await;
    let running = phase(&managed, PODS, "user", "Running").await;
    assert_eq!(running["spec"]["nodeName"], "two");
    let bound = phase(&managed, CLAIMS, "data", "Bound").await;
    assert_eq!(
        (&bound["spec"]["volumeName"], &bound["spec"]["storageClassName"]),
        (&json!("on-two"), &json!("local"))
    );

    // Two claims of one pod get two volumes of one node.
    claim(&managed, "first", "1Gi", json!({"storageClassName": "local"})).await;
    claim(&managed, "second", "2Gi", json!({"storageClassName": "local"})).await;
    volume(&managed, "one-large", "2Gi", on("one")).await;
    volume(&managed, "two-small", "1Gi", on("two")).await;
    pod(&managed, "pair", &["first", "second"]).await;
    unscheduled(&managed, "pair", none).await;
    volume(&managed, "one-small", "1Gi", on("one")).await;
    assert_eq!(phase(&managed, PODS, "pair", "Running").await["spec"]["nodeName"], "one");
    for (name, volume) in [("first", "one-small"), ("second", "one-large")] {
        assert_eq!(phase(&managed, CLAIMS, name, "Bound").await["spec"]["volumeName"], volume);
    }
    // A second pod with a bound claim goes where its volume is, and nowhere else.
    managed.cluster.must(&["cordon", "two"]).await;
    pod(&managed, "again", &["data"]).await;
    unscheduled(&managed, "again", "1 node(s) didn't match PersistentVolume's node affinity").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_use_stays_and_what_is_released_is_kept_or_says_why_it_cannot_be_deleted() {
    let managed = Managed::start().await;
    let _node = managed.ready_node("one").await;
    let policy = |policy: &str| json!({"persistentVolumeReclaimPolicy": policy});
    volume(&managed, "kept", "1Gi", policy("Retain")).await;
    volume(&managed, "dropped", "2Gi", policy("Delete")).await;
    claim(&managed, "data", "1Gi", json!({})).await;
    claim(&managed, "more", "2Gi", json!({})).await;
    assert_eq!(phase(&managed, CLAIMS, "data", "Bound").await["spec"]["volumeName"], "kept");
    phase(&managed, CLAIMS, "more", "Bound").await;
    pod(&managed, "user", &["data"]).await;
    phase(&managed, PODS, "user", "Running").await;

    managed.cluster.must(&["delete", "pvc", "data", "--wait=false"]).await;
    managed.cluster.must(&["delete", "pv", "kept", "--wait=false"]).await;
    let going = |object: &Value| !object["metadata"]["deletionTimestamp"].is_null();
    let claim_path = format!("{CLAIMS}/data");
    let held = managed.until(&claim_path, "going", going).await;
    assert_eq!(held["metadata"]["finalizers"], json!(["kubernetes.io/pvc-protection"]));
    let shown = managed.cluster.must(&["get", "pvc", "data", "--no-headers"]).await;
    assert!(shown.contains("Terminating"), "{shown}");
    let (_, volume) = managed.cluster.call("GET", &format!("{VOLUMES}/kept"), Value::Null).await;
    assert_eq!(volume["metadata"]["finalizers"], json!(["kubernetes.io/pv-protection"]));

    managed.cluster.must(&["delete", "pod", "user"]).await;
    managed.until(&format!("{CLAIMS}/web-scratch"), "gone with its pod", |claim| claim["code"] == 404).await;
}
