//! Looks at the node and reports it when something changed, when the cloud has not heard of it for long, or when somebody says
//! that nothing is known of it.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::NodeCondition;
use proto::resource::{ObjectKey, ResourceKind};
use serde_json::Value;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::machine::{self, Machine};
use super::{Images, NodeSettings, Outlook, RuntimeHealth, changed, condition, object};
use crate::edged::events::{Recorder, Severity};
use crate::metamanager;

/// Turns observations into reports.
#[derive(Clone)]
pub(super) struct Reporter {
    settings: NodeSettings,
    meta: metamanager::Handle,
    outlook: Outlook,
    events: Arc<Recorder>,
    said: Option<Said>,
}

/// What was reported last.
#[derive(Clone)]
struct Said {
    conditions: Vec<NodeCondition>,
    runtime: RuntimeHealth,
    images: Images,
    at: Instant,
}

impl Reporter {
    pub(super) fn new(
        settings: NodeSettings,
        meta: metamanager::Handle,
        outlook: Outlook,
        events: Arc<Recorder>,
    ) -> Self {
        Self { settings, meta, outlook, events, said: None }
    }

    pub(super) async fn run(&mut self) {
        let mut nodes = self.meta.changes(ResourceKind::Node);
        if self.said.is_none() {
            self.events.node(Severity::Normal, "Starting", "Starting kubelet.").await;
            self.tell_reboot().await;
        }
        loop {
            nodes.borrow_and_update();
            let pause = if self.look().await { self.settings.look_every } else { Duration::from_secs(1) };
            tokio::select! {
                () = sleep(pause) => {}
                () = changed(&mut self.outlook.runtime) => {}
                () = changed(&mut self.outlook.pressure) => {}
                () = changed(&mut self.outlook.images) => {}
                () = changed(&mut nodes) => {}
            }
        }
    }

    /// One look; `false` when what it saw could not be stored.
    async fn look(&mut self) -> bool {
        let machine = Machine::look(&self.settings.root);
        let runtime = self.outlook.runtime.borrow_and_update().clone();
        let pressure = *self.outlook.pressure.borrow_and_update();
        let images = self.outlook.images.borrow_and_update().clone();
        let stored = self.stored().await;
        let given_up = stored.as_deref().is_some_and(is_given_up);
        let before = match &self.said {
            Some(said) if !given_up => said.conditions.clone(),
            // The agent was started anew, or is as good as new to the cloud.
            _ => stored.unwrap_or_default(),
        };
        let conditions = condition::conditions(&before, pressure, &runtime, Timestamp::now());
        let quiet = self.said.as_ref().is_some_and(|said| {
            !given_up
                && condition::same(&said.conditions, &conditions)
                && said.runtime == runtime
                && said.images == images
                && said.at.elapsed() < self.settings.report_every
        });
        if quiet {
            return true;
        }
        if let Some(ready) = conditions.iter().find(|condition| condition.type_ == "Ready") {
            info!(ready = %ready.status, message = ready.message.as_deref().unwrap_or_default(), "node status");
        }
        let seen = object::Seen {
            machine: &machine,
            runtime: &runtime,
            images: images.as_ref().map(|images| images.as_slice()),
        };
        let patch = object::status_patch(&self.settings, seen, conditions.clone());
        if let Err(error) = self.meta.report_node_status(patch).await {
            warn!(%error, "node status cannot be stored, trying again");
            return false;
        }
        for reason in condition::turns(&before, &conditions, self.said.is_none()) {
            let words = format!("Node {} status is now: {reason}", self.settings.name);
            self.events.node(Severity::Normal, &reason, &words).await;
        }
        self.said = Some(Said { conditions, runtime, images, at: Instant::now() });
        true
    }

    /// Says that the machine was started anew since the cloud last heard of it.
    async fn tell_reboot(&self) {
        let Some(node) = self.node().await else { return };
        let known = node.pointer("/status/nodeInfo/bootID").and_then(Value::as_str).unwrap_or_default();
        let boot = machine::boot_id();
        if !known.is_empty() && !boot.is_empty() && known != boot {
            let words = format!("Node {} has been rebooted, boot id: {boot}", self.settings.name);
            self.events.node(Severity::Warning, "Rebooted", &words).await;
        }
    }

    /// The node as the cloud has it.
    async fn node(&self) -> Option<Value> {
        let key = ObjectKey { namespace: None, kind: ResourceKind::Node, name: self.settings.name.clone() };
        Some(self.meta.get(&key).await.ok()??.object)
    }

    /// The conditions as the cloud has them.
    async fn stored(&self) -> Option<Vec<NodeCondition>> {
        serde_json::from_value(self.node().await?.pointer("/status/conditions")?.clone()).ok()
    }
}

/// Whether somebody wrote there that nothing is known of this node: the link was away for long, and the status said last is as good
/// as never said.
fn is_given_up(conditions: &[NodeCondition]) -> bool {
    conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "Unknown")
}
