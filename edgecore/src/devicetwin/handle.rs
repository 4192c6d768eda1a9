//! What other modules hold of devicetwin.

use std::collections::HashSet;
use std::str::FromStr;

use async_trait::async_trait;
use proto::message::{Content, Group, Message, Operation, Route, Source};
use proto::resource::Resource;
use tokio::sync::{mpsc, oneshot, watch};

use super::Presence;
use super::engine::{Ahead, DeviceId, Reason, Request, Row};
use crate::edgehub::{Outbox, OutboxError, Report, RowKey};

/// What became of a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// Answered, and whatever it changed is on disk: it may be acknowledged.
    Done,
    /// Answered with why it is refused. Nothing changed, and it may be acknowledged: it will never be taken.
    Refused(Reason),
    /// It is not on disk: it must not be acknowledged. The sensor has been told why.
    NotStored,
}

impl Verdict {
    /// Whether the request may be acknowledged.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        !matches!(self, Self::NotStored)
    }
}

/// What the worker is asked to do.
#[derive(Debug)]
pub(super) enum Command {
    Ask { request: Request, done: oneshot::Sender<Verdict> },
    Ahead { limit: usize, in_flight: HashSet<RowKey>, answer: oneshot::Sender<Vec<Ahead>> },
    Confirm { row: Row, version: u64 },
    Reject { row: Row, version: u64, reason: String },
}

/// Talks to the twins. Cheap to clone. It is also the [`Outbox`] of what devices reported.
#[derive(Debug, Clone)]
pub struct Handle {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) changed: watch::Receiver<u64>,
    pub(super) presence: Presence,
}

impl Handle {
    /// Queues a request; waits while the queue is full. Requests of one caller are taken in order. What is
    /// received is the verdict; it comes after the answer was published.
    pub async fn submit(&self, request: Request) -> oneshot::Receiver<Verdict> {
        let (done, verdict) = oneshot::channel();
        // When the worker is gone the receiver sees a dropped sender: not stored.
        let _ = self.commands.send(Command::Ask { request, done }).await;
        verdict
    }

    /// [`Handle::submit`], and waits for the verdict.
    pub async fn ask(&self, request: Request) -> Verdict {
        self.submit(request).await.await.unwrap_or(Verdict::NotStored)
    }

    /// When devices were heard last; an [`Outbox`] of its own.
    #[must_use]
    pub fn presence(&self) -> Presence {
        self.presence.clone()
    }

    async fn tell(&self, command: Command) -> Result<(), OutboxError> {
        self.commands.send(command).await.map_err(|_| closed())
    }
}

#[async_trait]
impl Outbox for Handle {
    fn name(&self) -> &'static str {
        "devicetwin"
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.changed.clone()
    }

    async fn ahead(&self, limit: usize, in_flight: &HashSet<RowKey>) -> Result<Vec<Report>, OutboxError> {
        let (answer, ahead) = oneshot::channel();
        self.tell(Command::Ahead { limit, in_flight: in_flight.clone(), answer }).await?;
        ahead.await.map_err(|_| closed())?.into_iter().map(report).collect()
    }

    async fn confirm(&self, row: &RowKey, version: u64) -> Result<(), OutboxError> {
        let Some(row) = row_of(row) else { return Ok(()) };
        self.tell(Command::Confirm { row, version }).await
    }

    async fn reject(&self, row: &RowKey, version: u64, reason: &str) -> Result<(), OutboxError> {
        let Some(row) = row_of(row) else { return Ok(()) };
        self.tell(Command::Reject { row, version, reason: reason.to_owned() }).await
    }
}

fn closed() -> OutboxError {
    OutboxError("devicetwin is shutting down".to_owned())
}

/// The row's name for edgehub.
pub(super) fn row_key(row: &Row) -> RowKey {
    RowKey(match row {
        Row::Twins(id) => format!("twin/{id}"),
        Row::State(id) => format!("state/{id}"),
    })
}

fn row_of(key: &RowKey) -> Option<Row> {
    let (kind, id) = key.0.split_once('/')?;
    let id = DeviceId::from_str(id).ok()?;
    match kind {
        "twin" => Some(Row::Twins(id)),
        "state" => Some(Row::State(id)),
        _ => None,
    }
}

/// The row as KubeEdge's edge tells it. A state travels as text that holds JSON, twins as JSON.
fn report(ahead: Ahead) -> Result<Report, OutboxError> {
    let (Row::Twins(id) | Row::State(id)) = &ahead.row;
    let (namespace, name) = (id.namespace().to_owned(), id.name().to_owned());
    let (resource, content) = match &ahead.row {
        Row::Twins(_) => {
            let content = Content::from_json_text(ahead.content);
            (
                Resource::DeviceTwinUpdated { namespace, name },
                content.map_err(|error| OutboxError(error.to_string()))?,
            )
        }
        Row::State(_) => (Resource::DeviceStateUpdate { namespace, name }, Content::text(&ahead.content)),
    };
    let route = Route::new(Source::Twin, Group::Resource, Operation::Update, resource);
    Ok(Report { row: row_key(&ahead.row), version: ahead.version, message: Message::new(route, content) })
}
