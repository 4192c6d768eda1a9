//! Budgets say how many pods may go, evictions ask them, and kubectl drains nodes by that. With real kubectl against the real API.

mod support;

use controllers::Settings;
use serde_json::{Value, json};
use support::Managed;
use support::cluster::expect;

const PODS: &str = "/api/v1/namespaces/default/pods";
const BUDGETS: &str = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";

async fn pod(managed: &Managed, name: &str, node: &str) {
    let pod = json!({"metadata": {"name": name, "labels": {"app": "web"}}, "spec": {
        "nodeName": node, "containers": [{"name": "c", "image": "i"}],
    }});
    expect(managed.cluster.call("POST", PODS, pod), 201).await;
    managed.until(&format!("{PODS}/{name}"), "running", |pod| pod["status"]["phase"] == "Running").await;
}

async fn budget(managed: &Managed, spec: Value) {
    let mut spec = spec;
    spec["selector"] = json!({"matchLabels": {"app": "web"}});
    expect(managed.cluster.call("POST", BUDGETS, json!({"metadata": {"name": "web"}, "spec": spec})), 201)
        .await;
}

async fn allowed(managed: &Managed, count: i64) -> Value {
    managed
        .until(&format!("{BUDGETS}/web"), "counted", |budget| {
            budget["status"]["disruptionsAllowed"] == count
                && budget["status"]["observedGeneration"] == budget["metadata"]["generation"]
        })
        .await
}

async fn evict(managed: &Managed, name: &str) -> (u16, Value) {
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}});
    managed.cluster.call("POST", &format!("{PODS}/{name}/eviction"), eviction).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn evictions_take_from_the_budget_and_are_refused_when_it_is_spent() {
    let mut managed = Managed::start().await;
    let _edge = managed.node("edge");
    managed.until("/api/v1/nodes/edge", "there", |node| node["kind"] == "Node").await;
    budget(&managed, json!({"minAvailable": 1})).await;
    pod(&managed, "a", "edge").await;
    pod(&managed, "b", "edge").await;
    let counted = allowed(&managed, 1).await;
    let status = &counted["status"];
    assert_eq!(
        (&status["currentHealthy"], &status["desiredHealthy"], &status["expectedPods"]),
        (&json!(2), &json!(1), &json!(2))
    );
    assert_eq!(
        (&status["conditions"][0]["type"], &status["conditions"][0]["reason"]),
        (&json!("DisruptionAllowed"), &json!("SufficientPods"))
    );
    assert_eq!(expect(evict(&managed, "a"), 201).await["status"], "Success");
    managed.restart_controllers(Settings::default()).await;
    managed.until(&format!("{PODS}/a"), "gone", |pod| pod["code"] == 404).await;
    allowed(&managed, 0).await;
    let refused = expect(evict(&managed, "b"), 429).await;
    assert_eq!(refused["message"], "Cannot evict pod as it would violate the pod's disruption budget.");
    assert_eq!(
        refused["details"]["causes"][0],
        json!({"reason": "DisruptionBudget", "message": "The disruption budget web needs 1 healthy pods and has 1 currently"})
    );
    // Deleting is not evicting.
    managed.cluster.must(&["delete", "pod", "b"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_under_two_budgets_cannot_be_evicted_and_one_under_none_always() {
    let managed = Managed::start().await;
    let _edge = managed.node("edge");
    managed.until("/api/v1/nodes/edge", "there", |node| node["kind"] == "Node").await;
    pod(&managed, "a", "edge").await;
    let spec = json!({"minAvailable": 0, "selector": {"matchLabels": {"app": "web"}}});
    for name in ["one", "two"] {
        expect(managed.cluster.call("POST", BUDGETS, json!({"metadata": {"name": name}, "spec": spec})), 201)
            .await;
    }
    let refused = expect(evict(&managed, "a"), 500).await;
    assert!(
        refused["message"].as_str().unwrap().starts_with("This pod has more than one PodDisruptionBudget")
    );
    managed.cluster.must(&["delete", "pdb", "one", "two"]).await;
    expect(evict(&managed, "a"), 201).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_percentage_counts_what_the_owners_want() {
    let managed = Managed::start().await;
    let _edge = managed.node("edge");
    managed.until("/api/v1/nodes/edge", "there", |node| node["kind"] == "Node").await;
    // Bound by hand, because this is not about the scheduler.
    let set = json!({"metadata": {"name": "web"}, "spec": {
        "replicas": 4, "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"nodeName": "edge", "containers": [{"name": "c", "image": "i"}]}},
    }});
    expect(managed.cluster.call("POST", "/apis/apps/v1/namespaces/default/replicasets", set), 201).await;
    budget(&managed, json!({"maxUnavailable": "50%"})).await;
    let counted = allowed(&managed, 2).await;
    assert_eq!(
        (&counted["status"]["expectedPods"], &counted["status"]["desiredHealthy"]),
        (&json!(4), &json!(2))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_drains_a_node_as_far_as_the_budget_allows_and_opens_it_again() {
    let managed = Managed::start().await;
    let (_edge, _other) = (managed.node("edge"), managed.node("other"));
    managed.until("/api/v1/nodes/edge", "there", |node| node["kind"] == "Node").await;
    managed.until("/api/v1/nodes/other", "there", |node| node["kind"] == "Node").await;
    budget(&managed, json!({"minAvailable": 2})).await;
    pod(&managed, "a", "edge").await;
    pod(&managed, "b", "other").await;
    allowed(&managed, 0).await;
    let said = managed.cluster.kubectl(&["drain", "edge", "--force", "--timeout=3s"]).await;
    assert!(!said.ok, "{said:?}");
    assert!(
        said.err.contains("Cannot evict pod as it would violate the pod's disruption budget."),
        "{said:?}"
    );
    managed.until("/api/v1/nodes/edge", "cordoned", |node| node["spec"]["unschedulable"] == true).await;
    pod(&managed, "c", "other").await;
    allowed(&managed, 1).await;
    let said = managed.cluster.kubectl(&["drain", "edge", "--force"]).await;
    assert!(said.ok && said.out.contains("node/edge drained"), "{said:?}");
    managed.until(&format!("{PODS}/a"), "gone", |pod| pod["code"] == 404).await;
    assert_eq!(managed.cluster.must(&["uncordon", "edge"]).await, "node/edge uncordoned\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_was_to_go_and_did_not_no_longer_says_so() {
    let managed = Managed::start().await;
    let _node = managed.ready_node("edge-1").await;
    pod(&managed, "spared", "edge-1").await;
    let path = format!("{PODS}/spared");
    let long_ago = jiff::Timestamp::now().checked_sub(jiff::SignedDuration::from_mins(3)).unwrap();
    let long_ago = jiff::Timestamp::from_second(long_ago.as_second()).unwrap().to_string();
    let condition = json!({"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI", "message": "m", "lastTransitionTime": long_ago});
    let patch = json!({"status": {"conditions": [condition]}});
    let (code, _) =
        managed.cluster.patch("strategic-merge-patch+json", &format!("{path}/status"), patch).await;
    assert_eq!(code, 200);
    let target = |pod: &Value| {
        let all = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
        all.into_iter().find(|one| one["type"] == "DisruptionTarget").unwrap_or_default()
    };
    let reset = managed.until(&path, "reset", |pod| target(pod)["status"] == "False").await;
    let condition = target(&reset);
    assert_eq!((condition.get("reason"), condition.get("message")), (None, None), "{condition}");
    assert!(condition["lastTransitionTime"].as_str() > Some(&long_ago), "{condition}");
    assert_eq!(reset["status"]["phase"], "Running");
}
