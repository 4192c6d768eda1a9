//! The API's view of static pods.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use proto::message::{Content, Operation};
use proto::resource::{ObjectKey, ResourceKind};
use serde_json::json;
use tokio::sync::watch;

use super::{HASH, MIRROR, StaticPods, is_mirror};
use crate::edged::context::Context;
use crate::metamanager::FetchError;

/// Between two looks when nothing is heard, and after a failure.
const LOOK: Duration = Duration::from_secs(60);
const AGAIN: Duration = Duration::from_secs(5);

/// Keeps one mirror for each static pod, and none for others.
pub(super) struct Mirrors {
    ctx: Arc<Context>,
    pods: watch::Receiver<StaticPods>,
}

impl Mirrors {
    pub(super) fn new(ctx: Arc<Context>, pods: watch::Receiver<StaticPods>) -> Self {
        Self { ctx, pods }
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

    async fn reconcile(&self, pods: &StaticPods) -> Result<(), FetchError> {
        let mut shown: Vec<String> = Vec::new();
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

    async fn show(&self, uid: &str, pod: &Pod) -> Result<(), FetchError> {
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
            Ok(_) => tracing::info!(name, "a static pod is shown in the API"),
            Err(FetchError::Exists(_)) => return Ok(()),
            Err(error) => return Err(error),
        }
        // What was said of it before there was anybody to hear it.
        if let Some(status) = self.ctx.store.pod_status(&namespace, &name, uid).await? {
            self.ctx.store.report_pod_status(&namespace, &name, uid, status).await?;
        }
        Ok(())
    }
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
