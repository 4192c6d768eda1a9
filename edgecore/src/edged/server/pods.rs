//! Owns `/pods` and `/runningpods/`: what this node is to run and what the runtime holds.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use proto::resource::ResourceKind;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::Shared;
use crate::edged::context::Context;
use crate::edged::pod::policy;
use crate::edged::runtime::{RuntimeError, Sandbox};
use crate::edged::static_pods::{self, StaticPods};
use crate::metamanager::StoreError;

/// A pod of this node as it is now.
#[derive(Debug)]
pub(super) struct NodePod {
    pub(super) object: Arc<Pod>,
    /// As this node sees it; `None` before it has looked.
    pub(super) status: Option<PodStatus>,
}

/// The pods of this node: those of the API and those of the folder, mirrors left out.
pub(super) struct Pods<'a> {
    pub(super) ctx: &'a Context,
    pub(super) static_pods: &'a watch::Receiver<StaticPods>,
}

impl Pods<'_> {
    /// All, by namespace and name.
    pub(super) async fn all(&self) -> Result<Vec<NodePod>, StoreError> {
        let own =
            |pod: &Pod| policy::spec(pod).node_name.as_deref() == Some(self.ctx.settings.node_name.as_str());
        let stored = self.ctx.store.list(&ResourceKind::Pod).await?;
        let stored =
            stored.into_iter().filter_map(|object| serde_json::from_value::<Pod>(object.object).ok());
        let bound = stored.filter(|pod| own(pod) && !static_pods::is_mirror(pod)).map(Arc::new);
        let files = StaticPods::clone(&self.static_pods.borrow());
        let mut all = Vec::new();
        for object in bound.chain(files.values().map(Arc::clone)) {
            let status = self.status(&object).await?;
            all.push(NodePod { object, status });
        }
        all.sort_by_key(|pod| (pod.object.metadata.namespace.clone(), pod.object.metadata.name.clone()));
        Ok(all)
    }

    /// The pod of that name. A file's pod runs even if the API has another one of its name.
    pub(super) async fn find(&self, namespace: &str, name: &str) -> Result<Option<NodePod>, StoreError> {
        let is_it = |pod: &NodePod| {
            let meta = &pod.object.metadata;
            meta.namespace.as_deref() == Some(namespace) && meta.name.as_deref() == Some(name)
        };
        let found = self.all().await?.into_iter().filter(is_it);
        Ok(found.max_by_key(|pod| static_pods::is_static(&pod.object)))
    }

    async fn status(&self, pod: &Pod) -> Result<Option<PodStatus>, StoreError> {
        let text = |part: &Option<String>| part.clone().unwrap_or_default();
        let meta = &pod.metadata;
        self.ctx.store.pod_status(&text(&meta.namespace), &text(&meta.name), &text(&meta.uid)).await
    }
}

/// `GET /pods`: a `PodList` with the statuses that this node tells.
pub(super) async fn list(State(shared): State<Shared>) -> Response {
    match shared.pods().all().await {
        Ok(pods) => pod_list(pods.into_iter().map(|pod| {
            let mut object = Pod::clone(&pod.object);
            object.status = pod.status.or(object.status);
            object
        })),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// `GET /runningpods/`: pods by what the runtime holds of them, wanted or not.
pub(super) async fn running(State(shared): State<Shared>) -> Response {
    match held(&shared.ctx).await {
        Ok(pods) => pod_list(pods.into_iter()),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn held(ctx: &Context) -> Result<Vec<Pod>, RuntimeError> {
    let sandboxes = ctx.runtime.sandboxes(None).await?;
    let containers = ctx.runtime.containers(None).await?;
    let pod = |sandbox: &Sandbox| {
        let inside = containers.iter().filter(|one| one.uid == sandbox.uid && one.running());
        let inside = inside.map(|one| Container {
            name: one.name.clone(),
            image: Some(one.image.clone()),
            ..Container::default()
        });
        Pod {
            metadata: ObjectMeta {
                name: Some(sandbox.name.clone()),
                namespace: Some(sandbox.namespace.clone()),
                uid: Some(sandbox.uid.0.clone()),
                ..ObjectMeta::default()
            },
            spec: Some(PodSpec { containers: inside.collect(), ..PodSpec::default() }),
            status: None,
        }
    };
    Ok(sandboxes.iter().filter(|sandbox| sandbox.ready).map(pod).collect())
}

fn pod_list(pods: impl Iterator<Item = Pod>) -> Response {
    let items: Vec<Value> = pods
        .filter_map(|pod| {
            // A list's items say their kind only here, as Go's clients leave it out.
            let mut item = serde_json::to_value(pod).ok()?;
            let object = item.as_object_mut()?;
            object.remove("kind");
            object.remove("apiVersion");
            Some(item)
        })
        .collect();
    Json(json!({ "kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items })).into_response()
}
