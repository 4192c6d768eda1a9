//! What the scheduler says to the API: bindings, why a pod has no node, and who has to go.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Binding, ObjectReference, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::SCHEDULER;
use super::pod::Identity;
use crate::error::Error;
use crate::pods;
use crate::volumes::bind::{reserve, select_node};

/// The condition `PodScheduled` with status False.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Unscheduled {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

fn pods_of(client: &Client, pod: &Identity) -> Api<Pod> {
    Api::namespaced(client.clone(), &pod.namespace)
}

/// Gives a pod its node.
///
/// # Errors
/// If the API refuses: it is bound already, going, or gone.
pub(super) async fn bind(client: &Client, pod: &Identity, node: &str) -> Result<(), Error> {
    let binding = Binding {
        metadata: ObjectMeta {
            name: Some(pod.name.clone()),
            namespace: Some(pod.namespace.clone()),
            uid: Some(pod.uid.clone()),
            ..ObjectMeta::default()
        },
        target: ObjectReference {
            kind: Some("Node".to_owned()),
            name: Some(node.to_owned()),
            ..ObjectReference::default()
        },
    };
    let (api, params) = (pods_of(client, pod), PostParams::default());
    let bound = api.create_subresource::<Binding, Value>("binding", &pod.name, &params, &binding).await;
    bound.map(drop).map_err(Error::api("bind a pod"))
}

/// What a claim gets before its pod is bound.
pub(super) struct Preparation {
    pub(super) claim: Arc<PersistentVolumeClaim>,
    /// The volume; none if it is made on demand.
    pub(super) volume: Option<Arc<PersistentVolume>>,
}

/// Reserves volumes for claims; or, where there is none, says for which node it is to be made.
///
/// # Errors
/// If the API refuses, most likely because a claim or a volume has changed.
pub(super) async fn prepare(
    client: &Client,
    preparations: Vec<Preparation>,
    node: &str,
) -> Result<(), Error> {
    for Preparation { claim, volume } in preparations {
        match volume {
            Some(volume) => drop(reserve(client, &claim, &volume).await?),
            None => select_node(client, &claim, node).await?,
        }
    }
    Ok(())
}

/// The patch that tells why a pod has no node and which is kept for it; none if the pod says so already.
pub(super) fn unscheduled(
    pod: &Pod,
    why: &Unscheduled,
    nominated: Option<&str>,
    now: Timestamp,
) -> Option<Value> {
    let status = pod.status.as_ref();
    let old = pods::condition(pod, "PodScheduled");
    let same = says(pod, why.reason, &why.message);
    let kept = status.and_then(|status| status.nominated_node_name.as_deref());
    if same && kept == nominated {
        return None;
    }
    let since = old.filter(|old| old.status == "False").and_then(|old| old.last_transition_time.clone());
    let mut condition = json!({
        "type": "PodScheduled", "status": "False", "reason": why.reason, "message": why.message,
        "lastProbeTime": null, "lastTransitionTime": since.unwrap_or(Time(whole_second(now))),
    });
    if let Some(generation) = pod.metadata.generation {
        condition["observedGeneration"] = json!(generation);
    }
    let mut status = json!({"conditions": [condition]});
    if kept != nominated {
        status["nominatedNodeName"] = json!(nominated);
    }
    Some(json!({"metadata": {"uid": pod.metadata.uid}, "status": status}))
}

/// Whether a pod says of itself already why it has no node.
fn says(pod: &Pod, reason: &str, message: &str) -> bool {
    pods::condition(pod, "PodScheduled").is_some_and(|said| {
        said.status == "False"
            && said.reason.as_deref() == Some(reason)
            && said.message.as_deref() == Some(message)
    })
}

/// Writes a patch of the status.
///
/// # Errors
/// If the API refuses.
pub(super) async fn tell(client: &Client, pod: &Identity, patch: &Value) -> Result<(), Error> {
    let api = pods_of(client, pod);
    let written = api.patch_status(&pod.name, &PatchParams::default(), &Patch::Strategic(patch)).await;
    written.map(drop).map_err(Error::api("say why a pod has no node"))
}

/// Lets a pod go for a more important one. True if it was there.
///
/// # Errors
/// If the API refuses.
pub(super) async fn evict(client: &Client, victim: &Identity) -> Result<bool, Error> {
    let api = pods_of(client, victim);
    let condition = json!({
        "type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler",
        "message": format!("{SCHEDULER}: preempting to accommodate a higher priority pod"),
        "lastProbeTime": null, "lastTransitionTime": Time(whole_second(Timestamp::now())),
    });
    let patch = json!({"metadata": {"uid": victim.uid}, "status": {"conditions": [condition]}});
    let params = DeleteParams {
        preconditions: Some(Preconditions { uid: Some(victim.uid.clone()), resource_version: None }),
        ..DeleteParams::default()
    };
    let marked = api.patch_status(&victim.name, &PatchParams::default(), &Patch::Strategic(&patch)).await;
    let gone = match marked {
        Ok(_) => api.delete(&victim.name, &params).await.map(drop),
        Err(error) => Err(error),
    };
    match gone.map_err(Error::api("evict a pod for a more important one")) {
        Ok(()) => Ok(true),
        Err(error) if error.is_race() => Ok(false),
        Err(error) => Err(error),
    }
}

fn whole_second(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_told_only_what_it_does_not_say_already_and_since_when_stays() {
        let now = Timestamp::from_second(100).unwrap();
        let why = Unscheduled { reason: "Unschedulable", message: "0/1".to_owned() };
        let mut pod = Pod::default();
        let patch = unscheduled(&pod, &why, None, now).unwrap();
        pod.status = serde_json::from_value(patch["status"].clone()).unwrap();
        assert_eq!(unscheduled(&pod, &why, None, now), None);

        let later = Timestamp::from_second(200).unwrap();
        let other = Unscheduled { message: "0/2".to_owned(), ..why.clone() };
        let patch = unscheduled(&pod, &other, None, later).unwrap();
        assert_eq!(patch["status"]["conditions"][0]["lastTransitionTime"], "1970-01-01T00:01:40Z");
        let patch = unscheduled(&pod, &why, Some("n"), later).unwrap();
        assert_eq!(patch["status"]["nominatedNodeName"], "n");
    }
}
