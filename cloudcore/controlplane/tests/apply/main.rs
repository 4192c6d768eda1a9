//! Server-side apply and `managedFields`: through the API, with the real kubectl, and with kube-rs. One module per theme.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub)]

mod clients;
mod configurations;
mod ownership;
mod parts;
mod races;
#[path = "../support/mod.rs"]
mod support;

use serde_json::{Value, json};
use support::Cluster;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

const DEPLOYMENT: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: nginx
        image: nginx:1.27
        env: [{name: A, value: '1'}, {name: B, value: '2'}]
        ports: [{containerPort: 80}]
      - {name: helper, image: 'busybox:1'}
";

fn map(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": data})
}

async fn apply(cluster: &Cluster, path: &str, query: &str, body: Value) -> (u16, Value) {
    cluster.patch("apply-patch+yaml", &format!("{path}?{query}"), body).await
}

async fn applied(cluster: &Cluster, path: &str, manager: &str, body: Value) -> Value {
    let (code, body) = apply(cluster, path, &format!("fieldManager={manager}"), body).await;
    assert!(matches!(code, 200 | 201), "{body}");
    body
}

/// What entries say, without their times: manager, operation, subresource, fields.
fn owners(object: &Value) -> Vec<String> {
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut all: Vec<String> = entries
        .iter()
        .map(|entry| {
            let parts = [&entry["manager"], &entry["operation"], &entry["subresource"]].map(text);
            format!("{} {}", parts.join(" "), entry["fieldsV1"])
        })
        .collect();
    all.sort();
    all
}

fn message(answer: &(u16, Value)) -> (u16, &str) {
    (answer.0, answer.1["message"].as_str().unwrap_or_default())
}
