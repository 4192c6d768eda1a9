//! A Deployment of many replicas onto many nodes: controllers and scheduler together.

use std::time::Duration;

use anyhow::Result;
use e2e::{Stack, StackOptions, eventually};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{ListParams, ObjectList},
};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::http::{JSON, fetch};
use super::writes::create_all;
use crate::Measure;

const NODES: usize = 50;
const REPLICAS: usize = 500;
const LIMIT: Duration = Duration::from_secs(120);
/// A cluster without controllers makes nothing of a Deployment.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);

fn node(number: usize) -> Value {
    json!({
        "metadata": {"name": format!("node-{number:02}"), "labels": {"kubernetes.io/hostname": format!("node-{number:02}"), "kubernetes.io/os": "linux"}},
        "status": {
            "capacity": {"cpu": "4", "memory": "8Gi", "pods": "110"},
            "allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"},
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "ready",
                "lastHeartbeatTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
        },
    })
}

/// Nothing where the control plane has no controllers.
pub(crate) async fn run() -> Result<Vec<Measure>> {
    let stack = Stack::start(StackOptions::default()).await?;
    let client = stack.client();
    create_all(&stack, "/api/v1/nodes", (0..NODES).map(node).collect()).await?;
    for number in 0..NODES {
        // A status that is sent along with a creation does not count.
        let node = json!({"status": node(number)["status"]});
        let path = format!("/api/v1/nodes/node-{number:02}/status");
        let request = http::Request::patch(path).header("content-type", "application/merge-patch+json");
        client.send(request.body(node.to_string().into_bytes().into())?).await?;
    }
    let deployment = json!({
        "metadata": {"name": "web"},
        "spec": {
            "replicas": REPLICAS, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [
                {"name": "web", "image": "web:1", "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}}}]}},
        },
    });
    let begin = Instant::now();
    fetch(&client, "POST", "/apis/apps/v1/namespaces/default/deployments", JSON, Some(&deployment)).await?;
    let pods: Api<Pod> = Api::default_namespaced(client);
    let list = || async { pods.list(&ListParams::default()).await.map_err(|error| error.to_string()) };
    let begun = eventually("a pod is created", SIGN_OF_LIFE, || async {
        if list().await?.items.is_empty() { Err("no pod".to_owned()) } else { Ok(()) }
    });
    if begun.await.is_err() {
        eprintln!("nothing is scheduled: this control plane has no controllers");
        return Ok(Vec::new());
    }
    let bound = |pods: &ObjectList<Pod>| {
        pods.items.iter().filter(|pod| pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some())).count()
    };
    eventually("every pod has a node", LIMIT, || async {
        match bound(&list().await?) {
            count if count >= REPLICAS => Ok(()),
            count => Err(format!("{count} of {REPLICAS}")),
        }
    })
    .await?;
    let method = format!("Deployment of {REPLICAS} is created → every pod has one of {NODES} nodes");
    Ok(vec![Measure::seconds("plane.schedule", begin.elapsed(), method)])
}
