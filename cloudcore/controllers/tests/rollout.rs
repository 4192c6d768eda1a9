//! Rollouts in detail: with old and new kubectl, broken ones, resized ones, and through the death of the controllers.

mod support;

use std::collections::BTreeSet;

use controllers::Settings;
use serde_json::{Value, json};
use support::Managed;
use support::cluster::{KUBECTL, KUBECTL_1_20};

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const SETS: &str = "/apis/apps/v1/namespaces/default/replicasets";
const PODS: &str = "/api/v1/namespaces/default/pods";

fn manifest(name: &str, replicas: usize, extra: &str) -> String {
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}, labels: {{app: {name}}}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
{extra}  template:
    metadata: {{labels: {{app: {name}}}}}
    spec: {{nodeName: one, containers: [{{name: http, image: 'http:1', ports: [{{containerPort: 80}}]}}]}}
"
    )
}

async fn apply(managed: &Managed, name: &str, replicas: usize, extra: &str) {
    let file = managed.cluster.manifest(&format!("{name}.yaml"), &manifest(name, replicas, extra));
    managed.cluster.must(&["apply", "-f", &file]).await;
}

fn items(list: &Value) -> &[Value] {
    list["items"].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn active(list: &Value) -> Vec<String> {
    let alive = items(list).iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    alive.map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

async fn until_rolled_out(managed: &Managed, name: &str, replicas: u64) -> Value {
    let done = move |one: &Value| {
        let count = |field: &str| one["status"][field].as_u64().unwrap_or(0);
        one["status"]["observedGeneration"] == one["metadata"]["generation"]
            && ["replicas", "updatedReplicas", "availableReplicas"]
                .iter()
                .all(|field| count(field) == replicas)
            && condition(one, "Progressing")["reason"] == "NewReplicaSetAvailable"
    };
    managed.until(&format!("{DEPLOYMENTS}/{name}"), "rolled out", done).await
}

fn condition<'c>(object: &'c Value, kind: &str) -> &'c Value {
    let all = object["status"]["conditions"].as_array();
    all.into_iter().flatten().find(|condition| condition["type"] == kind).unwrap_or(&Value::Null)
}

