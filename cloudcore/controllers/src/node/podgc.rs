//! Takes pods out of the API that nobody else will: their node is gone, or they never had one, or too many have ended.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod, PodCondition};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, ResourceExt};
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{pods, taints};
use crate::cache::{is_going, uid_of};
use crate::context::Context;
use crate::error::Error;
use crate::pods::{DISRUPTION, is_finished, node_of};

/// How many pods that have ended are kept (Kubernetes: 12 500).
const ENDED: usize = 12_500;
/// With this taint an administrator says that nothing on the node runs any more.
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// Why a pod is taken out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Why {
    TooMany,
    NodeGone,
    OutOfService,
    NeverScheduled,
}

/// Sweeps until `token` is cancelled.
pub(super) async fn run(context: Context, token: CancellationToken) -> Result<(), Infallible> {
    let caches = Arc::clone(&context.caches);
    let mut missing = HashMap::new();
    loop {
        tokio::select! {
            () = token.cancelled() => return Ok(()),
            () = tokio::time::sleep(context.settings.pod_gc_period) => {}
        }
        tokio::select! {
            () = token.cancelled() => return Ok(()),
            () = async { caches.nodes.ready().await; caches.pods.ready().await } => {}
        }
        let nodes = caches.nodes.store().state();
        let mut bound = HashSet::new();
        caches.pods.glance(None, |pod| {
            if !pod.node.is_empty() && !bound.contains(&*pod.node) {
                bound.insert(pod.node.to_string());
            }
            false
        });
        let gone = missed(&mut missing, &nodes, &bound, Instant::now(), context.settings.node_quarantine);
        let mut absent = HashSet::new();
        for node in gone {
            match Api::<Node>::all(context.client.clone()).get_metadata_opt(&node).await {
                Ok(None) => {
                    absent.insert(node);
                }
                Ok(Some(_)) => {}
                Err(error) => tracing::warn!(node, %error, "cannot tell whether a node is gone"),
            }
        }
        let pods =
            caches.pods.glance(None, |pod| pod.is_finished || pod.is_going || absent.contains(&*pod.node));
        for (pod, why) in doomed(&nodes, &pods, &absent, ENDED) {
            if let Err(error) = remove(&context, &pod, why).await {
                tracing::warn!(namespace = pod.namespace(), pod = pod.name_any(), %error, "cannot remove a pod yet");
            }
        }
    }
}

/// The nodes, of those that pods are bound to, that have not been there for `quarantine`.
fn missed(
    missing: &mut HashMap<String, Instant>,
    nodes: &[Arc<Node>],
    bound: &HashSet<String>,
    now: Instant,
    quarantine: Duration,
) -> Vec<String> {
    let there: HashSet<String> = nodes.iter().map(|node| node.name_any()).collect();
    missing.retain(|node, _| bound.contains(node) && !there.contains(node));
    for node in bound.iter().filter(|node| !there.contains(*node)) {
        missing.entry(node.clone()).or_insert(now);
    }
    missing.iter().filter(|(_, since)| now >= **since + quarantine).map(|(node, _)| node.clone()).collect()
}

fn doomed(
    nodes: &[Arc<Node>],
    pods: &[Arc<Pod>],
    absent: &HashSet<String>,
    limit: usize,
) -> Vec<(Arc<Pod>, Why)> {
    let mut doomed = Vec::new();
    let mut ended: Vec<&Arc<Pod>> =
        pods.iter().filter(|pod| is_finished(pod) && !is_going(&***pod)).collect();
    ended.sort_by_cached_key(|pod| {
        let evicted = pod.status.as_ref().and_then(|status| status.reason.as_deref()) == Some("Evicted");
        (!evicted, pod.creation_timestamp(), pod.name_any())
    });
    let surplus = ended.len().saturating_sub(limit);
    doomed.extend(ended.into_iter().take(surplus).map(|pod| (Arc::clone(pod), Why::TooMany)));
    let out_of_service = |node: &str| {
        nodes.iter().any(|one| {
            let out = taints::of(one).iter().any(|taint| taint.key == OUT_OF_SERVICE);
            one.name_any() == node && out && !taints::is_ready(one)
        })
    };
    for pod in pods {
        let node = node_of(pod);
        let why = match () {
            () if absent.contains(node) => Why::NodeGone,
            () if is_going(&**pod) && node.is_empty() => Why::NeverScheduled,
            () if is_going(&**pod) && out_of_service(node) => Why::OutOfService,
            () => continue,
        };
        doomed.push((Arc::clone(pod), why));
    }
    doomed
}

