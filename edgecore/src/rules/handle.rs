//! What other modules hold of the rules.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use proto::rules::{Orders, matches};
use tasks::TaskSet;
use tokio::sync::{mpsc, oneshot, watch};

use super::answers::Answers;
use super::worker::Command;
use crate::devicetwin::Verdict;
use crate::edgehub::{Connection, Outbox, OutboxError, Report, RowKey};
use crate::eventbus::Publisher;
use crate::servicebus::Caller;

/// What every user may publish for the cloud while it is there, rule or not, as KubeEdge has it.
const USERS: &str = "+/user/#";

/// Takes what is published and called here, and what the cloud says. Cheap to clone. It is also the [`Outbox`] of messages.
#[derive(Clone)]
pub struct Handle {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) orders: watch::Receiver<Arc<Orders>>,
    pub(super) changed: watch::Receiver<u64>,
    pub(super) connection: watch::Receiver<Connection>,
    pub(super) publisher: Option<Publisher>,
    pub(super) caller: Option<Caller>,
    pub(super) calls: Arc<TaskSet>,
    /// What programs answered.
    pub answers: Answers,
}

impl Handle {
    /// What the cloud wants of this node; changes are seen on the receiver.
    #[must_use]
    pub fn orders(&self) -> watch::Receiver<Arc<Orders>> {
        self.orders.clone()
    }

    /// Keeps a message for the cloud, if it is for the cloud. What is received says whether it is on disk. Messages of one caller keep
    /// their order.
    pub async fn keep(&self, topic: &str, payload: Bytes) -> Option<oneshot::Receiver<Verdict>> {
        let ordered = self.orders.borrow().topics.iter().any(|filter| matches(filter, topic));
        // What no rule wants, as far as this node knows, is no reason to fill the disk of a node that is offline.
        let let_up = || matches(USERS, topic) && self.connection.borrow().is_up();
        if !ordered && !let_up() {
            return None;
        }
        let (done, stored) = oneshot::channel();
        // When the worker is gone the receiver sees a dropped sender: not stored.
        let _ = self.commands.send(Command::Keep { topic: topic.to_owned(), payload, done }).await;
        Some(stored)
    }

    /// What an external broker is asked for.
    #[must_use]
    pub fn filters(&self) -> HashSet<String> {
        let orders = self.orders.borrow();
        orders.topics.iter().cloned().chain([USERS.to_owned()]).collect()
    }

    async fn tell(&self, command: Command) -> Result<(), OutboxError> {
        self.commands.send(command).await.map_err(|_| closed())
    }
}

#[async_trait]
impl Outbox for Handle {
    fn name(&self) -> &'static str {
        "rules"
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.changed.clone()
    }

    async fn ahead(&self, limit: usize, in_flight: &HashSet<RowKey>) -> Result<Vec<Report>, OutboxError> {
        let (answer, ahead) = oneshot::channel();
        self.tell(Command::Ahead { limit, in_flight: in_flight.clone(), answer }).await?;
        ahead.await.map_err(|_| closed())?.map_err(OutboxError)
    }

    async fn confirm(&self, row: &RowKey, version: u64) -> Result<(), OutboxError> {
        self.tell(Command::Settled { row: row.clone(), version, refused: None }).await
    }

    async fn reject(&self, row: &RowKey, version: u64, reason: &str) -> Result<(), OutboxError> {
        let refused = Some(reason.to_owned());
        self.tell(Command::Settled { row: row.clone(), version, refused }).await
    }
}

fn closed() -> OutboxError {
    OutboxError("rules is shutting down".to_owned())
}
