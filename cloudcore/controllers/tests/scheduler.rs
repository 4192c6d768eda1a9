//! The scheduler: pods find nodes as `kubectl` shows it, and are told why when they do not.

mod support;

use controllers::Settings;
use serde_json::{Value, json};
use support::Managed;

fn pod(name: &str, spec: Value) -> String {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"containers": [{"name": "c", "image": "busybox"}]},
    });
    let into = pod["spec"].as_object_mut().unwrap();
    for (key, value) in spec.as_object().unwrap() {
        into.insert(key.clone(), value.clone());
    }
    pod.to_string()
}

fn requests(list: Value) -> Value {
    json!({"containers": [{"name": "c", "image": "busybox", "resources": {"requests": list}}]})
}

async fn apply(managed: &Managed, name: &str, spec: Value) {
    let manifest = managed.cluster.manifest(&format!("{name}.json"), &pod(name, spec));
    managed.cluster.must(&["apply", "-f", &manifest]).await;
}

async fn bound(managed: &Managed, name: &str) -> String {
    let path = format!("/api/v1/namespaces/default/pods/{name}");
    let pod = managed.until(&path, "bound", |pod| pod["spec"]["nodeName"].is_string()).await;
    pod["spec"]["nodeName"].as_str().unwrap().to_owned()
}

async fn refused(managed: &Managed, name: &str, message: &str) {
    let path = format!("/api/v1/namespaces/default/pods/{name}");
    let says = |pod: &Value| {
        let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|one| {
            one["type"] == "PodScheduled"
                && one["status"] == "False"
                && one["reason"] == "Unschedulable"
                && one["message"] == message
        })
    };
    managed.until(&path, message, says).await;
}

