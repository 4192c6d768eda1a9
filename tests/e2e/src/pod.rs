//! The smallest pod that a test needs, and waiting for it.

use std::time::Duration;

use anyhow::Result;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client};
use serde_json::json;

use crate::{eventually, image};

/// A pod in namespace `default`, bound to `node`, that sleeps and ends at once on SIGTERM.
///
/// # Errors
/// Never for a legal name.
pub fn sleeper(name: &str, node: &str) -> Result<Pod> {
    Ok(serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "namespace": "default" },
        "spec": {
            "nodeName": node,
            "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": false,
            "containers": [{
                "name": "main",
                "image": image::BUSYBOX,
                "imagePullPolicy": "IfNotPresent",
                "command": ["/bin/busybox", "sh", "-c", "trap 'exit 0' TERM; while :; do /bin/busybox sleep 0.2; done"],
            }],
        },
    }))?)
}

/// Waits until the pod `name` in `default` is Ready.
///
/// # Errors
/// After `limit`, with the last status seen.
pub async fn ready(client: &Client, name: &str, limit: Duration) -> Result<Pod> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), "default");
    eventually(&format!("pod {name} is Ready"), limit, || async {
        let pod = pods.get(name).await.map_err(|error| error.to_string())?;
        if is_ready(&pod) {
            return Ok(pod);
        }
        Err(serde_json::to_string(&pod.status).unwrap_or_default())
    })
    .await
}

/// Whether the pod is Ready.
#[must_use]
pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}
