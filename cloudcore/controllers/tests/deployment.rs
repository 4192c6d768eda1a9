//! Deployments: from a template to pods, from one template to the next and back, and away again.

mod support;

use controllers::Settings;
use serde_json::{Value, json};
use support::Managed;

const PODS: &str = "/api/v1/namespaces/default/pods";
const SETS: &str = "/apis/apps/v1/namespaces/default/replicasets";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

/// Bound from the start, so that no scheduler is needed.
fn deployment(replicas: usize, image: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "simple-http"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "simple-http"}},
            "template": {
                "metadata": {"labels": {"app": "simple-http"}},
                "spec": {"nodeName": "one", "containers": [{"name": "http", "image": image}]},
            },
        },
    })
}

async fn apply(managed: &Managed, deployment: &Value) {
    let path = managed.cluster.manifest("deployment.json", &deployment.to_string());
    managed.cluster.must(&["apply", "-f", &path]).await;
}

fn names(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().into_iter().flatten();
    let alive = items.filter(|item| item["metadata"]["deletionTimestamp"].is_null());
    alive.map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

async fn rolled_out(managed: &Managed) -> String {
    managed.cluster.must(&["rollout", "status", "deployment/simple-http", "--timeout=25s"]).await
}

async fn pods(managed: &Managed, count: usize) -> Vec<String> {
    let list = managed.until(PODS, "as many pods as wanted", |list| names(list).len() == count).await;
    names(&list)
}

async fn events(managed: &Managed, message: &str) {
    let list = "/api/v1/namespaces/default/events";
    let told = |list: &Value| {
        list["items"].as_array().is_some_and(|all| all.iter().any(|event| event["message"] == message))
    };
    managed.until(list, message, told).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_acid_test() {
    let managed = Managed::start().await;
    let _node = managed.node("one");
    apply(&managed, &deployment(2, "busybox")).await;
    rolled_out(&managed).await;
    let first = pods(&managed, 2).await;
    let sets = names(&managed.cluster.call("GET", SETS, Value::Null).await.1);
    assert_eq!(sets.len(), 1);
    let set = &sets[0];
    let hash = set.strip_prefix("simple-http-").unwrap();
    assert!(
        hash.len() >= 6 && hash.bytes().all(|letter| b"bcdfghjklmnpqrstvwxz2456789".contains(&letter)),
        "{hash}"
    );
    for pod in &first {
        let letters = pod.strip_prefix(&format!("{set}-")).unwrap();
        assert_eq!(letters.len(), 5, "{pod}");
    }
    events(&managed, &format!("Scaled up replica set {set} from 0 to 2")).await;

    // One that is deleted is replaced.
    managed.cluster.must(&["delete", "pod", &first[0]]).await;
    let second = pods(&managed, 2).await;
    assert!(!second.contains(&first[0]) && second.contains(&first[1]), "{first:?} {second:?}");
    rolled_out(&managed).await;

    managed.cluster.must(&["scale", "deployment/simple-http", "--replicas=1"]).await;
    let last = pods(&managed, 1).await;
    events(&managed, &format!("Scaled down replica set {set} from 2 to 1")).await;

    // A stray one with the same labels is adopted, and is one too many. It gets no node, or it might be worth as much as the other.
    let stray = json!({
        "metadata": {"name": "simple-http-c", "labels": {"app": "simple-http", "pod-template-hash": hash}},
        "spec": {"schedulerName": "nobody", "containers": [{"name": "http", "image": "busybox"}]},
    });
    assert_eq!(managed.cluster.call("POST", PODS, stray).await.0, 201);
    events(&managed, "Deleted pod: simple-http-c").await;
    let gone = |list: &Value| list["items"].as_array().unwrap().len() == 1;
    let list = managed.until(PODS, "rid of the stray pod", gone).await;
    assert_eq!(names(&list), last);

    let told = format!("NewReplicaSet:   {set} (1/1 replicas created)");
    let describe = ["describe", "deployment", "simple-http"];
    let text = managed.until_kubectl(&describe, "described", |text| text.contains(&told)).await;
    for line in [
        "Replicas:               1 desired | 1 updated | 1 total | 1 available | 0 unavailable",
        "StrategyType:           RollingUpdate",
        "RollingUpdateStrategy:  25% max unavailable, 25% max surge",
        "  Available      True    MinimumReplicasAvailable",
        "  Progressing    True    NewReplicaSetAvailable",
        "OldReplicaSets:  <none>",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollout_is_recorded_undone_paused_and_resumed() {
    let managed = Managed::start().await;
    let _node = managed.node("one");
    let cluster = &managed.cluster;
    apply(&managed, &deployment(3, "busybox:1")).await;
    rolled_out(&managed).await;
    cluster.must(&["set", "image", "deployment/simple-http", "http=busybox:2"]).await;
    let said = rolled_out(&managed).await;
    assert!(said.ends_with("deployment \"simple-http\" successfully rolled out\n"), "{said}");
    cluster.must(&["annotate", "deployment/simple-http", "kubernetes.io/change-cause=second"]).await;
    let history = ["rollout", "history", "deployment/simple-http"];
    managed
        .until_kubectl(&history, "recorded", |text| text.contains("1         <none>\n2         second"))
        .await;
    cluster.must(&["rollout", "undo", "deployment/simple-http"]).await;
    rolled_out(&managed).await;
    let image =
        |deployment: &Value| deployment["spec"]["template"]["spec"]["containers"][0]["image"] == "busybox:1";
    managed.until(&format!("{DEPLOYMENTS}/simple-http"), "undone", image).await;
    managed.until_kubectl(&history, "renumbered", |text| text.contains("2         second\n3         ")).await;

    cluster.must(&["rollout", "pause", "deployment/simple-http"]).await;
    cluster.must(&["set", "image", "deployment/simple-http", "http=busybox:3"]).await;
    let paused = |deployment: &Value| {
        let conditions = deployment["status"]["conditions"].as_array().unwrap();
        let seen = deployment["status"]["observedGeneration"] == deployment["metadata"]["generation"];
        seen && conditions.iter().any(|condition| condition["reason"] == "DeploymentPaused")
    };
    managed.until(&format!("{DEPLOYMENTS}/simple-http"), "paused", paused).await;
    let sets = cluster.call("GET", SETS, Value::Null).await.1;
    assert_eq!(names(&sets).len(), 2);
    cluster.must(&["rollout", "resume", "deployment/simple-http"]).await;
    rolled_out(&managed).await;
    cluster.must(&["rollout", "restart", "deployment/simple-http"]).await;
    rolled_out(&managed).await;
    let sizes = |list: &Value| {
        list["items"].as_array().unwrap().iter().filter(|set| set["spec"]["replicas"] != 0).count() == 1
    };
    managed.until(SETS, "down to one", sizes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollout_that_cannot_work_stops_and_says_so_and_is_undone() {
    let managed = Managed::start().await;
    let _node = managed.node("one");
    apply(&managed, &deployment(4, "busybox:1")).await;
    rolled_out(&managed).await;
    // On a node that does not exist.
    let broken = json!({"spec": {"progressDeadlineSeconds": 1, "template": {"spec": {"nodeName": "none"}}}});
    let path = format!("{DEPLOYMENTS}/simple-http");
    assert_eq!(managed.cluster.patch("merge-patch+json", &path, broken).await.0, 200);
    let overdue = |deployment: &Value| {
        let conditions = deployment["status"]["conditions"].as_array().unwrap();
        conditions.iter().any(|condition| condition["reason"] == "ProgressDeadlineExceeded")
    };
    let stuck = managed.until(&path, "overdue", overdue).await;
    assert_eq!(stuck["status"]["availableReplicas"], 3, "a quarter of 4 may be missing");
    assert_eq!(stuck["status"]["updatedReplicas"], 2, "a quarter more, and the missing one");
    let said = managed.cluster.kubectl(&["rollout", "status", "deployment/simple-http"]).await;
    assert!(said.err.contains("deployment \"simple-http\" exceeded its progress deadline"), "{said:?}");
    managed.cluster.must(&["rollout", "undo", "deployment/simple-http"]).await;
    rolled_out(&managed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recreate_begins_only_when_all_old_pods_are_gone() {
    let managed = Managed::start().await;
    let node = managed.node("one");
    let mut wanted = deployment(2, "busybox:1");
    wanted["spec"]["strategy"] = json!({"type": "Recreate"});
    apply(&managed, &wanted).await;
    rolled_out(&managed).await;
    let old = pods(&managed, 2).await;
    // The node says nothing, so nothing ends.
    node.stop().await;
    wanted["spec"]["template"]["spec"]["containers"][0]["image"] = json!("busybox:2");
    apply(&managed, &wanted).await;
    let going = |list: &Value| list["items"].as_array().unwrap().len() == 2 && names(list).is_empty();
    managed.until(PODS, "on the way out", going).await;
    let _node = managed.node("one");
    rolled_out(&managed).await;
    let new = pods(&managed, 2).await;
    assert!(new.iter().all(|pod| !old.contains(pod)), "{old:?} {new:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollout_goes_on_after_the_controllers_were_killed_in_the_middle() {
    let mut managed = Managed::start().await;
    let _node = managed.node("one");
    apply(&managed, &deployment(20, "busybox:1")).await;
    rolled_out(&managed).await;
    managed.cluster.must(&["set", "image", "deployment/simple-http", "http=busybox:2"]).await;
    for least in [1, 8, 16] {
        let updated =
            |deployment: &Value| deployment["status"]["updatedReplicas"].as_u64().unwrap_or(0) >= least;
        managed.until(&format!("{DEPLOYMENTS}/simple-http"), "under way", updated).await;
        managed.kill_controllers(Settings::default());
    }
    rolled_out(&managed).await;
    let settled = |list: &Value| {
        let items = list["items"].as_array().unwrap();
        items.len() == 20 && items.iter().all(|pod| pod["spec"]["containers"][0]["image"] == "busybox:2")
    };
    managed.until(PODS, "all of the new template", settled).await;
}
