//! Deletes pods that do not tolerate a `NoExecute` taint of their node, or not for ever.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod, PodCondition, Taint};
use kube::api::{DeleteParams, Preconditions};
use kube::{Api, ResourceExt};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::timetable::{Id, Timetable, patience};
use super::{pods, taints};
use crate::cache::{is_going, uid_of};
use crate::context::Context;
use crate::error::Error;
use crate::events::Recorder;
use crate::pods::{DISRUPTION, node_of};

/// After a failed deletion.
const AGAIN: Duration = Duration::from_secs(1);

struct Eviction {
    context: Context,
    events: Recorder,
    table: Timetable,
    /// The taints of nodes that have some.
    tainted: HashMap<String, Vec<Taint>>,
}

/// Drives pods off until `token` is cancelled.
pub(super) async fn run(context: Context, token: CancellationToken) -> Result<(), Infallible> {
    let caches = Arc::clone(&context.caches);
    tokio::select! {
        () = token.cancelled() => return Ok(()),
        () = async { caches.nodes.ready().await; caches.pods.ready().await } => {}
    }
    let events = context.recorder("taint-eviction-controller");
    let mut eviction = Eviction { context, events, table: Timetable::default(), tainted: HashMap::new() };
    let (mut nodes, mut pods) =
        (caches.nodes.changes(), caches.pods.changes_of(|_, pod| !pod.node.is_empty()));
    loop {
        // Nodes first: a pod is judged by what its node is now.
        while let Some(Some(node)) = nodes.next().now_or_never() {
            eviction.node(&node);
        }
        while let Some(Some(pod)) = pods.next().now_or_never() {
            eviction.pod(&pod);
        }
        while let Some(pod) = eviction.table.pop(Instant::now()) {
            eviction.evict(pod).await;
        }
        let due = eviction.table.next_due();
        let due = async {
            match due {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = token.cancelled() => return Ok(()),
            Some(node) = nodes.next() => eviction.node(&node),
            Some(pod) = pods.next() => eviction.pod(&pod),
            () = due => {}
        }
    }
}

fn id(pod: &Pod) -> Id {
    (pod.namespace().unwrap_or_default(), pod.name_any(), uid_of(pod))
}

// === impl Eviction ===

impl Eviction {
    fn node(&mut self, node: &Node) {
        let name = node.name_any();
        let there = self.context.caches.nodes.named(&name);
        let executing: Vec<Taint> = there
            .iter()
            .flat_map(|node| taints::of(node))
            .filter(|taint| taint.effect == taints::NO_EXECUTE)
            .cloned()
            .collect();
        let before = match executing.is_empty() {
            true => self.tainted.remove(&name),
            false => self.tainted.insert(name.clone(), executing.clone()),
        };
        if before.unwrap_or_default() != executing {
            for pod in self.context.caches.pods.on_node(&name) {
                self.pod(&pod);
            }
        }
    }

    fn pod(&mut self, pod: &Pod) {
        let id = id(pod);
        let there = self.context.caches.pods.get(&id.0, &id.1).filter(|there| uid_of(&**there) == id.2);
        let Some(there) = there.filter(|there| !is_going(&**there)) else {
            self.table.set(&id, None, Instant::now());
            return;
        };
        let taints = self.tainted.get(node_of(&there)).map(Vec::as_slice).unwrap_or_default();
        let spec = there.spec.as_ref();
        let bears = patience(taints, spec.and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default());
        if self.table.set(&id, bears, since(&there, taints)) {
            let message = format!("Cancelling deletion of Pod {}/{}", id.0, id.1);
            self.events.normal(&*there, "TaintManagerEviction", message);
        }
    }

    async fn evict(&mut self, id: Id) {
        let Some(pod) = self.context.caches.pods.get(&id.0, &id.1).filter(|pod| uid_of(&**pod) == id.2)
        else {
            return;
        };
        if let Err(error) = self.delete(&pod).await {
            tracing::warn!(namespace = id.0, pod = id.1, %error, "cannot delete a pod yet");
            self.table.set(&id, Some(AGAIN), Instant::now());
        }
    }

    async fn delete(&self, pod: &Pod) -> Result<(), Error> {
        let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
        tracing::info!(namespace, pod = name, "deleting a pod because of its node's taints");
        self.events.normal(
            pod,
            "TaintManagerEviction",
            format!("Marking for deletion Pod {namespace}/{name}"),
        );
        let why = PodCondition {
            type_: DISRUPTION.to_owned(),
            status: "True".to_owned(),
            reason: Some("DeletionByTaintManager".to_owned()),
            message: Some("Taint manager: deleting due to NoExecute taint".to_owned()),
            ..PodCondition::default()
        };
        pods::set_condition(&self.context.client, pod, why, "say why a pod goes").await?;
        let only = DeleteParams {
            preconditions: Some(Preconditions { uid: Some(uid_of(pod)), resource_version: None }),
            ..DeleteParams::default()
        };
        match Api::<Pod>::namespaced(self.context.client.clone(), &namespace).delete(&name, &only).await {
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            result => result.map(drop).map_err(Error::api("delete a pod")),
        }
    }
}

/// Since when the pod has been on a node with these taints: a restart of this program does not give it more time.
fn since(pod: &Pod, taints: &[Taint]) -> Instant {
    let now = Instant::now();
    let added = taints.iter().map(|taint| taint.time_added.as_ref().map(|time| time.0));
    let Some(latest) = added.min().flatten() else { return now };
    let created = pod.metadata.creation_timestamp.as_ref().map_or(latest, |time| time.0);
    let age = Timestamp::now().duration_since(latest.max(created));
    Duration::try_from(age).ok().and_then(|age| now.checked_sub(age)).unwrap_or(now)
}