/// The lines of a text with runs of blanks made one.
fn lines(text: &str) -> BTreeSet<String> {
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn describe_tells_of_a_deployment_and_its_set_all_that_it_tells_in_kubernetes() {
    let managed = Managed::start().await;
    let cluster = &managed.cluster;
    let _node = managed.node("one");
    apply(&managed, "web", 2, "").await;
    until_rolled_out(&managed, "web", 2).await;
    let (_, sets) = cluster.call("GET", SETS, Value::Null).await;
    let meta = &items(&sets)[0]["metadata"];
    let set = meta["name"].as_str().unwrap();
    let hash = meta["labels"]["pod-template-hash"].as_str().unwrap();
    assert_eq!(set, format!("web-{hash}"));
    let annotations = json!({
        "deployment.kubernetes.io/desired-replicas": "2",
        "deployment.kubernetes.io/max-replicas": "3",
        "deployment.kubernetes.io/revision": "1",
    });
    assert_eq!(meta["annotations"], annotations);
    let wanted = [
        format!("Name: {set}"),
        "Namespace: default".to_owned(),
        format!("Selector: app=web,pod-template-hash={hash}"),
        "Labels: app=web".to_owned(),
        "Controlled By: Deployment/web".to_owned(),
        "Replicas: 2 current / 2 desired".to_owned(),
        "Pods Status: 2 Running / 0 Waiting / 0 Succeeded / 0 Failed".to_owned(),
    ];
    let told = |text: &str| text.matches("replicaset-controller  Created pod: web-").count() == 2;
    let said = managed.until_kubectl(&["describe", "rs", set], "told of both pods", told).await;
    for line in wanted {
        assert!(lines(&said).contains(&line), "no {line:?} in {said}");
    }
    let told = |text: &str| {
        text.contains(&format!("deployment-controller  Scaled up replica set {set} from 0 to 2"))
    };
    let said = managed.until_kubectl(&["describe", "deploy", "web"], "told of the scaling", told).await;
    for line in [
        "Name: web",
        "Namespace: default",
        "Labels: app=web",
        "Annotations: deployment.kubernetes.io/revision: 1",
        "Selector: app=web",
        "Replicas: 2 desired | 2 updated | 2 total | 2 available | 0 unavailable",
        "StrategyType: RollingUpdate",
        "MinReadySeconds: 0",
        "RollingUpdateStrategy: 25% max unavailable, 25% max surge",
        "Available True MinimumReplicasAvailable",
        "Progressing True NewReplicaSetAvailable",
        "OldReplicaSets: <none>",
        &format!("NewReplicaSet: {set} (2/2 replicas created)"),
    ] {
        assert!(lines(&said).contains(line), "no {line:?} in {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_that_lost_its_deployment_is_adopted_again_with_its_pods() {
    let managed = Managed::start().await;
    let _node = managed.node("one");
    apply(&managed, "web", 2, "").await;
    until_rolled_out(&managed, "web", 2).await;
    let (_, before) = managed.cluster.call("GET", PODS, Value::Null).await;
    let (_, sets) = managed.cluster.call("GET", SETS, Value::Null).await;
    let set = format!("{SETS}/{}", items(&sets)[0]["metadata"]["name"].as_str().unwrap());
    let version = items(&sets)[0]["metadata"]["resourceVersion"].clone();
    let lost = json!({"metadata": {"ownerReferences": null}});
    assert_eq!(managed.cluster.patch("merge-patch+json", &set, lost).await.0, 200);
    let adopted = |set: &Value| {
        let meta = &set["metadata"];
        meta["ownerReferences"][0]["kind"] == "Deployment" && meta["resourceVersion"] != version
    };
    managed.until(&set, "adopted", adopted).await;
    let (_, after) = managed.cluster.call("GET", PODS, Value::Null).await;
    assert_eq!(active(&after), active(&before));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rollouts_are_listed_undone_paused_resumed_and_restarted_by_old_and_new_kubectl() {
    for kubectl in [KUBECTL, KUBECTL_1_20] {
        let managed = Managed::start().await;
        let _node = managed.node("one");
        let must = async |args: &[&str]| {
            let said = managed.cluster.run(kubectl, args).await;
            assert!(said.ok, "{kubectl} {args:?}: {said:?}");
            said.out
        };
        apply(&managed, "web", 2, "").await;
        until_rolled_out(&managed, "web", 2).await;
        must(&["annotate", "deploy/web", "kubernetes.io/change-cause=first"]).await;
        must(&["set", "image", "deploy/web", "http=http:2"]).await;
        must(&["rollout", "status", "deploy/web", "--timeout=20s"]).await;
        must(&["annotate", "deploy/web", "kubernetes.io/change-cause=second", "--overwrite"]).await;
        let listed = |text: &str| lines(text).contains("2 second");
        let history = managed.until_kubectl(&["rollout", "history", "deploy/web"], "listed", listed).await;
        assert!(lines(&history).contains("1 first"), "{history}");
        assert!(must(&["rollout", "history", "deploy/web", "--revision=1"]).await.contains("http:1"));

        must(&["rollout", "undo", "deploy/web"]).await;
        must(&["rollout", "status", "deploy/web", "--timeout=20s"]).await;
        let web = managed.cluster.json(&["get", "deploy", "web"]).await;
        assert_eq!(web["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "3");
        assert_eq!(web["spec"]["template"]["spec"]["containers"][0]["image"], "http:1");
        let (_, sets) = managed.cluster.call("GET", SETS, Value::Null).await;
        assert_eq!(items(&sets).len(), 2);
        let history =
            |set: &Value| set["metadata"]["annotations"]["deployment.kubernetes.io/revision-history"].clone();
        assert!(items(&sets).iter().any(|set| history(set) == "1"), "{sets:#}");
        must(&["rollout", "undo", "deploy/web", "--to-revision=2"]).await;
        must(&["rollout", "status", "deploy/web", "--timeout=20s"]).await;
        let web = managed.cluster.json(&["get", "deploy", "web"]).await;
        assert_eq!(web["spec"]["template"]["spec"]["containers"][0]["image"], "http:2");

        must(&["rollout", "pause", "deploy/web"]).await;
        let at = format!("{DEPLOYMENTS}/web");
        managed
            .until(&at, "paused", |one| condition(one, "Progressing")["reason"] == "DeploymentPaused")
            .await;
        must(&["set", "image", "deploy/web", "http=http:3"]).await;
        let observed = |one: &Value| one["status"]["observedGeneration"] == one["metadata"]["generation"];
        managed.until(&at, "observed", observed).await;
        let (_, sets) = managed.cluster.call("GET", SETS, Value::Null).await;
        assert_eq!(items(&sets).len(), 2);
        must(&["rollout", "resume", "deploy/web"]).await;
        must(&["rollout", "status", "deploy/web", "--timeout=20s"]).await;
        must(&["rollout", "restart", "deploy/web"]).await;
        must(&["rollout", "status", "deploy/web", "--timeout=20s"]).await;
        let (_, sets) = managed.cluster.call("GET", SETS, Value::Null).await;
        assert_eq!(items(&sets).len(), 4);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_rollout_keeps_the_old_pods_exceeds_its_deadline_and_an_undo_heals_it() {
    let managed = Managed::start().await;
    let _node = managed.node("one");
    let rules = "  progressDeadlineSeconds: 2
  strategy: {rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}
";
    apply(&managed, "web", 4, rules).await;
    until_rolled_out(&managed, "web", 4).await;
    // A pod that no node takes never becomes ready.
    let broken = json!({"spec": {"template": {"spec": {"nodeName": "nowhere"}}}}).to_string();
    managed.cluster.must(&["patch", "deploy", "web", "-p", &broken]).await;
    let late = |one: &Value| condition(one, "Progressing")["reason"] == "ProgressDeadlineExceeded";
    let web = managed.until(&format!("{DEPLOYMENTS}/web"), "late", late).await;
    assert_eq!(condition(&web, "Progressing")["status"], "False");
    assert!(
        condition(&web, "Progressing")["message"].as_str().unwrap().ends_with("has timed out progressing.")
    );
    assert_eq!(
        (&web["status"]["availableReplicas"], &web["status"]["updatedReplicas"]),
        (&json!(4), &json!(1))
    );
    assert_eq!(condition(&web, "Available")["status"], "True");
    let said = managed.cluster.kubectl(&["rollout", "status", "deploy/web"]).await;
    assert!(
        !said.ok && said.err.contains("error: deployment \"web\" exceeded its progress deadline"),
        "{said:?}"
    );
    managed.cluster.must(&["rollout", "undo", "deploy/web"]).await;
    until_rolled_out(&managed, "web", 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_that_grows_in_the_middle_of_a_rollout_grows_in_proportion() {
    let managed = Managed::start().await;
    let _node = managed.node("one");
    let rules = "  strategy: {rollingUpdate: {maxSurge: 3, maxUnavailable: 2}}\n";
    apply(&managed, "web", 10, rules).await;
    until_rolled_out(&managed, "web", 10).await;
    let broken = json!({"spec": {"template": {"spec": {"nodeName": "nowhere"}}}}).to_string();
    managed.cluster.must(&["patch", "deploy", "web", "-p", &broken]).await;
    let sizes = |list: &Value| {
        let mut sizes: Vec<_> =
            items(list).iter().filter_map(|set| set["spec"]["replicas"].as_u64()).collect();
        sizes.sort_unstable();
        sizes
    };
    managed.until(SETS, "in the middle", |list| sizes(list) == [5, 8]).await;
    managed.cluster.must(&["scale", "deploy/web", "--replicas=15"]).await;
    managed.until(SETS, "grown", |list| sizes(list) == [7, 11]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_sets_beyond_the_limit_go() {
    let managed = Managed::start().await;
    let _node = managed.node("one");
    apply(&managed, "web", 1, "  revisionHistoryLimit: 1\n").await;
    until_rolled_out(&managed, "web", 1).await;
    for image in ["http=http:2", "http=http:3"] {
        managed.cluster.must(&["set", "image", "deploy/web", image]).await;
        managed.cluster.must(&["rollout", "status", "deploy/web", "--timeout=20s"]).await;
    }
    let revisions = |list: &Value| {
        let revision =
            |set: &Value| set["metadata"]["annotations"]["deployment.kubernetes.io/revision"].to_string();
        items(list).iter().map(revision).collect::<BTreeSet<_>>()
            == BTreeSet::from(["\"2\"".to_owned(), "\"3\"".to_owned()])
    };
    managed.until(SETS, "down to two revisions", revisions).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn controllers_killed_in_the_middle_of_a_rollout_finish_it_with_exactly_the_pods_wanted() {
    let mut managed = Managed::start().await;
    let _node = managed.node("one");
    apply(&managed, "web", 100, "").await;
    for least in [10, 50] {
        managed.until(PODS, "begun", |list| active(list).len() >= least).await;
        managed.kill_controllers(Settings::default());
    }
    until_rolled_out(&managed, "web", 100).await;
    managed.cluster.must(&["set", "image", "deploy/web", "http=http:2"]).await;
    let image = |pod: &Value| pod["spec"]["containers"][0]["image"] == "http:2";
    for least in [10, 60] {
        managed
            .until(PODS, "rolling", |list| items(list).iter().filter(|pod| image(pod)).count() >= least)
            .await;
        managed.kill_controllers(Settings::default());
    }
    until_rolled_out(&managed, "web", 100).await;
    let exact = |list: &Value| items(list).len() == 100 && items(list).iter().all(image);
    managed.until(PODS, "exactly the new pods", exact).await;
    let (_, sets) = managed.cluster.call("GET", SETS, Value::Null).await;
    assert_eq!(items(&sets).len(), 2);
}
