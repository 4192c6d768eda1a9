//! Limits and requests that cannot be.

use anyhow::{Result, ensure};
use serde_json::json;

use super::ward::{SLEEP, UNREADY, Ward, container, deployment, mounting, pod};

pub(crate) async fn a_limit_is_below_the_request(ward: &Ward) -> Result<()> {
    let name = "limit-below-request";
    let mut wrong = pod(name, SLEEP);
    let both = |request: &str| json!({ "requests": { "cpu": request }, "limits": { "cpu": "100m" } });
    container(&mut wrong)["resources"] = both("200m");
    let refused = ward.refused("apply", &wrong).await?;
    let words = "spec.containers[0].resources.requests: Invalid value: \"200m\": must be less than or equal to cpu limit of 100m";
    ensure!(refused.contains(&format!("The Pod \"{name}\" is invalid: {words}")), "{refused}");
    container(&mut wrong)["resources"] = both("20m");
    ward.apply(&wrong).await?;
    ward.well(name, &ward.uid(name).await?).await
}

pub(crate) async fn more_is_asked_than_the_node_has(ward: &Ward) -> Result<()> {
    let name = "greedy";
    let mut greedy = pod(name, SLEEP);
    container(&mut greedy)["resources"] = json!({ "requests": { "cpu": "4k", "memory": "64Ti" } });
    ward.apply(&deployment(&greedy)).await?;
    let made = ward.pod_of(name).await?;
    let words = "default-scheduler 0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory. \
                 preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.";
    ward.told(&made, &["Status: Pending", "PodScheduled False"], &[("Warning FailedScheduling", words)])
        .await?;
    let set = ["set", "resources", "deployment/greedy", "--requests=cpu=10m,memory=1Mi"];
    ward.kubectl(&set).await?;
    ward.rolled_out(name).await
}

/// Bound by hand, as no scheduler would.
pub(crate) async fn a_bound_pod_asks_for_more_than_the_node_has(
    ward: &Ward,
    resource: &str,
    much: &str,
    number: &str,
) -> Result<()> {
    let name = format!("out-of-{resource}");
    let mut greedy = pod(&name, SLEEP);
    greedy["spec"]["nodeName"] = "edge1".into();
    container(&mut greedy)["resources"] = json!({ "requests": { resource: much } });
    ward.apply(&greedy).await?;
    let why = format!("Node didn't have enough resource: {resource}, requested: {number}, used: ");
    let lines = [
        "Status: Failed",
        &format!("Reason: OutOf{resource}"),
        &format!("Message: Pod was rejected: {why}…"),
    ];
    let event = (format!("Warning OutOf{resource}"), format!("kubelet {why}…"));
    ward.told(&name, &lines, &[(&event.0, &event.1)]).await?;
    ward.kubectl(&["delete", "pod", &name]).await?;
    container(&mut greedy)["resources"] = json!({ "requests": { resource: "1" } });
    if resource == "cpu" {
        container(&mut greedy)["resources"] = json!({ "requests": { resource: "10m" } });
    }
    ward.apply(&greedy).await?;
    ward.well(&name, &ward.uid(&name).await?).await
}

pub(crate) async fn nothing_can_run_in_the_memory(ward: &Ward) -> Result<()> {
    let name = "tiny";
    let mut tiny = pod(name, SLEEP);
    container(&mut tiny)["resources"] = json!({ "limits": { "memory": "64Ki" } });
    ward.apply(&deployment(&tiny)).await?;
    let made = ward.pod_of(name).await?;
    // As with a kubelet, the group of the whole pod is held to it, and not even its sandbox fits.
    let words = "kubelet Failed to create pod sandbox: rpc error: code = Unknown desc = …";
    let start =
        ["Status: Pending", "State: Waiting", "Reason: ContainerCreating", "PodReadyToStartContainers False"];
    let lines = [start.as_slice(), &UNREADY].concat();
    ward.told(&made, &lines, &[("Warning FailedCreatePodSandBox", words)]).await?;
    let told = ward.kubectl(&["describe", "pod", &made]).await?;
    ensure!(told.contains("memory limit too low"), "{told}");
    ward.kubectl(&["set", "resources", "deployment/tiny", "--limits=memory=64Mi"]).await?;
    ward.rolled_out(name).await
}

pub(crate) async fn a_volume_outgrows_its_limit(ward: &Ward) -> Result<()> {
    let name = "outgrown";
    let script = format!("head -c 4194304 /dev/zero > /v/data; {SLEEP}");
    let volume = |limit: &str| json!({ "emptyDir": { "sizeLimit": limit } });
    let outgrown = mounting(pod(name, &script), volume("1Mi"));
    ward.apply(&outgrown).await?;
    let why = "Usage of EmptyDir volume \"v\" exceeds the limit \"1Mi\".";
    let lines = ["Status: Failed", "Reason: Evicted", &format!("Message: {why}")];
    ward.told(name, &lines, &[("Warning Evicted", &format!("kubelet {why}"))]).await?;
    // What was evicted is over; its owner, here the user, makes another.
    ward.kubectl(&["delete", "pod", name]).await?;
    ward.apply(&mounting(pod(name, &script), volume("64Mi"))).await?;
    let uid = ward.uid(name).await?;
    ward.well(name, &uid).await
}
