//! What is said of pods on silent nodes.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use super::monitor::seconds;
use crate::cache::uid_of;
use crate::error::Error;
use crate::pods::condition;

/// Sets a condition of the pod, if it says something else. The answer is whether it did; nothing if the pod is gone.
pub(super) async fn set_condition(
    client: &Client,
    pod: &Pod,
    mut new: PodCondition,
    doing: &'static str,
) -> Result<bool, Error> {
    let old = condition(pod, &new.type_);
    if old.is_some_and(|old| {
        (&old.status, &old.reason, &old.message) == (&new.status, &new.reason, &new.message)
    }) {
        return Ok(false);
    }
    let moved = old.is_none_or(|old| old.status != new.status);
    new.last_transition_time = match old {
        Some(old) if !moved => old.last_transition_time.clone(),
        _ => Some(Time(seconds(Timestamp::now()))),
    };
    let patch = json!({"metadata": {"uid": uid_of(pod)}, "status": {"conditions": [new]}});
    let api = Api::<Pod>::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
    match api.patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Strategic(patch)).await {
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(false),
        result => result.map(|_| true).map_err(Error::api(doing)),
    }
}

/// Says that a pod is not ready, whatever else its condition says.
pub(super) async fn not_ready(client: &Client, pod: &Arc<Pod>) -> Result<bool, Error> {
    match condition(pod, "Ready") {
        Some(ready) if ready.status != "False" => {
            let new = PodCondition { status: "False".to_owned(), ..ready.clone() };
            set_condition(client, pod, new, "say that a pod is not ready").await
        }
        _ => Ok(false),
    }
}
