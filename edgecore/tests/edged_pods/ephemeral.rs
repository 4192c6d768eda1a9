//! Containers that are put into a running pod, as `kubectl debug` does.

use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, PodStatus};
use proto::message::Operation;
use serde_json::{Value, json};

use super::engine::{Kind, on_every_runtime};
use super::node::{Node, SLEEP, container, id, is_ready, pod, shell};

on_every_runtime!(
    an_ephemeral_container_sees_the_processes_of_its_target_and_runs_once,
    an_ephemeral_container_that_cannot_be_started_is_told_and_harms_nobody,
);

fn ephemeral(status: &PodStatus, name: &str) -> Option<ContainerStatus> {
    status.ephemeral_container_statuses.iter().flatten().find(|status| status.name == name).cloned()
}

fn state(status: &PodStatus, name: &str) -> ContainerState {
    ephemeral(status, name).and_then(|status| status.state).unwrap_or_default()
}

fn runs(status: &PodStatus, name: &str) -> bool {
    state(status, name).running.is_some()
}

/// Adds a container as the subresource `ephemeralcontainers` does.
async fn debug(node: &Node, pod: &mut Value, container: Value) {
    let version = pod["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse::<u32>().ok());
    pod["metadata"]["resourceVersion"] = (version.unwrap_or(0) + 1).to_string().into();
    match pod["spec"]["ephemeralContainers"].as_array_mut() {
        Some(list) => list.push(container),
        None => pod["spec"]["ephemeralContainers"] = json!([container]),
    }
    node.push(Operation::Update, "pod", pod).await;
}

async fn an_ephemeral_container_sees_the_processes_of_its_target_and_runs_once(runtime: Kind) {
    let mut node = Node::start(runtime).await;
    let mut pod = pod("web", json!({ "containers": [shell("c", &format!("sleep 4321 & {SLEEP}"))] }));
    node.run_pod(&pod).await;
    let before = id(&container(&node.ready("web").await)).to_owned();
    node.config_map("tools", 1, json!({ "colour": "blue" })).await;

    let mut looks = shell("looks", &format!("ps; echo $COLOUR; {SLEEP}"));
    looks["targetContainerName"] = "c".into();
    looks["env"] = json!([{ "name": "COLOUR", "valueFrom": { "configMapKeyRef": { "name": "tools", "key": "colour" } } }]);
    debug(&node, &mut pod, looks).await;
    let status = node.until("web", "the debugger runs", |s| runs(s, "looks")).await;
    node.wait("it sees the target's processes", async || {
        let log = node.log("web", "looks", 0);
        (log.contains("sleep 4321") && log.contains("blue")).then_some(())
    })
    .await;
    let told = ephemeral(&status, "looks").expect("a status");
    assert_eq!((told.ready, told.started, told.restart_count), (false, None, 0));
    assert!(is_ready(&status), "the pod is as ready as it was");

    debug(&node, &mut pod, shell("alone", "ps; exit 5")).await;
    node.until("web", "the second one ends", |s| state(s, "alone").terminated.is_some()).await;
    assert!(!node.log("web", "alone", 0).contains("sleep 4321"), "without a target it sees itself only");

    node.stop_edged().await;
    node.start_edged().await;
    node.engine.kill_container(id(&told));
    let status =
        node.until("web", "the debugger has ended", |s| state(s, "looks").terminated.is_some()).await;
    assert_eq!(ephemeral(&status, "looks").map(|now| now.container_id), Some(told.container_id));
    let ends = ["looks", "alone"].map(|name| state(&status, name).terminated.map(|end| end.exit_code));
    assert_eq!(ends, [Some(137), Some(5)]);
    let events = node.events().await;
    let started = events.iter().filter(|event| event.1 == "Started container alone").collect::<Vec<_>>();
    assert!(started.len() == 1 && started[0].2 == 1, "{events:#?}");
    let after = node.ready("web").await;
    assert_eq!((id(&container(&after)), container(&after).restart_count), (before.as_str(), 0));
    node.delete_pod(&pod, 1).await;
    node.leaves_nothing().await;
}

async fn an_ephemeral_container_that_cannot_be_started_is_told_and_harms_nobody(runtime: Kind) {
    let node = Node::start(runtime).await;
    let mut pod = pod("web", json!({ "containers": [shell("c", SLEEP)] }));
    node.run_pod(&pod).await;
    node.ready("web").await;
    let reason = |status: &PodStatus, name: &str| {
        state(status, name).waiting.and_then(|waiting| waiting.reason).unwrap_or_default()
    };
    let mut stranger = shell("stranger", SLEEP);
    stranger["targetContainerName"] = "nobody".into();
    debug(&node, &mut pod, stranger).await;
    let status =
        node.until("web", "it waits", |s| reason(s, "stranger") == "CreateContainerConfigError").await;
    let message = state(&status, "stranger").waiting.and_then(|waiting| waiting.message);
    assert_eq!(message.as_deref(), Some("unable to find target container nobody"));
    let mut missing = shell("missing", SLEEP);
    missing["image"] = "127.0.0.1:1/no/such:1".into();
    debug(&node, &mut pod, missing).await;
    let status =
        node.until("web", "its image is missed", |s| reason(s, "missing") == "ImagePullBackOff").await;
    assert!(is_ready(&status), "the pod is as ready as it was");
    node.delete_pod(&pod, 1).await;
    let last = node.status("web").await.expect("the last status");
    assert_eq!(last.phase.as_deref(), Some("Succeeded"));
    node.leaves_nothing().await;
}
