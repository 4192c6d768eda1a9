//! Looks at the node and reports it when something changed, or when the cloud has not heard of it for long.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::NodeCondition;
use tokio::{
    sync::watch,
    time::{Instant, timeout},
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
        loop {
            let pause = if self.look().await { self.settings.look_every } else { Duration::from_secs(1) };
            timeout(pause, changed(&mut self.runtime)).await.ok();
        }
    }

    /// One look; `false` when what it saw could not be stored.
    async fn look(&mut self) -> bool {
        let machine = Machine::look(&self.settings.root);
        let runtime = self.runtime.borrow_and_update().clone();
        let before = self.said.as_ref().map_or(&[][..], |said| &said.conditions);
        let conditions = condition::conditions(before, &self.settings, &machine, &runtime, Timestamp::now());
        let quiet = self.said.as_ref().is_some_and(|said| {
            condition::same(&said.conditions, &conditions)
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
}
