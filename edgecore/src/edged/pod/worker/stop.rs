//! Stopping containers: hooks, grace, then force; all of a group at the same time.

use std::time::Duration;

use futures::future::join_all;
use tokio::time::Instant;

use super::{RoundError, Worker};
use crate::edged::events::Severity;
use crate::edged::hooks;
use crate::edged::pod::plan::{Action, Goal};
use crate::edged::pod::{members, policy};
use crate::edged::probes::Place;
use crate::edged::runtime::{ContainerId, RuntimeError};

impl Worker {
    /// Stops all of them. Given up when the pod gets less time than before: the next round stops them harder.
    pub(super) async fn stop(&mut self, stops: Vec<Action>) -> Result<(), RoundError> {
        if self.goal() != Goal::Run && self.memory.stopping.is_none() {
            self.memory.stopping = Some(self.ctx.clock.now());
        }
        let before = self.goal();
        tracing::debug!(actions = ?stops);
        // Before they end: how they end is not to be taken for the pod's end.
        self.seen.condemned.extend(stops.iter().filter_map(|action| match action {
            Action::StopContainer { id, again: true, .. } => Some(id.clone()),
            _ => None,
        }));
        let mut all = Vec::new();
        for action in stops {
            let Action::StopContainer { id, name, grace, why, .. } = action else { continue };
            self.ctx.events.pod(&self.pod, Some(&name), Severity::Normal, "Killing", &why).await;
            all.push(self.stop_one(id, name, grace));
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

    async fn stop_one(&self, id: ContainerId, name: String, grace: Duration) -> Result<(), RuntimeError> {
        let begun = Instant::now();
        let spec = members::find(&self.pod, &name).map(|(_, spec)| spec);
        let hook = spec.as_ref().and_then(|spec| spec.lifecycle.as_ref()?.pre_stop.as_ref());
        if let (Some(spec), Some(hook)) = (&spec, hook)
            && !grace.is_zero()
        {
            let place = self.place(id.clone());
            let run = hooks::run(hook, spec, &place, &*self.ctx.runtime, grace);
            // A hook may use up the whole grace period, but not more.
            if let Ok(Err(words)) = tokio::time::timeout(grace, run).await {
                tracing::warn!(container = name, "preStop failed: {words}");
                let events = &self.ctx.events;
                let said = "PreStopHook failed";
                events.pod(&self.pod, Some(&name), Severity::Warning, "FailedPreStopHook", said).await;
            }
        }
        let left = grace.saturating_sub(begun.elapsed());
        self.ctx.runtime.stop_container(&id, whole_seconds(left)).await
    }

    /// Where a container of this pod is reached.
    pub(super) fn place(&self, container: ContainerId) -> Place {
        let own = self.seen.addresses.first().copied();
        Place { container, address: own.unwrap_or(self.ctx.settings.node_address) }
    }
}

/// The runtime counts whole seconds; half a second more is nearer to what was asked than half a second less.
fn whole_seconds(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs_f64().round() as u64)
}
