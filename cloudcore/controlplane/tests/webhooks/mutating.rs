//! Webhooks that change objects.

use serde_json::{Value, json};

use crate::hook::{Hook, register};
use crate::support::{Cluster, expect};
use crate::{create, map};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn rule(group: &str, version: &str, resource: &str, operation: &str) -> Value {
    json!([{"apiGroups": [group], "apiVersions": [version], "resources": [resource], "operations": [operation]}])
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_webhook_adds_to_a_pod_is_completed_like_the_rest() {
    let (cluster, hook) = (Cluster::start().await, Hook::start().await);
    let mut sidecar = hook.webhook("sidecar.hooks.io", "/sidecar");
    sidecar["rules"] = rule("", "v1", "pods", "CREATE");
    register(&cluster, "Mutating", "sidecar", &[sidecar]).await;
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  containers: [{name: c, image: 'nginx:1.27'}]\n";
    let said = create(&cluster, pod).await;
    assert!(said.ok, "{said:?}");
    let pod = cluster.json(&["get", "pod", "web", "--show-managed-fields"]).await;
    let side = &pod["spec"]["containers"][1];
    assert_eq!((&side["name"], &side["imagePullPolicy"]), (&json!("side"), &json!("IfNotPresent")));
    assert_eq!(side["volumeMounts"], pod["spec"]["containers"][0]["volumeMounts"]);
    assert_eq!(side["volumeMounts"][0]["mountPath"], "/var/run/secrets/kubernetes.io/serviceaccount");
    // What kubectl wrote is kubectl's, what the webhook wrote is nobody's.
    let owned = pod["metadata"]["managedFields"].to_string();
    assert!(owned.contains(r#"k:{\"name\":\"c\"}"#) && !owned.contains("side"), "{owned}");

    let asked = &hook.asked("/sidecar")[0];
    assert_eq!(asked["operation"], "CREATE");
    assert_eq!(asked["kind"], json!({"group": "", "version": "v1", "kind": "Pod"}));
    assert_eq!(asked["resource"], json!({"group": "", "version": "v1", "resource": "pods"}));
    assert_eq!((&asked["requestKind"], &asked["requestResource"]), (&asked["kind"], &asked["resource"]));
    assert_eq!((&asked["name"], &asked["namespace"]), (&json!("web"), &json!("default")));
    assert_eq!((&asked["dryRun"], &asked["oldObject"]), (&json!(false), &Value::Null));
    assert_eq!(asked["userInfo"]["username"], "kubernetes-admin");
    assert_eq!(asked["options"]["kind"], "CreateOptions");
    assert_eq!(asked["options"]["fieldManager"], "kubectl-create");
    assert_eq!(asked["object"]["spec"]["restartPolicy"], "Always");
    assert!(asked.get("subResource").is_none() && asked["object"]["metadata"].get("uid").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_are_called_by_name_and_those_that_ask_for_it_again_when_others_changed_the_object() {
    let (cluster, hook) = (Cluster::start().await, Hook::start().await);
    let label = |name: &str| hook.webhook(&format!("{name}.hooks.io"), &format!("/label/{name}"));
    let mut first = label("first");
    first["reinvocationPolicy"] = json!("IfNeeded");
    register(&cluster, "Mutating", "b", &[label("second")]).await;
    register(&cluster, "Mutating", "a", &[first]).await;
    assert!(create(&cluster, &map("m", "")).await.ok);
    let object = cluster.json(&["get", "configmap", "m"]).await;
    assert_eq!(object["metadata"]["labels"], json!({"first": "second", "second": "first"}));
    assert_eq!((hook.asked("/label/first").len(), hook.asked("/label/second").len()), (2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn updates_status_writes_and_scales_are_asked_about_under_their_own_names() {
    let (cluster, hook) = (Cluster::start().await, Hook::start().await);
    let deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  replicas: 1\n  selector: {matchLabels: {app: web}}\n  template:\n    metadata: {labels: {app: web}}\n    spec: {containers: [{name: c, image: 'nginx:1.27'}]}\n";
    assert!(create(&cluster, deployment).await.ok);
    let about = |name: &str, path: &str, resource: &str| {
        let mut webhook = hook.webhook(&format!("{name}.hooks.io"), path);
        webhook["rules"] = rule("apps", "*", resource, "UPDATE");
        webhook
    };
    let webhooks = [
        about("main", "/label/main", "deployments"),
        about("status", "/allow/status", "deployments/status"),
        about("scale", "/scale", "deployments/scale"),
    ];
    register(&cluster, "Mutating", "deployments", &webhooks).await;

    cluster.must(&["scale", "deployment", "web", "--replicas=2"]).await;
    let scaled = cluster.json(&["get", "deployment", "web"]).await;
    assert_eq!(scaled["spec"]["replicas"], 3);
    let asked = &hook.asked("/scale")[0];
    assert_eq!(asked["kind"], json!({"group": "autoscaling", "version": "v1", "kind": "Scale"}));
    assert_eq!(
        (&asked["subResource"], &asked["resource"]["resource"]),
        (&json!("scale"), &json!("deployments"))
    );
    assert_eq!(
        (&asked["oldObject"]["spec"]["replicas"], &asked["object"]["spec"]["replicas"]),
        (&json!(1), &json!(2))
    );

    cluster.must(&["set", "image", "deployment/web", "c=nginx:1.28"]).await;
    let changed = cluster.json(&["get", "deployment", "web"]).await;
    assert_eq!(changed["metadata"]["labels"]["main"], "none");
    assert_eq!(changed["metadata"]["generation"], 3);
    let asked = &hook.asked("/label/main")[0];
    assert_eq!(asked["oldObject"]["spec"]["template"]["spec"]["containers"][0]["image"], "nginx:1.27");
    assert_eq!(asked["object"]["spec"]["template"]["spec"]["containers"][0]["image"], "nginx:1.28");
    assert_eq!(asked["options"]["kind"], "UpdateOptions");

    let path = "/apis/apps/v1/namespaces/default/deployments/web/status";
    let status = json!({"status": {"observedGeneration": 3}});
    expect(cluster.patch("merge-patch+json", path, status), 200).await;
    assert_eq!(hook.asked("/allow/status")[0]["subResource"], "status");
    assert_eq!(hook.asked("/label/main").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn server_side_apply_is_asked_about_and_keeps_its_owners() {
    let (cluster, hook) = (Cluster::start().await, Hook::start().await);
    let mut label = hook.webhook("label.hooks.io", "/label/seen");
    label["rules"] = rule("", "v1", "configmaps", "*");
    register(&cluster, "Mutating", "label", &[label]).await;
    let file = cluster.manifest("map.yaml", &map("m", "own: x"));
    for _ in 0..2 {
        cluster.must(&["apply", "--server-side", "-f", &file]).await;
    }
    let object = cluster.json(&["get", "configmap", "m", "--show-managed-fields"]).await;
    assert_eq!(object["metadata"]["labels"], json!({"own": "x", "seen": "own"}));
    let fields = object["metadata"]["managedFields"].as_array().unwrap();
    assert_eq!(fields.len(), 1, "{fields:?}");
    assert_eq!(fields[0]["fieldsV1"]["f:metadata"]["f:labels"], json!({"f:own": {}}));
    let operations: Vec<_> =
        hook.asked("/label/seen").iter().map(|asked| asked["operation"].clone()).collect();
    assert_eq!(operations, ["CREATE", "UPDATE"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_about_one_version_takes_requests_in_the_other_unless_it_wants_exactly_that() {
    let (cluster, hook) = (Cluster::start().await, Hook::start().await);
    let about = |name: &str, policy: &str| {
        let mut webhook = hook.webhook(&format!("{name}.hooks.io"), &format!("/label/{name}"));
        webhook["rules"] = rule("autoscaling", "v1", "horizontalpodautoscalers", "CREATE");
        webhook["matchPolicy"] = json!(policy);
        webhook
    };
    register(&cluster, "Mutating", "scalers", &[about("all", "Equivalent"), about("one", "Exact")]).await;
    let scaler = json!({
        "metadata": {"name": "s"},
        "spec": {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}}]},
    });
    let path = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";
    let created = expect(cluster.call("POST", path, scaler), 201).await;
    assert_eq!(created["metadata"]["labels"], json!({"all": "none"}));
    assert_eq!(created["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 70);
    assert!(hook.asked("/label/one").is_empty());
    let asked = &hook.asked("/label/all")[0];
    assert_eq!(
        asked["kind"],
        json!({"group": "autoscaling", "version": "v1", "kind": "HorizontalPodAutoscaler"})
    );
    assert_eq!(
        (&asked["requestKind"]["version"], &asked["object"]["spec"]["targetCPUUtilizationPercentage"]),
        (&json!("v2"), &json!(70))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_webhook_makes_must_be_an_object_of_its_kind() {
    let (cluster, hook) = (Cluster::start().await, Hook::start().await);
    register(&cluster, "Mutating", "nonsense", &[hook.webhook("nonsense.hooks.io", "/nonsense")]).await;
    let status =
        expect(cluster.call("POST", MAPS, json!({"metadata": {"name": "m"}, "data": {"a": "b"}})), 500).await;
    assert!(
        status["message"]
            .as_str()
            .unwrap()
            .starts_with("Internal error occurred: ConfigMap in version \"v1\" cannot be handled"),
        "{status}"
    );
    expect(cluster.call("GET", &format!("{MAPS}/m"), Value::Null), 404).await;
}
