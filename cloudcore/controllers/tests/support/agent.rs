//! A fake: a node agent without containers. It registers its node, renews its lease, says that each pod bound to it runs and is ready,
//! and finishes deletions at once. A pod whose annotation [`EXIT`] has a number ends with it as its exit code. The controllers' rules
//! do not depend on what runs in a pod; the end-to-end tests have real ones.

use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tasks::TaskSet;

/// Annotation of a pod, or of a template: with which code its containers exit, as soon as it is there.
pub const EXIT: &str = "agent/exit";

/// A running agent; dropping it silences the node.
pub struct Agent {
    pub name: String,
    client: Client,
    tasks: TaskSet,
}

impl Agent {
    pub fn start(client: Client, name: &str) -> Self {
        let tasks = TaskSet::new(format!("agent {name}"));
        let (node, beat) = (name.to_owned(), client.clone());
        tasks.spawn_once("beat", move |token| async move {
            register(&beat, &node).await;
            while !token.is_cancelled() {
                heartbeat(&beat, &node).await;
                tokio::select! {
                    () = token.cancelled() => {}
                    () = tokio::time::sleep(Duration::from_millis(500)) => {}
                }
            }
        });
        let (node, api) = (name.to_owned(), Api::<Pod>::all(client.clone()));
        let kubelet = client.clone();
        tasks.spawn_once("pods", move |token| async move {
            let bound = watcher::Config::default().fields(&format!("spec.nodeName={node}"));
            let mut pods = std::pin::pin!(watcher(api, bound).default_backoff().applied_objects());
            while let Some(pod) = tokio::select! { () = token.cancelled() => None, pod = pods.next() => pod }
            {
                if let Ok(pod) = pod {
                    serve(&kubelet, &pod).await;
                }
            }
        });
        Self { name: name.to_owned(), client, tasks }
    }

    /// Falls silent, as a node does whose network is gone.
    pub async fn stop(self) {
        assert!(self.tasks.shutdown(Duration::from_secs(5)).await.is_clean());
    }
}

async fn register(client: &Client, name: &str) {
    let node = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {
            "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
            "node-role.kubernetes.io/edge": "",
        }},
    });
    let node: Node = serde_json::from_value(node).unwrap();
    match Api::<Node>::all(client.clone()).create(&PostParams::default(), &node).await {
        Err(kube::Error::Api(status)) if status.code == 409 => {}
        result => drop(result.unwrap()),
    }
}

async fn heartbeat(client: &Client, name: &str) {
    let now = jiff::Timestamp::now();
    let second = jiff::Timestamp::from_second(now.as_second()).unwrap();
    let resources = json!({"cpu": "4", "memory": "8Gi", "ephemeral-storage": "20Gi", "pods": "110"});
    let status = json!({"status": {
        "capacity": resources, "allocatable": resources,
        "conditions": [{
            "type": "Ready", "status": "True", "reason": "KubeletReady", "message": "ready",
            "lastHeartbeatTime": second.to_string(), "lastTransitionTime": second.to_string(),
        }],
    }});
    let nodes = Api::<Node>::all(client.clone());
    let _ = nodes.patch_status(name, &PatchParams::default(), &Patch::Strategic(status)).await;
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name},
        "spec": {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": format!("{now:.6}")},
    });
    let leases = Api::<Lease>::namespaced(client.clone(), "kube-node-lease");
    let _ = leases.patch(name, &PatchParams::apply("kubelet").force(), &Patch::Apply(lease)).await;
}

async fn serve(client: &Client, pod: &Pod) {
    let api = Api::<Pod>::namespaced(client.clone(), &pod.namespace().unwrap());
    if pod.metadata.deletion_timestamp.is_some() {
        let now = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        let _ = api.delete(&pod.name_any(), &now).await;
        return;
    }
    let phase = pod.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_default();
    let exit = pod.annotations().get(EXIT).map(|code| code.parse::<i32>().unwrap());
    let next = match (phase.as_str(), exit) {
        ("" | "Pending", None) => "Running",
        ("" | "Pending" | "Running", Some(0)) => "Succeeded",
        ("" | "Pending" | "Running", Some(_)) => "Failed",
        _ => return,
    };
    let ready = if next == "Running" { "True" } else { "False" };
    let second = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second()).unwrap().to_string();
    let condition = |kind| json!({"type": kind, "status": ready, "lastTransitionTime": second});
    let state = exit.map_or_else(
        || json!({"running": {"startedAt": second}}),
        |code| {
            let reason = if code == 0 { "Completed" } else { "Error" };
            json!({"terminated": {"exitCode": code, "reason": reason, "startedAt": second, "finishedAt": second}})
        },
    );
    let containers = pod.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default();
    let containers: Vec<_> = containers
        .iter()
        .map(|container| {
            json!({
                "name": container.name, "image": container.image, "imageID": "", "ready": next == "Running",
                "started": next == "Running", "restartCount": 0, "state": state,
            })
        })
        .collect();
    let ip = address(pod);
    let conditions: Vec<_> = ["Initialized", "Ready", "ContainersReady"].map(condition).into();
    let status = json!({"status": {
        "phase": next, "startTime": second, "hostIP": "127.0.0.1", "podIP": ip, "podIPs": [{"ip": ip}],
        "conditions": conditions, "containerStatuses": containers,
    }});
    let _ = api.patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Strategic(status)).await;
}

/// An address of the pod's own, as good as certainly.
fn address(pod: &Pod) -> String {
    let uid = pod.metadata.uid.clone().unwrap();
    let digits = u32::from_str_radix(&uid[..6], 16).unwrap();
    let [_, one, two, three] = digits.to_be_bytes();
    format!("10.{one}.{two}.{three}")
}
