//! Pods that were to be disrupted and were not: after two minutes they no longer say so.
//!
//! Whoever evicts a pod puts the condition `DisruptionTarget` on it before deleting it; if the deletion never came, the pod
//! goes on as if nothing had been. Source: Kubernetes v1.36 `pkg/controller/disruption` (`syncStalePodDisruption`).

use std::convert::Infallible;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use tasks::{Restart, TaskSet};
use tokio_util::sync::CancellationToken;

use crate::cache::{is_going, revision_of, uid_of};
use crate::context::Context;
use crate::error::Error;
use crate::pods::{DISRUPTION, is_finished};

/// How long the deletion may take to come (Kubernetes: `stalePodDisruptionTimeout`).
const PATIENCE: SignedDuration = SignedDuration::from_mins(2);
/// How often pods are looked at.
const PERIOD: Duration = Duration::from_secs(5);
/// The node's agent may take as long as it wants.
const BY_AGENT: &str = "TerminationByKubelet";

/// Looks after the conditions of all pods, on `tasks`.
pub(super) fn start(context: &Context, tasks: &TaskSet) {
    let context = context.clone();
    tasks.spawn("stale disruptions", Restart::on_failure(), move |token| watch(context.clone(), token));
}

async fn watch(context: Context, token: CancellationToken) -> Result<(), Infallible> {
    while !token.is_cancelled() {
        let now = Timestamp::now();
        let mut stale = context.caches.pods.glance(None, |pod| pod.is_disrupted);
        stale.retain(|pod| left(pod, now).is_some_and(|left| left.is_zero()));
        for pod in stale {
            if let Err(error) = reset(&context, &pod, now).await {
                tracing::warn!(pod = pod.name_any(), %error, "cannot reset a stale condition, trying again");
            }
        }
        tokio::select! {
            () = token.cancelled() => {}
            () = tokio::time::sleep(PERIOD) => {}
        }
    }
    Ok(())
}

/// How long a pod may still say that it is to be disrupted; none if it does not, or may for ever.
fn left(pod: &Pod, now: Timestamp) -> Option<Duration> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let condition = conditions.iter().find(|condition| condition.type_ == DISRUPTION)?;
    let is_lasting = condition.status != "True" || condition.reason.as_deref() == Some(BY_AGENT);
    if is_lasting || is_going(pod) || is_finished(pod) {
        return None;
    }
    let since = condition.last_transition_time.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    let left = PATIENCE - now.duration_since(since);
    Some(Duration::try_from(left).unwrap_or_default())
}

async fn reset(context: &Context, pod: &Pod, now: Timestamp) -> Result<(), Error> {
    let since = Timestamp::from_second(now.as_second()).unwrap_or(now).to_string();
    // The condition as it is then, without why: nothing is left of it.
    let condition = json!({"type": DISRUPTION, "status": "False", "lastTransitionTime": since, "reason": null, "message": null});
    let patch = json!({
        "metadata": {"uid": uid_of(pod), "resourceVersion": revision_of(pod).to_string()},
        "status": {"conditions": [condition]},
    });
    let api = Api::<Pod>::namespaced(context.client.clone(), &pod.namespace().unwrap_or_default());
    match api.patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Strategic(patch)).await {
        // It changed or went meanwhile; the next look decides.
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        Err(error) => Err(Error::api("reset a stale DisruptionTarget condition")(error)),
        Ok(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    #[test]
    fn a_pod_may_say_for_two_minutes_that_it_is_to_go_unless_it_goes_or_its_agent_said_so() {
        let now: Timestamp = "2026-03-04T10:20:30Z".parse().unwrap();
        let pod = |status: &str, reason: &str, seconds: i64| {
            let since = now.checked_sub(SignedDuration::from_secs(seconds)).unwrap().to_string();
            let condition =
                json!({"type": DISRUPTION, "status": status, "reason": reason, "lastTransitionTime": since});
            serde_json::from_value::<Pod>(json!({"status": {"phase": "Running", "conditions": [condition]}}))
                .unwrap()
        };
        assert_eq!(left(&pod("True", "EvictionByEvictionAPI", 30), now), Some(Duration::from_secs(90)));
        assert_eq!(left(&pod("True", "EvictionByEvictionAPI", 120), now), Some(Duration::ZERO));
        assert_eq!(left(&pod("True", "DeletionByTaintManager", 9000), now), Some(Duration::ZERO));
        assert_eq!(left(&pod("True", BY_AGENT, 9000), now), None);
        assert_eq!(left(&pod("False", "", 9000), now), None);
        assert_eq!(left(&Pod::default(), now), None);
        let mut going = pod("True", "EvictionByEvictionAPI", 9000);
        going.metadata.deletion_timestamp = Some(Time(now));
        assert_eq!(left(&going, now), None);
        let mut over = pod("True", "EvictionByEvictionAPI", 9000);
        over.status.as_mut().unwrap().phase = Some("Failed".to_owned());
        assert_eq!(left(&over, now), None);
    }
}
