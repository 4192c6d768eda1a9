//! Looks at the node and reports it when something changed, when the cloud has not heard of it for long, or when somebody says
//! that nothing is known of it.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::NodeCondition;
use proto::resource::{ObjectKey, ResourceKind};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tracing::{info, warn};

use super::{NodeSettings, RuntimeHealth, changed, condition, machine::Machine, object};
use crate::metamanager;

/// Turns observations into reports.
#[derive(Clone)]
pub(super) struct Reporter {
    settings: NodeSettings,
    meta: metamanager::Handle,
    runtime: watch::Receiver<RuntimeHealth>,
    said: Option<Said>,
}

/// What was reported last.
#[derive(Clone)]
struct Said {
    conditions: Vec<NodeCondition>,
    runtime: RuntimeHealth,
    at: Instant,
}

impl Reporter {
    pub(super) fn new(
        settings: NodeSettings,
        meta: metamanager::Handle,
        runtime: watch::Receiver<RuntimeHealth>,
    ) -> Self {
        Self { settings, meta, runtime, said: None }
    }

    pub(super) async fn run(&mut self) {
        let mut nodes = self.meta.changes(ResourceKind::Node);
        loop {
            nodes.borrow_and_update();
            let pause = if self.look().await { self.settings.look_every } else { Duration::from_secs(1) };
            tokio::select! {
                () = sleep(pause) => {}
                () = changed(&mut self.runtime) => {}
                () = changed(&mut nodes) => {}
            }
        }
    }

    /// One look; `false` when what it saw could not be stored.
    async fn look(&mut self) -> bool {
        let machine = Machine::look(&self.settings.root);
        let runtime = self.runtime.borrow_and_update().clone();
        let given_up = self.given_up().await;
        let said = self.said.as_ref().map_or(&[][..], |said| &said.conditions);
        let before = given_up.as_deref().unwrap_or(said);
        let conditions = condition::conditions(before, &self.settings, &machine, &runtime, Timestamp::now());
        let quiet = self.said.as_ref().is_some_and(|said| {
            given_up.is_none()
                && condition::same(&said.conditions, &conditions)
                && said.runtime == runtime
                && said.at.elapsed() < self.settings.report_every
        });
        if quiet {
            return true;
        }
        if let Some(ready) = conditions.iter().find(|condition| condition.type_ == "Ready") {
            info!(ready = %ready.status, message = ready.message.as_deref().unwrap_or_default(), "node status");
        }
        let patch = object::status_patch(&self.settings, &machine, &runtime, conditions.clone());
        if let Err(error) = self.meta.report_node_status(patch).await {
            warn!(%error, "node status cannot be stored, trying again");
            return false;
        }
        self.said = Some(Said { conditions, runtime, at: Instant::now() });
        true
    }

    /// The conditions in the cloud, if somebody wrote there that nothing is known of this node: the link was away for long, and
    /// the status said last is as good as never said.
    async fn given_up(&self) -> Option<Vec<NodeCondition>> {
        let key = ObjectKey { namespace: None, kind: ResourceKind::Node, name: self.settings.name.clone() };
        let node = self.meta.get(&key).await.ok()??;
        let conditions = node.object.pointer("/status/conditions")?.clone();
        let conditions: Vec<NodeCondition> = serde_json::from_value(conditions).ok()?;
        let unknown =
            conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "Unknown");
        unknown.then_some(conditions)
    }
}
