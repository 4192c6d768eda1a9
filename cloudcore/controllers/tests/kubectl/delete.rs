//! Deleting: pods, namespaces, and what an owner leaves behind.

use serde_json::{Value, json};

use super::{Running, deployment};

const PODS: &str = "/api/v1/namespaces/default/pods";
const SETS: &str = "/apis/apps/v1/namespaces/default/replicasets";

async fn count(running: &Running, path: &str) -> usize {
    running.cluster.call("GET", path, Value::Null).await.1["items"].as_array().map_or(0, Vec::len)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delete_returns_when_the_pod_is_gone_and_by_force_at_once() {
    let running = Running::start().await;
    running.must("run x --image=nginx").await;
    running.must("wait --for=condition=Ready pod/x --timeout=20s").await;
    assert_eq!(running.must("delete pod x").await, "pod \"x\" deleted\n");
    assert_eq!(running.fails("get pod x").await, "Error from server (NotFound): pods \"x\" not found\n");
    // Bound to a node that nobody runs: only force removes it.
    let lost = json!({"metadata": {"name": "lost"}, "spec": {"nodeName": "nowhere", "containers": [{"name": "c", "image": "i"}]}});
    assert_eq!(running.cluster.call("POST", PODS, lost).await.0, 201);
    running.must("delete pod lost --wait=false").await;
    let (_, pod) = running.cluster.call("GET", &format!("{PODS}/lost"), Value::Null).await;
    assert_eq!(pod["metadata"]["deletionGracePeriodSeconds"], 30);
    let said = running.says("delete pod lost --force --grace-period=0").await;
    assert_eq!(said.out, "pod \"lost\" force deleted\n");
    assert_eq!(
        said.err,
        "Warning: Immediate deletion does not wait for confirmation that the running resource has been terminated. The resource may continue to run on the cluster indefinitely.\n"
    );
    assert!(!running.says("get pod lost").await.ok);
    assert_eq!(running.must("delete pod lost --ignore-not-found").await, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_takes_everything_with_it_and_takes_nothing_new_while_it_goes() {
    let running = Running::start().await;
    running.must("create ns foo").await;
    running.must("create deployment web --image=nginx --replicas=2 -n foo").await;
    running.must("create configmap held -n foo").await;
    running.must("rollout status deploy/web -n foo --timeout=20s").await;
    let hold = "patch configmap held -n foo --type=merge -p {\"metadata\":{\"finalizers\":[\"a.io/f\"]}}";
    running.must(hold).await;
    running.must("delete ns foo --wait=false").await;
    assert_eq!(
        running.fails("create configmap q -n foo").await,
        "error: failed to create configmap: configmaps \"q\" is forbidden: unable to create new content in namespace foo because it is being terminated\n"
    );
    let (code, status) = running
        .cluster
        .call("POST", "/api/v1/namespaces/foo/configmaps", json!({"metadata": {"name": "q"}}))
        .await;
    assert_eq!((code, &status["details"]["causes"][0]["reason"]), (403, &json!("NamespaceTerminating")));
    running.must("patch configmap held -n foo --type=merge -p {\"metadata\":{\"finalizers\":null}}").await;
    running.must("wait --for=delete ns/foo --timeout=20s").await;
    for kind in ["pods", "configmaps", "events", "serviceaccounts"] {
        assert_eq!(count(&running, &format!("/api/v1/namespaces/foo/{kind}")).await, 0, "{kind}");
    }
    running.must("create ns bar").await;
    running.must("create deployment web --image=nginx -n bar").await;
    assert_eq!(running.must("delete ns bar").await, "namespace \"bar\" deleted\n");
    assert!(!running.says("get ns bar").await.ok);
    assert_eq!(
        running.fails("delete ns default").await,
        "Error from server (Forbidden): namespaces \"default\" is forbidden: this namespace may not be deleted\n"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_leaves_its_pods_or_goes_before_or_after_them() {
    let running = Running::start().await;
    for (name, cascade) in [("left", "orphan"), ("last", "foreground"), ("first", "background")] {
        running.apply("web.yaml", &deployment(name, 2)).await;
        running.rolled_out(name).await;
        let said = running.must(&format!("delete deploy {name} --cascade={cascade}")).await;
        assert_eq!(said, format!("deployment.apps \"{name}\" deleted\n"));
        let of = |path: &str| format!("{path}?labelSelector=app%3D{name}");
        let (_, sets) = running.cluster.call("GET", &of(SETS), Value::Null).await;
        match cascade {
            "orphan" => {
                assert_eq!(sets["items"][0]["metadata"].get("ownerReferences"), None);
                assert_eq!((count(&running, &of(SETS)).await, count(&running, &of(PODS)).await), (1, 2));
            }
            "foreground" => {
                assert_eq!((count(&running, &of(SETS)).await, count(&running, &of(PODS)).await), (0, 0));
            }
            _ => {
                let empty = |list: &Value| list["items"].as_array().is_some_and(Vec::is_empty);
                running.until(&of(SETS), "without sets", empty).await;
                running.until(&of(PODS), "without pods", empty).await;
            }
        }
    }
}
