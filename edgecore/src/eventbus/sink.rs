//! Hands what devices publish to the twins, and what is for the cloud to the rules.

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::oneshot;

use super::broker::{Outcome, Sink};
use super::topic;
use crate::devicetwin::{self, Verdict};
use crate::metrics::Metrics;
use crate::rules;

/// Who listens behind the brokers.
#[derive(Clone)]
pub(super) struct Listeners {
    pub(super) twins: devicetwin::Handle,
    pub(super) rules: Option<rules::Handle>,
    pub(super) metrics: Metrics,
}

impl Listeners {
    /// Hands a message over, if it is for somebody. Waits for room; messages of one caller keep their order.
    pub(super) async fn submit(&self, topic: &str, payload: Bytes) -> Option<oneshot::Receiver<Verdict>> {
        if let Some(request) = topic::request(topic, payload.clone()) {
            return Some(self.twins.submit(request).await);
        }
        if topic::is_ours(topic) {
            self.metrics.strange_topic();
            return None;
        }
        self.rules.as_ref()?.keep(topic, payload).await
    }
}

#[async_trait]
impl Sink for Listeners {
    async fn take(&self, topic: &str, payload: Bytes) -> Outcome {
        match self.submit(topic, payload).await {
            Some(verdict) => Outcome::Waiting(verdict),
            None => Outcome::Settled,
        }
    }

    fn put_out(&self, why: &'static str) {
        self.metrics.put_out(why);
    }
}

/// Whether a message may be acknowledged.
pub(super) async fn may_acknowledge(verdict: oneshot::Receiver<Verdict>) -> bool {
    verdict.await.is_ok_and(|verdict| verdict.is_settled())
}
