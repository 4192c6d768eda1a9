//! What edgehub needs from a store whose rows the cloud must learn.

use std::collections::HashSet;
use std::fmt;

use async_trait::async_trait;
use proto::message::Message;
use tokio::sync::watch;

/// Names a row within its outbox: one pod's status, one twin property.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowKey(pub String);

impl fmt::Display for RowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One row that is ahead of what the cloud confirmed, as the message that tells it.
#[derive(Debug, Clone)]
pub struct Report {
    /// The row.
    pub row: RowKey,
    /// The version that `message` carries; grows with every change of the row.
    pub version: u64,
    /// What to send. A resend may carry a fresh message.
    pub message: Message,
}

/// The store could not be read or written; edgehub tries again after a pause.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct OutboxError(pub String);

/// Rows that are ahead of what the cloud confirmed. There is no queue behind it: whoever implements it
/// knows row by row which version the cloud has, so that nothing is lost when edgehub or the link dies.
#[async_trait]
pub trait Outbox: Send + Sync + 'static {
    /// For logs and metrics.
    fn name(&self) -> &'static str;

    /// Changes whenever a row got ahead; edgehub asks [`Outbox::ahead`] then.
    fn changed(&self) -> watch::Receiver<u64>;

    /// At most `limit` rows that are ahead, oldest change first, none of them in `in_flight`. Returning `limit` rows
    /// means that there may be more.
    async fn ahead(&self, limit: usize, in_flight: &HashSet<RowKey>) -> Result<Vec<Report>, OutboxError>;

    /// The cloud has this version. Need not be on disk when it returns: a confirmation that is lost costs one
    /// resend. Called concurrently for many rows, so that an implementation may group its writes.
    async fn confirm(&self, row: &RowKey, version: u64) -> Result<(), OutboxError>;

    /// The cloud will never take this version: it must not come back from [`Outbox::ahead`]. A newer version may.
    async fn reject(&self, row: &RowKey, version: u64, reason: &str) -> Result<(), OutboxError>;
}
