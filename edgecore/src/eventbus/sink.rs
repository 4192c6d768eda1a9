//! Hands what devices publish to the twins.

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::oneshot;

use super::broker::{Outcome, Sink};
use super::topic;
use crate::devicetwin::{self, Verdict};

/// The twins behind a broker.
#[derive(Debug, Clone)]
pub(super) struct Twins(pub(super) devicetwin::Handle);

#[async_trait]
impl Sink for Twins {
    async fn take(&self, topic: &str, payload: Bytes) -> Outcome {
        match topic::request(topic, payload) {
            Some(request) => Outcome::Waiting(self.0.submit(request).await),
            None => Outcome::Settled,
        }
    }
}

/// Whether a message may be acknowledged.
pub(super) async fn may_acknowledge(verdict: oneshot::Receiver<Verdict>) -> bool {
    verdict.await.is_ok_and(|verdict| verdict.is_settled())
}
