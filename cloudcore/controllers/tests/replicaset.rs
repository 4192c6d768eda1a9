//! ReplicaSets: the number of pods is what was asked for, whatever happens to pods, labels and the controllers.

mod support;

use controllers::Settings;
use serde_json::{Value, json};
use support::Managed;

const SETS: &str = "/apis/apps/v1/namespaces/default/replicasets";
const PODS: &str = "/api/v1/namespaces/default/pods";

fn set(name: &str, replicas: usize) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                // Bound from the start, so that no scheduler is needed.
                "spec": {"nodeName": "one", "containers": [{"name": "main", "image": "busybox"}]},
            },
        },
    })
}

async fn create(managed: &Managed, path: &str, body: Value) -> Value {
    let (code, made) = managed.cluster.call("POST", path, body).await;
    assert_eq!(code, 201, "{made:#}");
    made
}

fn active(list: &Value) -> Vec<String> {
    let pods = list["items"].as_array().into_iter().flatten();
    pods.filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
        .map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned())
        .collect()
}

async fn until_ready(managed: &Managed, name: &str, count: usize) -> Value {
    let ready = |set: &Value| {
        let status = &set["status"];
        let seen = status["observedGeneration"] == set["metadata"]["generation"];
        seen && status["replicas"] == count && status["readyReplicas"].as_u64().unwrap_or(0) == count as u64
    };
    managed.until(&format!("{SETS}/{name}"), "ready", ready).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_makes_its_pods_replaces_the_deleted_and_says_so() {
    let managed = Managed::start().await;
    let _node = managed.node("one");
    create(&managed, SETS, set("web", 3)).await;
    let status = until_ready(&managed, "web", 3).await["status"].take();
    assert_eq!(status["fullyLabeledReplicas"], 3);
    assert_eq!(status["availableReplicas"], 3);
    let (_, list) = managed.cluster.call("GET", PODS, Value::Null).await;
    let names = active(&list);
    assert!(
        names.iter().all(|name| name.len() == "web-12345".len() && name.starts_with("web-")),
        "{names:?}"
    );
    managed.cluster.must(&["delete", "pod", &names[0]]).await;
    until_ready(&managed, "web", 3).await;
    let (_, list) = managed.cluster.call("GET", PODS, Value::Null).await;
    assert!(!active(&list).contains(&names[0]));
    managed.cluster.must(&["scale", "rs/web", "--replicas=1"]).await;
    until_ready(&managed, "web", 1).await;
    let told = managed
        .until_kubectl(&["describe", "rs", "web"], "told", |text| {
            text.matches("Deleted pod: web-").count() == 2
        })
        .await;
    assert_eq!(told.matches("Created pod: web-").count(), 4, "{told}");
    assert!(told.contains("replicaset-controller"), "{told}");
    assert!(told.contains("Replicas:     1 current / 1 desired"), "{told}");
    assert!(told.contains("Pods Status:  1 Running / 0 Waiting / 0 Succeeded / 0 Failed"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stray_pod_is_adopted_and_one_that_no_longer_fits_is_released() {
    let managed = Managed::start().await;
    let _node = managed.node("one");
    create(
        &managed,
        PODS,
        json!({
            "metadata": {"name": "stray", "labels": {"app": "web"}},
            "spec": {"nodeName": "one", "containers": [{"name": "main", "image": "busybox"}]},
        }),
    )
    .await;
    create(&managed, SETS, set("web", 2)).await;
    until_ready(&managed, "web", 2).await;
    let (_, stray) = managed.cluster.call("GET", &format!("{PODS}/stray"), Value::Null).await;
    let owner = &stray["metadata"]["ownerReferences"][0];
    assert_eq!((&owner["kind"], &owner["controller"]), (&json!("ReplicaSet"), &json!(true)));
    managed.cluster.must(&["label", "pod", "stray", "app=other", "--overwrite"]).await;
    managed
        .until(&format!("{PODS}/stray"), "released", |pod| pod["metadata"]["ownerReferences"].is_null())
        .await;
    let full = |list: &Value| active(list).len() == 3;
    managed.until(PODS, "replaced", full).await;
    until_ready(&managed, "web", 2).await;
    // Labelled as before it is one too many, and one of the three goes.
    managed.cluster.must(&["label", "pod", "stray", "app=web", "--overwrite"]).await;
    let path = format!("{PODS}?labelSelector=app%3Dweb");
    managed.until(&path, "two again", |list| active(list).len() == 2).await;
    until_ready(&managed, "web", 2).await;
    let (_, list) = managed.cluster.call("GET", &path, Value::Null).await;
    let owned = |pod: &Value| pod["metadata"]["ownerReferences"][0]["kind"] == "ReplicaSet";
    assert!(list["items"].as_array().unwrap().iter().all(owned), "{list:#}");
    managed.until_kubectl(&["describe", "rs", "web"], "told", |text| text.contains("SuccessfulDelete")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_that_may_not_make_pods_says_why_and_makes_them_once_it_may() {
    let managed = Managed::start().await;
    let _node = managed.node("one");
    let quota = json!({"metadata": {"name": "few"}, "spec": {"hard": {"pods": "1"}}});
    create(&managed, "/api/v1/namespaces/default/resourcequotas", quota).await;
    create(&managed, SETS, set("web", 2)).await;
    let failed = |set: &Value| set["status"]["conditions"][0]["reason"] == "FailedCreate";
    let refused = managed.until(&format!("{SETS}/web"), "refused", failed).await;
    let message = refused["status"]["conditions"][0]["message"].as_str().unwrap();
    assert!(message.contains("exceeded quota: few"), "{message}");
    managed.cluster.must(&["delete", "quota", "few"]).await;
    let healed = until_ready(&managed, "web", 2).await;
    assert!(healed["status"]["conditions"].is_null(), "{healed:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn controllers_killed_in_the_middle_make_neither_too_few_nor_too_many() {
    let mut managed = Managed::start().await;
    create(&managed, SETS, set("many", 100)).await;
    // Each time a few more are there.
    for least in [5, 30, 60] {
        managed.until(PODS, "begun", |list| active(list).len() >= least).await;
        managed.kill_controllers(Settings::default());
    }
    let _node = managed.node("one");
    until_ready(&managed, "many", 100).await;
    // What was on its way when its controller ended may be one too many, for a moment.
    managed
        .until(PODS, "exactly as many as wanted", |list| list["items"].as_array().unwrap().len() == 100)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pod_that_says_it_is_the_cheapest_goes_first() {
    let managed = Managed::start().await;
    let _node = managed.node("one");
    create(&managed, SETS, set("web", 4)).await;
    until_ready(&managed, "web", 4).await;
    let (_, list) = managed.cluster.call("GET", PODS, Value::Null).await;
    let names = active(&list);
    for cheap in &names[1..3] {
        let cost = "controller.kubernetes.io/pod-deletion-cost=-1";
        managed.cluster.must(&["annotate", "pod", cheap, cost]).await;
    }
    managed.cluster.must(&["scale", "rs/web", "--replicas=2"]).await;
    until_ready(&managed, "web", 2).await;
    let (_, list) = managed.cluster.call("GET", PODS, Value::Null).await;
    assert_eq!(active(&list), [names[0].as_str(), names[3].as_str()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_that_go_at_once_are_deleted_once_and_no_other_with_them() {
    let managed = Managed::start().await;
    let mut unbound = set("web", 60);
    unbound["spec"]["template"]["spec"]["nodeName"] = Value::Null;
    create(&managed, SETS, unbound).await;
    let path = format!("{SETS}/web");
    managed.until(&path, "full", |set| set["status"]["replicas"] == 60).await;
    let (_, list) = managed.cluster.call("GET", PODS, Value::Null).await;
    let before = active(&list);
    managed.cluster.must(&["scale", "rs/web", "--replicas=20"]).await;
    let settled = |set: &Value| set["status"]["replicas"] == 20 && set["status"]["observedGeneration"] == 2;
    managed.until(&path, "smaller", settled).await;
    let (_, list) = managed.cluster.call("GET", PODS, Value::Null).await;
    let after = active(&list);
    assert_eq!(after.len(), 20);
    assert!(after.iter().all(|name| before.contains(name)), "one too many went and was replaced: {after:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replication_controller_keeps_its_number_of_pods_by_the_same_rules() {
    let managed = Managed::start().await;
    let _node = managed.node("one");
    let controllers = "/api/v1/namespaces/default/replicationcontrollers";
    let template = json!({
        "metadata": {"labels": {"app": "old"}},
        "spec": {"nodeName": "one", "containers": [{"name": "main", "image": "busybox"}]},
    });
    let orphan = json!({"metadata": {"name": "stray", "labels": {"app": "old"}}, "spec": template["spec"]});
    create(&managed, PODS, orphan).await;
    let old = json!({"metadata": {"name": "old"}, "spec": {"replicas": 3, "template": template}});
    create(&managed, controllers, old).await;
    let path = format!("{controllers}/old");
    let ready = |count: usize| {
        move |found: &Value| {
            let status = &found["status"];
            let seen = status["observedGeneration"] == found["metadata"]["generation"];
            seen && status["replicas"] == count && status["readyReplicas"] == count
        }
    };
    let status = managed.until(&path, "ready", ready(3)).await["status"].take();
    assert_eq!((&status["availableReplicas"], &status["fullyLabeledReplicas"]), (&json!(3), &json!(3)));
    let (_, stray) = managed.cluster.call("GET", &format!("{PODS}/stray"), Value::Null).await;
    let owner = &stray["metadata"]["ownerReferences"][0];
    assert_eq!((&owner["apiVersion"], &owner["kind"]), (&json!("v1"), &json!("ReplicationController")));

    managed.cluster.must(&["delete", "pod", "stray"]).await;
    managed.until(&path, "ready again", ready(3)).await;
    managed.cluster.must(&["scale", "rc/old", "--replicas=1"]).await;
    managed.until(&path, "scaled", ready(1)).await;
    let told = managed.until_kubectl(&["describe", "rc", "old"], "told", |text| {
        text.matches("Deleted pod: old-").count() == 2
    });
    let told = told.await;
    assert!(told.contains("replication-controller"), "{told}");
    assert_eq!(told.matches("Created pod: old-").count(), 3, "{told}");
    let shown = managed.cluster.must(&["get", "rc", "old", "--no-headers"]).await;
    assert_eq!(shown.split_whitespace().take(4).collect::<Vec<_>>(), ["old", "1", "1", "1"]);

    // A pod that is made another's by its labels is let go and replaced.
    let (_, list) = managed.cluster.call("GET", PODS, Value::Null).await;
    let [only] = &active(&list)[..] else { panic!("{list:#}") };
    managed.cluster.must(&["label", "pod", only, "app=new", "--overwrite"]).await;
    let free = |pod: &Value| pod["metadata"]["ownerReferences"].is_null();
    managed.until(&format!("{PODS}/{only}"), "released", free).await;
    managed.cluster.must(&["delete", "rc", "old"]).await;
    let gone = |list: &Value| active(list) == [only.clone()];
    managed.until(PODS, "gone but the released", gone).await;
}
