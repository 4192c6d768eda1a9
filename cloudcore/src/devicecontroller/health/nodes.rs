//! Node objects: which there are, and since when one is not ready.

use std::collections::HashMap;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use tracing::warn;

use crate::devicecontroller::DeviceController;
use crate::kubeapi::watch_failure_of;

/// A Node object.
#[derive(Clone, Default)]
pub(super) struct NodeSeen {
    /// Since when it is not ready, in the API's words.
    pub(super) not_ready_since: Option<String>,
}

impl DeviceController {
    /// Follows nodes; ends only with its caller.
    pub(super) async fn follow_nodes(&self) {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let mut events = watcher(nodes, watcher::Config::default()).default_backoff().boxed();
        let mut listed = HashMap::new();
        while let Some(event) = events.next().await {
            match event {
                Err(error) => {
                    warn!("watching nodes failed, trying again: {}", watch_failure_of(error, "v1 Node"))
                }
                Ok(Event::Init) => listed.clear(),
                Ok(Event::InitApply(node)) => {
                    listed.insert(node.metadata.name.clone().unwrap_or_default(), NodeSeen::of(&node));
                }
                Ok(Event::InitDone) => {
                    let mut inner = self.health.inner();
                    inner.nodes = std::mem::take(&mut listed);
                    inner.nodes_listed = true;
                }
                Ok(Event::Apply(node)) => {
                    let seen = NodeSeen::of(&node);
                    self.health.inner().nodes.insert(node.metadata.name.unwrap_or_default(), seen);
                }
                Ok(Event::Delete(node)) => {
                    self.health.inner().nodes.remove(&node.metadata.name.unwrap_or_default());
                }
            }
        }
    }
}

impl NodeSeen {
    fn of(node: &Node) -> Self {
        let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
        let ready = conditions.into_iter().flatten().find(|condition| condition.type_ == "Ready");
        let not_ready = ready.filter(|condition| condition.status != "True");
        let since = not_ready.and_then(|condition| condition.last_transition_time.as_ref());
        Self { not_ready_since: since.map(|time| time.0.to_string()) }
    }
}
