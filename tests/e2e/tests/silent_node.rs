//! How long a node may be silent is the operator's to say.

use std::time::Duration;

use anyhow::Result;
use e2e::{Stack, StackOptions, eventually};
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{from_value, json};
use tokio::time::Instant;

#[tokio::test]
async fn a_silent_node_counts_as_unreachable_after_the_time_that_the_file_names() -> Result<()> {
    let cloud_overlay = json!({"modules": {"controlPlane": {"nodeMonitorGracePeriod": "20s"}}});
    let stack = Stack::start(StackOptions { cloud_overlay, ..StackOptions::default() }).await?;
    let nodes: Api<Node> = Api::all(stack.client());
    let node = from_value(json!({"metadata": {"name": "mute"}}))?;
    nodes.create(&PostParams::default(), &node).await?;
    let said = json!({"status": {"conditions": [{
        "type": "Ready", "status": "True", "reason": "EdgeReady", "message": "here",
        "lastHeartbeatTime": jiff::Timestamp::now(), "lastTransitionTime": jiff::Timestamp::now(),
    }]}});
    let last_word = Instant::now();
    nodes.patch_status("mute", &PatchParams::default(), &Patch::Strategic(said)).await?;
    // Kubernetes' own time is 40 s.
    eventually("the node counts as unreachable", Duration::from_secs(38), || async {
        let node = nodes.get("mute").await.map_err(|error| error.to_string())?;
        let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
        match conditions.iter().find(|condition| condition.type_ == "Ready") {
            Some(ready) if ready.status == "Unknown" => Ok(()),
            ready => Err(format!("{ready:?}")),
        }
    })
    .await?;
    assert!(last_word.elapsed() >= Duration::from_secs(20), "{:?}", last_word.elapsed());
    Ok(())
}
