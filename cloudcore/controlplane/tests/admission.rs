//! What the server adds to objects, and what it does not let in because of others.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub)]

mod support;

use serde_json::{Value, json};
use support::{Cluster, eventually, expect};

const NS: &str = "/api/v1/namespaces/default";
const PODS: &str = "/api/v1/namespaces/default/pods";
const MOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

fn pod(name: &str, spec: Value) -> Value {
    let mut pod =
        json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}});
    for (key, value) in spec.as_object().unwrap() {
        pod["spec"][key] = value.clone();
    }
    pod
}

async fn refused(cluster: &Cluster, path: &str, body: Value) -> String {
    let answer = expect(cluster.call("POST", path, body), 403).await;
    answer["message"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_gets_the_token_of_its_account_unless_it_or_the_account_says_no() {
    let cluster = Cluster::start().await;
    let quiet = json!({
        "metadata": {"name": "quiet"}, "automountServiceAccountToken": false,
        "imagePullSecrets": [{"name": "pull"}],
    });
    expect(cluster.call("POST", &format!("{NS}/serviceaccounts"), quiet), 201).await;
    let made = expect(cluster.call("POST", PODS, pod("a", json!({}))), 201).await;
    assert_eq!(made["spec"]["serviceAccountName"], "default");
    let volume = &made["spec"]["volumes"][0];
    assert!(volume["name"].as_str().unwrap().starts_with("kube-api-access-"));
    assert_eq!(
        volume["projected"],
        json!({"defaultMode": 420, "sources": [
            {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
        ]})
    );
    assert_eq!(
        made["spec"]["containers"][0]["volumeMounts"],
        json!([{"name": volume["name"], "readOnly": true, "mountPath": MOUNT}])
    );
    let off = pod("b", json!({"automountServiceAccountToken": false}));
    assert!(expect(cluster.call("POST", PODS, off), 201).await["spec"]["volumes"].is_null());
    let quiet =
        expect(cluster.call("POST", PODS, pod("c", json!({"serviceAccountName": "quiet"}))), 201).await;
    assert!(quiet["spec"]["volumes"].is_null());
    assert_eq!(quiet["spec"]["imagePullSecrets"], json!([{"name": "pull"}]));
    let loud = pod("d", json!({"serviceAccountName": "quiet", "automountServiceAccountToken": true}));
    assert!(expect(cluster.call("POST", PODS, loud), 201).await["spec"]["volumes"].is_array());
    assert_eq!(
        refused(&cluster, PODS, pod("e", json!({"serviceAccountName": "none"}))).await,
        "pods \"e\" is forbidden: error looking up service account default/none: serviceaccount \"none\" not found"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn priorities_come_from_classes() {
    let cluster = Cluster::start().await;
    let classes = "/apis/scheduling.k8s.io/v1/priorityclasses";
    let critical = expect(
        cluster.call("POST", PODS, pod("a", json!({"priorityClassName": "system-node-critical"}))),
        201,
    )
    .await;
    assert_eq!(critical["spec"]["priority"], 2_000_001_000_i64);
    assert_eq!(
        refused(&cluster, PODS, pod("b", json!({"priorityClassName": "none"}))).await,
        "pods \"b\" is forbidden: no PriorityClass with name none was found"
    );
    let high = json!({"metadata": {"name": "high"}, "value": 100, "globalDefault": true, "preemptionPolicy": "Never"});
    expect(cluster.call("POST", classes, high), 201).await;
    let by_default = expect(cluster.call("POST", PODS, pod("c", json!({}))), 201).await;
    assert_eq!(by_default["spec"]["priorityClassName"], "high");
    assert_eq!(
        (by_default["spec"]["priority"].as_i64(), by_default["spec"]["preemptionPolicy"].as_str()),
        (Some(100), Some("Never"))
    );
    assert_eq!(
        refused(&cluster, PODS, pod("d", json!({"priority": 7}))).await,
        "pods \"d\" is forbidden: the integer value of priority (7) must not be provided in pod spec; priority admission controller computed 100 from the given PriorityClass name"
    );
    assert_eq!(
        refused(
            &cluster,
            classes,
            json!({"metadata": {"name": "second"}, "value": 1, "globalDefault": true})
        )
        .await,
        "priorityclasses.scheduling.k8s.io \"second\" is forbidden: PriorityClass high is already marked as default. Only one default can exist"
    );
    let too_high = expect(
        cluster.call("POST", classes, json!({"metadata": {"name": "x"}, "value": 1_000_000_001})),
        422,
    )
    .await;
    assert!(
        too_high["message"]
            .as_str()
            .unwrap()
            .contains("value: Forbidden: maximum allowed value of a user defined priority is 1000000000")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_autonomous_pod_is_never_sent_away_because_its_node_is_offline() {
    let cluster = Cluster::start().await;
    let mut autonomous = pod("a", json!({}));
    autonomous["metadata"]["labels"] = json!({"app-offline.kubeedge.io": "autonomy"});
    let made = expect(cluster.call("POST", PODS, autonomous), 201).await;
    assert_eq!(
        made["spec"]["tolerations"],
        json!([
            {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
            {"key": "node.kubernetes.io/unreachable", "operator": "Exists"},
        ])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_filled_in_and_kept() {
    let cluster = Cluster::start().await;
    let range = json!({"metadata": {"name": "l"}, "spec": {"limits": [
        {"type": "Container", "default": {"cpu": "500m"}, "max": {"cpu": "1", "memory": "1Gi"}, "min": {"cpu": "100m"}},
    ]}});
    expect(cluster.call("POST", &format!("{NS}/limitranges"), range), 201).await;
    let made = expect(cluster.call("POST", PODS, pod("a", json!({}))), 201).await;
    let resources = &made["spec"]["containers"][0]["resources"];
    assert_eq!(resources["limits"], json!({"cpu": "500m", "memory": "1Gi"}));
    assert_eq!(resources["requests"], json!({"cpu": "500m", "memory": "1Gi"}));
    assert_eq!(made["status"]["qosClass"], "Guaranteed");
    let note = made["metadata"]["annotations"]["kubernetes.io/limit-ranger"].as_str().unwrap();
    assert!(note.starts_with("LimitRanger plugin set: cpu, memory request for container c"), "{note}");
    let big = json!([{"name": "c", "image": "i:1", "resources": {"limits": {"cpu": "2"}, "requests": {"cpu": "50m"}}}]);
    assert_eq!(
        refused(&cluster, PODS, pod("b", json!({"containers": big}))).await,
        "pods \"b\" is forbidden: [minimum cpu usage per Container is 100m, but request is 50m, maximum cpu usage per Container is 1, but limit is 2]"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_holds_no_more_than_its_quota() {
    let cluster = Cluster::start().await;
    cluster
        .must(&["create", "quota", "q", "--hard=pods=2,requests.cpu=1,configmaps=3,count/deployments.apps=1"])
        .await;
    let cpu = |name: &str, cpu: &str| {
        let container = json!([{"name": "c", "image": "i:1", "resources": {"requests": {"cpu": cpu}}}]);
        pod(name, json!({"containers": container}))
    };
    assert_eq!(
        refused(&cluster, PODS, pod("a", json!({}))).await,
        "pods \"a\" is forbidden: failed quota: q: must specify requests.cpu for: c"
    );
    expect(cluster.call("POST", PODS, cpu("a", "600m")), 201).await;
    assert_eq!(
        refused(&cluster, PODS, cpu("b", "0.5")).await,
        "pods \"b\" is forbidden: exceeded quota: q, requested: requests.cpu=500m, used: requests.cpu=600m, limited: requests.cpu=1"
    );
    expect(cluster.call("POST", PODS, cpu("b", "100m")), 201).await;
    assert!(
        refused(&cluster, PODS, cpu("c", "100m"))
            .await
            .ends_with("requested: pods=1, used: pods=2, limited: pods=2")
    );
    cluster.must(&["create", "deployment", "one", "--image=i:1"]).await;
    let second = cluster.kubectl(&["create", "deployment", "two", "--image=i:1"]).await;
    assert!(second.err.contains("exceeded quota: q, requested: count/deployments.apps=1"), "{second:?}");
    let used = eventually("the status says what is used", || async {
        let quota = cluster.call("GET", &format!("{NS}/resourcequotas/q"), Value::Null).await.1;
        (quota["status"]["used"]["count/deployments.apps"] == "1").then(|| quota["status"].clone())
    })
    .await;
    assert_eq!(
        used["used"],
        json!({"pods": "2", "requests.cpu": "700m", "configmaps": "1", "count/deployments.apps": "1"})
    );
    let many = (0..8).map(|at| {
        cluster.call(
            "POST",
            "/api/v1/namespaces/default/configmaps",
            json!({"metadata": {"name": format!("m{at}")}}),
        )
    });
    let made = futures::future::join_all(many).await;
    assert_eq!(made.iter().filter(|(code, _)| *code == 201).count(), 2);
}
