//! Binds every pod to the node that its affinity names, or else to any: what the scheduler does, without its choices.

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::ListParams;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use tasks::TaskSet;

pub fn start(client: &Client) -> TaskSet {
    let (tasks, client) = (TaskSet::new("binder"), client.clone());
    tasks.spawn_once("bind", move |token| async move {
        let pods = Api::<Pod>::all(client.clone());
        let mut pods =
            std::pin::pin!(watcher(pods, watcher::Config::default()).default_backoff().applied_objects());
        while let Some(pod) = tokio::select! { () = token.cancelled() => None, pod = pods.next() => pod } {
            if let Ok(pod) = pod
                && pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_none())
                && pod.metadata.deletion_timestamp.is_none()
            {
                bind(&client, &pod).await;
            }
        }
    });
    tasks
}

async fn bind(client: &Client, pod: &Pod) {
    let document = serde_json::to_value(pod).unwrap();
    let terms =
        "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms";
    let named = document.pointer(&format!("{terms}/0/matchFields/0/values/0")).and_then(Value::as_str);
    let node = match named {
        Some(node) => node.to_owned(),
        None => {
            let nodes = Api::<Node>::all(client.clone()).list(&ListParams::default()).await.unwrap();
            nodes.items[fastrand::usize(0..nodes.items.len())].name_any()
        }
    };
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod.name_any()},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node}});
    let path = format!("/api/v1/namespaces/{}/pods/{}/binding", pod.namespace().unwrap(), pod.name_any());
    let request = http::Request::post(path).header("content-type", "application/json");
    let request = request.body(binding.to_string().into_bytes()).unwrap();
    // It may be gone already, or bound by another.
    let _ = client.request::<Value>(request).await;
}
