//! Stopping containers: hooks, grace, then force; all of a group at the same time.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Lifecycle;
use tokio::time::Instant;

use super::{RoundError, Worker};
use crate::edged::context::Context;
use crate::edged::events::Severity;
use crate::edged::pod::plan::{Action, Goal};
use crate::edged::pod::policy;
use crate::edged::runtime::{ContainerId, RuntimeError};

impl Worker {
    /// Stops all of them. Given up when the pod gets less time than before: the next round stops them harder.
    pub(super) async fn stop(&mut self, stops: Vec<Action>) -> Result<(), RoundError> {
        if self.goal() != Goal::Run && self.memory.stopping.is_none() {
            self.memory.stopping = Some(Timestamp::now());
        }
        let before = self.goal();
        tracing::debug!(actions = ?stops);
        let mut all = Vec::new();
        for action in stops {
            let Action::StopContainer { id, name, grace, why } = action else { continue };
            self.ctx.events.pod(&self.pod, Some(&name), Severity::Normal, "Killing", &why).await;
            let containers = policy::inits(&self.pod).iter().chain(&policy::spec(&self.pod).containers);
            let hooks = containers.filter(|c| c.name == name).find_map(|c| c.lifecycle.clone());
            all.push(one(Arc::clone(&self.ctx), id, name, grace, hooks));
        }
        let mut desired = self.desired.clone();
        let harder = async {
            loop {
                super::changed(&mut desired).await;
                let grace = match &*desired.borrow_and_update() {
                    super::Desired::Present(pod) if pod.metadata.deletion_timestamp.is_some() => {
                        policy::grace(pod)
                    }
                    _ => continue,
                };
                match before {
                    Goal::Stop { grace: given } if grace < given => return,
                    Goal::Run => return,
                    Goal::Stop { .. } => {}
                }
            }
        };
        tokio::select! {
            results = join_all(all) => {
                results.into_iter().collect::<Result<Vec<()>, _>>()?;
            }
            () = harder => {}
        }
        Ok(())
    }
}

async fn one(
    ctx: Arc<Context>,
    id: ContainerId,
    name: String,
    grace: Duration,
    hooks: Option<Lifecycle>,
) -> Result<(), RuntimeError> {
    let begun = Instant::now();
    if let Some(hook) = hooks.and_then(|hooks| hooks.pre_stop)
        && !grace.is_zero()
    {
        let run = async {
            if let Some(command) = hook.exec.and_then(|exec| exec.command) {
                let result = ctx.runtime.exec(&id, command, grace).await;
                match result {
                    Ok((0, _)) => {}
                    Ok((code, output)) => {
                        tracing::warn!(container = name, "preStop ended with {code}: {output}")
                    }
                    Err(error) => tracing::warn!(container = name, "preStop failed: {error}"),
                }
            } else if let Some(sleep) = hook.sleep {
                tokio::time::sleep(Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0))).await;
            } else {
                tracing::warn!(container = name, "preStop hooks other than exec and sleep are not run");
            }
        };
        // A hook may use up the whole grace period, but not more.
        tokio::time::timeout(grace, run).await.ok();
    }
    let left = grace.saturating_sub(begun.elapsed());
    ctx.runtime.stop_container(&id, whole_seconds(left)).await
}

/// The runtime counts whole seconds; half a second more is nearer to what was asked than half a second less.
fn whole_seconds(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs_f64().round() as u64)
}
