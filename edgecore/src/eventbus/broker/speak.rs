//! Saying the wills of those who are gone.

use tracing::debug;

use super::router::{Due, Router};
use super::{Outcome, Sink};

/// Says a will: to everybody, and to this process. What this process could not store it is told again after a restart.
pub(super) async fn speak<S: Sink>(router: &Router, sink: &S, will: Due) {
    router.say(&will);
    let Due { number, message, .. } = will;
    let heard = match sink.take(&message.topic, message.payload).await {
        Outcome::Settled => true,
        Outcome::Waiting(verdict) => verdict.await.is_ok_and(|verdict| verdict.is_settled()),
    };
    router.spoken(number, heard);
    debug!(topic = %message.topic, heard, "a will was spoken");
}
