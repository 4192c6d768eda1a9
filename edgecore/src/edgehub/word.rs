//! An outbox of one row: something that the cloud is told as a whole, in its newest form, until it has it. In memory only.

use std::collections::HashSet;
use std::future::ready;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures::{Stream, StreamExt, stream};
use proto::message::{Content, Group, Message, Operation, Route, Source};
use proto::resource::Resource;
use proto::session::Dialect;
use serde::Serialize;
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;

use super::{Connection, Outbox, OutboxError, Report, RowKey};

/// What there is to tell.
pub trait Tell: Send + 'static {
    /// What it is called, as an outbox and as its row.
    const NAME: &'static str;
    /// What the message is about.
    const RESOURCE: Resource;
    /// What the message says.
    type Content: Serialize;

    /// What is to be told now, if anything, with its version.
    fn ahead(&mut self) -> Option<(u64, Self::Content)>;

    /// The cloud has that version.
    fn confirmed(&mut self, version: u64);

    /// The cloud does not take it: an older one does not know what it is.
    fn rejected(&mut self, version: u64);
}

/// Tells the cloud `T`. Cheap to clone. KubeEdge's cloud has no place for such words and is told none.
#[derive(Debug)]
pub struct Word<T> {
    what: Arc<Mutex<T>>,
    changed: watch::Sender<u64>,
    connection: Option<watch::Receiver<Connection>>,
}

impl<T> Clone for Word<T> {
    fn clone(&self) -> Self {
        let what = Arc::clone(&self.what);
        Self { what, changed: self.changed.clone(), connection: self.connection.clone() }
    }
}

impl<T> Word<T> {
    pub(crate) fn of(what: T, connection: Option<watch::Receiver<Connection>>) -> Self {
        Self { what: Arc::new(Mutex::new(what)), changed: watch::Sender::new(0), connection }
    }

    /// Nothing that is done with it panics half-way.
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.what.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There is something to tell.
    pub(crate) fn wake(&self) {
        self.changed.send_modify(|changed| *changed += 1);
    }

    /// Sessions that begin from now on: another cloud, or the same after a restart, may know nothing.
    pub(crate) fn sessions(&self) -> impl Stream<Item = Connection> + Unpin + use<T> {
        let changes = self.connection.clone().map(WatchStream::from_changes);
        stream::iter(changes).flatten().filter(|connection| ready(connection.is_up()))
    }
}

#[async_trait]
impl<T: Tell> Outbox for Word<T> {
    fn name(&self) -> &'static str {
        T::NAME
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    async fn ahead(&self, limit: usize, in_flight: &HashSet<RowKey>) -> Result<Vec<Report>, OutboxError> {
        let row = RowKey(T::NAME.to_owned());
        let connection = self.connection.as_ref().map(|connection| *connection.borrow());
        let understood = matches!(connection, Some(Connection::Up { dialect: Dialect::SkerryV1 }));
        if limit == 0 || !understood || in_flight.contains(&row) {
            return Ok(Vec::new());
        }
        let Some((version, content)) = self.lock().ahead() else { return Ok(Vec::new()) };
        let content = Content::json(&content).map_err(|error| OutboxError(error.to_string()))?;
        let route = Route::new(Source::Twin, Group::Twin, Operation::Update, T::RESOURCE);
        Ok(vec![Report { row, version, message: Message::new(route, content) }])
    }

    async fn confirm(&self, _: &RowKey, version: u64) -> Result<(), OutboxError> {
        self.lock().confirmed(version);
        Ok(())
    }

    async fn reject(&self, _: &RowKey, version: u64, _: &str) -> Result<(), OutboxError> {
        self.lock().rejected(version);
        Ok(())
    }
}
