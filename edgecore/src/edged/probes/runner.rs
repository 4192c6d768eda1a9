//! One probe of one container, asked again and again.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use tokio::sync::{Notify, watch};
use tokio::time::{MissedTickBehavior, interval};

use super::Kind;
use super::board::Board;
use super::handler::{Handler, Outcome, Place};
use super::schedule::Schedule;
use super::tally::Tally;
use crate::edged::context::Context;
use crate::edged::events::Severity;

/// A question that could not be asked is asked again at once, this often (kubelet `maxProbeRetries`).
const TRIES: u32 = 3;

/// Everything that a probe needs.
pub(super) struct Runner {
    pub(super) ctx: Arc<Context>,
    pub(super) pod: Arc<Pod>,
    /// Name of the container in the pod.
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) kind: Kind,
    pub(super) schedule: Schedule,
    pub(super) handler: Result<Handler, String>,
    /// When the container's process began, on the clock that does not jump.
    pub(super) began: Timestamp,
    pub(super) board: Arc<Board>,
    pub(super) nudge: Arc<Notify>,
    /// Whether the container has come up.
    pub(super) started: watch::Sender<bool>,
}

impl Runner {
    /// Asks until the answer cannot change any more: the container has come up, or is to be started anew.
    pub(super) async fn run(self) {
        if self.kind != Kind::Startup && self.started.subscribe().wait_for(|started| *started).await.is_err()
        {
            return;
        }
        let age: Duration = self.ctx.clock.now().duration_since(self.began).try_into().unwrap_or_default();
        tokio::time::sleep(self.schedule.delay.saturating_sub(age)).await;
        let mut tally = Tally::new(&self.schedule);
        let mut ticks = interval(self.schedule.period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let Some(good) = self.ask().await else { continue };
            let Some(verdict) = tally.take(good) else { continue };
            if self.board.judge(&self.place.container, self.kind, verdict) {
                tracing::debug!(container = self.name, kind = %self.kind, verdict, "a probe has decided");
                self.nudge.notify_one();
            }
            match self.kind {
                Kind::Readiness => {}
                Kind::Liveness if verdict => {}
                Kind::Startup if verdict => {
                    self.started.send_replace(true);
                    return;
                }
                Kind::Startup | Kind::Liveness => return,
            }
        }
    }

    /// Whether all is well; nothing when the question could not be asked.
    async fn ask(&self) -> Option<bool> {
        let handler = match &self.handler {
            Ok(handler) => handler,
            Err(error) => {
                self.say(
                    "Unhealthy",
                    &format!("{} probe errored and resulted in unknown state: {error}", self.kind),
                )
                .await;
                return None;
            }
        };
        let mut outcome = Outcome::Success;
        for _ in 0..TRIES {
            outcome = handler.ask(&*self.ctx.runtime, &self.place, self.schedule.timeout).await;
            if !matches!(outcome, Outcome::Error(_)) {
                break;
            }
        }
        match outcome {
            Outcome::Success => Some(true),
            Outcome::Warning(words) => {
                self.say("ProbeWarning", &format!("{} probe warning: {words}", self.kind)).await;
                Some(true)
            }
            Outcome::Failure(words) => {
                self.say("Unhealthy", &format!("{} probe failed: {words}", self.kind)).await;
                Some(false)
            }
            Outcome::Error(words) => {
                let words = format!("{} probe errored and resulted in unknown state: {words}", self.kind);
                self.say("Unhealthy", &words).await;
                None
            }
        }
    }

    async fn say(&self, reason: &str, words: &str) {
        self.ctx.events.pod(&self.pod, Some(&self.name), Severity::Warning, reason, words).await;
    }
}
