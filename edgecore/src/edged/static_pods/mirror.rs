//! The API's view of static pods.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use proto::message::{Content, Operation};
use proto::resource::{ObjectKey, ResourceKind};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;

use super::{HASH, MIRROR, StaticPods, is_mirror};
use crate::edged::context::Context;
use crate::edged::events::Severity;
use crate::metamanager::FetchError;

/// Between two looks when nothing is heard, and after a failure.
const LOOK: Duration = Duration::from_secs(60);
const AGAIN: Duration = Duration::from_secs(5);
/// The reason of events about a static pod that cannot be shown.
const REASON: &str = "FailedMirrorPod";

/// Keeps one mirror for each static pod, and none for others.
pub(super) struct Mirrors {
    ctx: Arc<Context>,
    pods: watch::Receiver<StaticPods>,
    /// Those whose names are taken, by uid.
    hidden: BTreeMap<String, Hidden>,
}

impl Mirrors {
    pub(super) fn new(ctx: Arc<Context>, pods: watch::Receiver<StaticPods>) -> Self {
        Self { ctx, pods, hidden: BTreeMap::new() }
    }

    pub(super) async fn run(&mut self) {
        let mut objects = self.ctx.store.changes(ResourceKind::Pod);
        let mut nodes = self.ctx.store.changes(ResourceKind::Node);
        let mut connection = self.ctx.connection.clone();
        loop {
            objects.borrow_and_update();
            let up = connection.borrow_and_update().is_up();
            let pods = self.pods.borrow_and_update().clone();
            let mut sleep = LOOK;
            if up && let Err(error) = self.reconcile(&pods).await {
                tracing::warn!("static pods are not all shown in the API yet: {error}");
                sleep = AGAIN;
            }
            tokio::select! {
                Ok(()) = objects.changed() => {}
                Ok(()) = nodes.changed() => {}
                Ok(()) = connection.changed() => {}
                Ok(()) = self.pods.changed() => {}
                () = tokio::time::sleep(sleep) => {}
            }
        }
    }

    async fn reconcile(&mut self, pods: &StaticPods) -> Result<(), FetchError> {
        let mut shown: Vec<String> = Vec::new();
        self.hidden.retain(|uid, _| pods.contains_key(uid));
        for object in self.ctx.store.list(&ResourceKind::Pod).await? {
            let Ok(mirror) = serde_json::from_value::<Pod>(object.object) else { continue };
            if !is_mirror(&mirror) {
                continue;
            }
            let of = |pod: &&Arc<Pod>| annotation(pod, HASH) == annotation(&mirror, MIRROR);
            match pods.values().find(of) {
                Some(pod) if mirror.metadata.deletion_timestamp.is_none() => {
                    shown.extend(pod.metadata.uid.clone());
                }
                _ => self.remove(&object.key, &object.uid).await?,
            }
        }
        for (uid, pod) in pods.iter().filter(|(uid, _)| !shown.contains(uid)) {
            self.show(uid, pod).await?;
        }
        Ok(())
    }

    async fn remove(&self, key: &ObjectKey, uid: &str) -> Result<(), FetchError> {
        let options = json!({"gracePeriodSeconds": 0, "preconditions": {"uid": uid}});
        let content = Content::json(&options).map_err(|error| FetchError::shape(key, error))?;
        match self.ctx.store.ask(Operation::Delete, key, content).await {
            Ok(_) | Err(FetchError::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Says once, where a user looks, that a pod's name is taken: at the node, and at the pod in the way if that is here too.
    async fn note_hidden(&mut self, uid: &str, key: &ObjectKey) -> Result<(), FetchError> {
        let other = self.ctx.store.get(key).await?;
        let other = other.and_then(|object| serde_json::from_value::<Pod>(object.object).ok());
        let entry = self.hidden.entry(uid.to_owned());
        let hidden = entry.or_insert_with(|| Hidden { since: Instant::now(), told: false });
        // A mirror made before a restart may still be on its way here.
        let doubtful = other.as_ref().map_or(hidden.since.elapsed() < AGAIN, is_mirror);
        if hidden.told || doubtful {
            return Ok(());
        }
        hidden.told = true;
        let place = key.namespace.as_deref().unwrap_or_default();
        let name = &key.name;
        let words = format!(
            "static pod {place}/{name} runs but is not shown in the API: another pod has its name. Rename one of them, or delete the \
             other"
        );
        self.ctx.events.node(Severity::Warning, REASON, &words).await;
        if let Some(other) = other {
            self.ctx.events.pod(&other, None, Severity::Warning, REASON, &words).await;
        }
        Ok(())
    }

    async fn show(&mut self, uid: &str, pod: &Pod) -> Result<(), FetchError> {
        let meta = &pod.metadata;
        let text = |part: &Option<String>| part.clone().unwrap_or_default();
        let (namespace, name) = (text(&meta.namespace), text(&meta.name));
        let key = ObjectKey::namespaced(&namespace, ResourceKind::Pod, &name);
        let node = ObjectKey::node(&self.ctx.settings.node_name);
        // The mirror goes with the node, so it comes after it.
        let Some(node) = self.ctx.store.get(&node).await? else { return Ok(()) };
        let mirror = mirror_of(pod, node.uid);
        let content = Content::json(&mirror).map_err(|error| FetchError::shape(&key, error))?;
        match self.ctx.store.ask(Operation::Insert, &key, content).await {
            Ok(_) => {
                self.hidden.remove(uid);
                tracing::info!(name, "a static pod is shown in the API");
            }
            Err(FetchError::Exists(_)) => {
                return self.note_hidden(uid, &key).await;
            }
            Err(error) => return Err(error),
        }
        // What was said of it before there was anybody to hear it.
        if let Some(status) = self.ctx.store.pod_status(&namespace, &name, uid).await? {
            self.ctx.store.report_pod_status(&namespace, &name, uid, status).await?;
        }
        Ok(())
    }
}

/// A static pod whose name another pod has.
struct Hidden {
    since: Instant,
    told: bool,
}

fn annotation<'a>(pod: &'a Pod, key: &str) -> Option<&'a str> {
    pod.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

/// What the API is told: the pod, marked as a mirror, that goes with its node.
fn mirror_of(pod: &Pod, uid: String) -> Pod {
    let mut mirror = pod.clone();
    mirror.metadata.uid = None;
    mirror.metadata.creation_timestamp = None;
    let hash = annotation(pod, HASH).unwrap_or_default().to_owned();
    let annotations = mirror.metadata.annotations.get_or_insert_default();
    annotations.insert(MIRROR.to_owned(), hash);
    annotations.insert("kubernetes.io/config.seen".to_owned(), Timestamp::now().to_string());
    mirror.metadata.owner_references = Some(vec![OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default(),
        uid,
        controller: Some(true),
        block_owner_deletion: None,
    }]);
    mirror
}