async fn remove(context: &Context, pod: &Pod, why: Why) -> Result<(), Error> {
    let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
    tracing::info!(namespace, pod = name, ?why, "removing a pod that nobody else will");
    if why == Why::NodeGone {
        let condition = PodCondition {
            type_: DISRUPTION.to_owned(),
            status: "True".to_owned(),
            reason: Some("DeletionByPodGC".to_owned()),
            message: Some("PodGC: node no longer exists".to_owned()),
            ..PodCondition::default()
        };
        pods::set_condition(&context.client, pod, condition, "say why a pod goes").await?;
    }
    let api = Api::<Pod>::namespaced(context.client.clone(), &namespace);
    if why != Why::TooMany && !is_finished(pod) {
        // Whoever counts pods that ended must see this one end.
        let patch = json!({"metadata": {"uid": uid_of(pod)}, "status": {"phase": "Failed"}});
        match api.patch_status(&name, &PatchParams::default(), &Patch::Strategic(patch)).await {
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => return Ok(()),
            result => result.map(drop).map_err(Error::api("say that a pod failed"))?,
        }
    }
    let now = DeleteParams {
        grace_period_seconds: Some(0),
        preconditions: Some(Preconditions { uid: Some(uid_of(pod)), resource_version: None }),
        ..DeleteParams::default()
    };
    match api.delete(&name, &now).await {
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        result => result.map(drop).map_err(Error::api("remove a pod")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, node: &str, phase: &str, going: bool) -> Arc<Pod> {
        let mut pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": name, "uid": name}, "spec": {"containers": [], "nodeName": node}, "status": {"phase": phase},
        }))
        .unwrap();
        pod.metadata.deletion_timestamp = going
            .then_some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::UNIX_EPOCH));
        Arc::new(pod)
    }

    fn node(name: &str, ready: &str, out: bool) -> Arc<Node> {
        let taints = if out { json!([{"key": OUT_OF_SERVICE, "effect": "NoExecute"}]) } else { json!([]) };
        let conditions = json!([{"type": "Ready", "status": ready}]);
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {"name": name}, "spec": {"taints": taints}, "status": {"conditions": conditions},
            }))
            .unwrap(),
        )
    }

    #[test]
    fn a_node_counts_as_gone_only_after_a_while_of_absence() {
        let (mut missing, now, wait) = (HashMap::new(), Instant::now(), Duration::from_secs(40));
        let pods = ["a", "b"].map(str::to_owned).into();
        let nodes = [node("a", "True", false)];
        let mut look = |nodes: &[Arc<Node>], second| {
            missed(&mut missing, nodes, &pods, now + Duration::from_secs(second), wait)
        };
        assert!(look(&nodes, 0).is_empty() && look(&nodes, 39).is_empty());
        assert_eq!(look(&nodes, 40), ["b"]);
        let both = [node("a", "True", false), node("b", "True", false)];
        assert!(look(&both, 41).is_empty() && look(&nodes, 60).is_empty());
    }

    #[test]
    fn pods_of_silent_nodes_stay_and_those_that_nobody_will_remove_go() {
        let nodes = [node("silent", "Unknown", false), node("out", "Unknown", true)];
        let pods = [
            pod("1", "silent", "Running", false),
            pod("2", "silent", "Running", true),
            pod("3", "out", "Running", true),
            pod("4", "out", "Running", false),
            pod("5", "", "Pending", true),
            pod("6", "", "Pending", false),
            pod("7", "gone", "Running", false),
        ];
        let doomed = doomed(&nodes, &pods, &HashSet::from(["gone".to_owned()]), 10);
        let named: Vec<_> = doomed.iter().map(|(pod, why)| (pod.name_any(), *why)).collect();
        let want = [("3", Why::OutOfService), ("5", Why::NeverScheduled), ("7", Why::NodeGone)];
        assert_eq!(named, want.map(|(name, why)| (name.to_owned(), why)));
    }

    #[test]
    fn the_oldest_of_too_many_ended_pods_go() {
        let pods: Vec<_> = (0..5).map(|number| pod(&number.to_string(), "", "Succeeded", false)).collect();
        assert_eq!(doomed(&[], &pods, &HashSet::new(), 3).len(), 2);
    }
}
