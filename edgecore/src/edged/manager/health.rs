//! Whether the runtime can run pods.

use std::time::Duration;

use super::Manager;
use crate::edged::node::RuntimeHealth;

/// How often the runtime is asked whether it can run pods; it is asked whether it lives at every look.
pub(super) const HEALTH_EVERY: Duration = Duration::from_secs(10);

impl Manager {
    /// What the runtime says of itself: it may answer and still be unable to run pods, for want of a network.
    pub(super) async fn ask_health(&self) -> RuntimeHealth {
        let runtime = &self.ctx.runtime;
        match (runtime.health().await, runtime.version().await) {
            (Err(error), _) | (_, Err(error)) => RuntimeHealth::Broken { reason: error.to_string() },
            (Ok(health), Ok(version)) => match (health.runtime, health.network) {
                (Some(why), _) => {
                    RuntimeHealth::Broken { reason: format!("container runtime not ready: {why}") }
                }
                (None, Some(why)) => {
                    RuntimeHealth::Broken { reason: format!("container runtime network not ready: {why}") }
                }
                (None, None) => {
                    RuntimeHealth::Ready { version: format!("{}://{}", version.name, version.version) }
                }
            },
        }
    }

    pub(super) fn tell_health(&self, health: RuntimeHealth) {
        self.health.send_if_modified(|known| {
            let differs = *known != health;
            if differs {
                match &health {
                    RuntimeHealth::Broken { reason } => tracing::error!("{reason}"),
                    RuntimeHealth::Ready { version } => {
                        tracing::info!(version, "the container runtime is ready")
                    }
                    RuntimeHealth::Unknown => {}
                }
                *known = health;
            }
            differs
        });
    }
}