/// As [`refused`], for a node that was changed a moment ago: a pod that came before the scheduler saw the change is taken away again.
async fn refused_soon(managed: &Managed, name: &str, message: &str) {
    let path = format!("/api/v1/namespaces/default/pods/{name}");
    loop {
        apply(managed, name, json!({})).await;
        let decided = |pod: &Value| {
            let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
            conditions.iter().any(|one| one["type"] == "PodScheduled")
        };
        let pod = managed.until(&path, "decided", decided).await;
        if pod["spec"]["nodeName"].is_null() {
            return refused(managed, name, message).await;
        }
        managed.cluster.must(&["delete", "pod", name, "--now"]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_gets_a_node_and_kubectl_describe_says_who_gave_it() {
    let managed = Managed::start().await;
    apply(&managed, "early", json!({})).await;
    refused(&managed, "early", "no nodes available to schedule pods").await;
    let _agent = managed.ready_node("edge-1").await;
    assert_eq!(bound(&managed, "early").await, "edge-1");
    let told = "Successfully assigned default/early to edge-1";
    let described = managed
        .until_kubectl(&["describe", "pod", "early"], "told", |text| {
            text.contains(told) && text.contains("Running")
        })
        .await;
    let line = described.lines().find(|line| line.contains(told)).unwrap();
    let words: Vec<_> = line.split_whitespace().collect();
    assert_eq!(words[..2], ["Normal", "Scheduled"], "{line}");
    assert!(line.contains(" default-scheduler "), "{line}");
    assert!(described.contains("Warning  FailedScheduling"), "{described}");

    let events = managed.cluster.json(&["get", "events.v1.events.k8s.io"]).await;
    let events = events["items"].as_array().unwrap().clone();
    let event = events.iter().find(|event| event["reason"] == "Scheduled").unwrap();
    assert_eq!(event["action"], "Binding");
    assert_eq!(event["reportingController"], "default-scheduler");
    assert_eq!(event["reportingInstance"], "default-scheduler-localhost");
    assert!(event["eventTime"].is_string(), "{event}");
    let event = events.iter().find(|event| event["reason"] == "FailedScheduling").unwrap();
    assert_eq!((&event["action"], &event["type"]), (&json!("Scheduling"), &json!("Warning")));

    // Not ours.
    apply(&managed, "other", json!({"schedulerName": "another"})).await;
    apply(&managed, "gated", json!({"schedulingGates": [{"name": "example.com/wait"}]})).await;
    managed.until_kubectl(&["get", "pod", "gated"], "gated", |text| text.contains("SchedulingGated")).await;
    managed
        .cluster
        .must(&[
            "patch",
            "pod",
            "gated",
            "--type=json",
            "-p",
            r#"[{"op":"remove","path":"/spec/schedulingGates"}]"#,
        ])
        .await;
    assert_eq!(bound(&managed, "gated").await, "edge-1");
    let other = managed.cluster.json(&["get", "pod", "other"]).await;
    assert!(other["spec"]["nodeName"].is_null() && other["status"]["conditions"].is_null(), "{other}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_rule_that_keeps_a_pod_away_is_told_in_kubernetes_words_and_a_changed_node_lets_it_in() {
    const HOPELESS: &str = "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.";
    const NOBODY: &str =
        "preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.";
    let managed = Managed::start().await;
    let _agent = managed.ready_node("edge-1").await;
    let anti = |app: &str| {
        let term =
            json!({"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": app}}});
        json!({"requiredDuringSchedulingIgnoredDuringExecution": [term]})
    };
    let port = json!({"containers": [{"name": "c", "image": "b", "ports": [{"containerPort": 80, "hostPort": 8080}]}]});
    let mut first = port.clone();
    first["affinity"] = json!({"podAntiAffinity": anti("shy")});
    apply(&managed, "first", first).await;
    bound(&managed, "first").await;

    let cases = [
        (
            "labelled",
            json!({"nodeSelector": {"disk": "ssd"}}),
            "node(s) didn't match Pod's node affinity/selector",
            HOPELESS,
        ),
        ("ported", port, "node(s) didn't have free ports for the requested pod ports", NOBODY),
        ("huge", requests(json!({"cpu": "400"})), "Insufficient cpu", HOPELESS),
        ("gpu", requests(json!({"example.com/gpu": "1"})), "Insufficient example.com/gpu", HOPELESS),
        (
            "lonely",
            json!({"affinity": {"podAffinity": anti("nobody")}}),
            "node(s) didn't match pod affinity rules",
            HOPELESS,
        ),
        (
            "apart",
            json!({"affinity": {"podAntiAffinity": anti("first")}}),
            "node(s) didn't match pod anti-affinity rules",
            NOBODY,
        ),
        ("shy", json!({}), "node(s) didn't satisfy existing pods anti-affinity rules", NOBODY),
        (
            "spread",
            json!({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}}]}),
            "node(s) didn't match pod topology spread constraints (missing required label)",
            HOPELESS,
        ),
    ];
    for (name, spec, reason, preemption) in cases {
        apply(&managed, name, spec).await;
        refused(&managed, name, &format!("0/1 nodes are available: 1 {reason}. {preemption}")).await;
    }
    let volume = json!({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "nope"}}]});
    apply(&managed, "claimed", volume).await;
    let missing = format!("0/1 nodes are available: persistentvolumeclaim \"nope\" not found. {HOPELESS}");
    refused(&managed, "claimed", &missing).await;

    managed.cluster.must(&["label", "node", "edge-1", "disk=ssd", "zone=a"]).await;
    bound(&managed, "labelled").await;
    bound(&managed, "spread").await;
    managed.cluster.must(&["delete", "pod", "first", "--wait=false"]).await;
    bound(&managed, "ported").await;
    bound(&managed, "shy").await;
    bound(&managed, "apart").await;

    managed.cluster.must(&["cordon", "edge-1"]).await;
    let cordoned = format!("0/1 nodes are available: 1 node(s) were unschedulable. {HOPELESS}");
    refused_soon(&managed, "cordoned", &cordoned).await;
    managed.cluster.must(&["uncordon", "edge-1"]).await;
    bound(&managed, "cordoned").await;
    managed.cluster.must(&["taint", "node", "edge-1", "k=v:NoSchedule"]).await;
    let tainted = format!("0/1 nodes are available: 1 node(s) had untolerated taint(s). {HOPELESS}");
    refused_soon(&managed, "tainted", &tainted).await;
    apply(&managed, "tolerant", json!({"tolerations": [{"key": "k", "operator": "Exists"}]})).await;
    bound(&managed, "tolerant").await;
    managed.cluster.must(&["taint", "node", "edge-1", "k-"]).await;
    bound(&managed, "tainted").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_more_important_pod_takes_the_place_of_a_lesser_one() {
    let managed = Managed::start().await;
    let _agent = managed.ready_node("edge-1").await;
    managed.cluster.must(&["create", "priorityclass", "high", "--value=1000"]).await;
    let mut low = requests(json!({"cpu": "3"}));
    low["terminationGracePeriodSeconds"] = json!(1);
    apply(&managed, "low", low).await;
    bound(&managed, "low").await;
    let mut high = requests(json!({"cpu": "2"}));
    high["priorityClassName"] = json!("high");
    apply(&managed, "high", high).await;
    assert_eq!(bound(&managed, "high").await, "edge-1");
    let events = managed
        .until_kubectl(&["get", "events"], "preempted", |text| text.contains("Preempted by pod"))
        .await;
    assert!(events.contains(" on node edge-1"), "{events}");
    let mut never = requests(json!({"cpu": "3"}));
    never["priorityClassName"] = json!("high");
    apply(&managed, "equal", never).await;
    let nobody = "0/1 nodes are available: 1 Insufficient cpu. \
                  preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.";
    refused(&managed, "equal", nobody).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_in_the_middle_of_scheduling_binds_each_pod_once_and_fills_no_node_too_much() {
    let mut managed = Managed::start().await;
    let names: Vec<_> = (0..10).map(|at| format!("edge-{at}")).collect();
    let mut agents = Vec::new();
    for name in &names {
        agents.push(managed.ready_node(name).await);
    }
    managed
        .until("/api/v1/nodes", "ten nodes that are ready", |list| {
            let nodes = list["items"].as_array().cloned().unwrap_or_default();
            nodes.len() == 10 && nodes.iter().all(|node| node["status"]["allocatable"]["cpu"] == "4")
        })
        .await;
    // Twenty fit on a node: two hundred fill all ten, and one more does not fit.
    let many: Vec<_> =
        (0..201).map(|at| pod(&format!("p{at:03}"), requests(json!({"cpu": "200m"})))).collect();
    let manifest = managed.cluster.manifest("many.json", &many.join("\n"));
    let create = ["create", "-f", manifest.as_str()];
    let some = |count: usize| {
        move |list: &Value| {
            let pods = list["items"].as_array().cloned().unwrap_or_default();
            pods.iter().filter(|pod| pod["spec"]["nodeName"].is_string()).count() >= count
        }
    };
    let created = managed.cluster.command("kubectl", &create).spawn().unwrap();
    for count in [40, 100] {
        managed.until("/api/v1/namespaces/default/pods", "some bound", some(count)).await;
        managed.restart_controllers(Settings::default()).await;
    }
    let list = managed.until("/api/v1/namespaces/default/pods", "all bound that can be", some(200)).await;
    assert!(created.wait_with_output().await.unwrap().status.success());
    let mut taken = std::collections::BTreeMap::<String, usize>::new();
    for pod in list["items"].as_array().unwrap() {
        if let Some(node) = pod["spec"]["nodeName"].as_str() {
            *taken.entry(node.to_owned()).or_default() += 1;
        }
    }
    assert_eq!(taken.values().copied().collect::<Vec<_>>(), [20; 10], "{taken:?}");
    drop(agents);
}
