//! The one who writes: takes what waits, commits it as one transaction, then tells those who asked.

use std::collections::{BTreeSet, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use proto::message::Message;
use proto::resource::ResourceKind;
use proto::session::Outcome;
use sqlite::Transaction;
use sqlx::SqliteConnection;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use super::push::{self, Change};
use super::reports::{self, Kind, Row};
use super::shared::{Heartbeat, Shared};
use super::tokens::TokenRow;
use super::{Settings, StoreError, sql};

/// Writes that become one transaction.
const GROUP: usize = 256;
/// How long confirmations wait for company before they cost a write of their own.
const LINGER: Duration = Duration::from_secs(2);
/// Uids of removed pods, so that a push that was overtaken by the removal does not bring one back.
const GRAVEYARD: usize = 512;
/// Events written between two looks at the bounds of the event log.
const PRUNE_EVERY: u32 = 32;

/// What can be written.
#[derive(Debug)]
pub(super) enum Write {
    /// Pushes, and answers to keep; each gets an outcome.
    Accept(Vec<Message>),
    /// Rows to report, all or none. Each coalesces with the version before it.
    Report(Vec<Row>),
    /// A row that the cloud will never take.
    Reject { row: crate::edgehub::RowKey, version: u64 },
    /// A service account token.
    Token(TokenRow),
}

/// A write and who waits for it.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) write: Write,
    pub(super) done: oneshot::Sender<Result<Vec<Outcome>, StoreError>>,
}

/// The state of the writing side.
#[derive(Debug)]
pub(super) struct Writer {
    shared: Arc<Shared>,
    settings: Settings,
    queue: mpsc::Receiver<Command>,
    next_version: u64,
    graveyard: VecDeque<String>,
    events_since_prune: u32,
}

/// What a transaction changed, to be told after the commit.
#[derive(Debug, Default)]
struct Changed {
    kinds: BTreeSet<ResourceKind>,
    reports: bool,
    /// A node status was written: its heartbeat, if that is all that is new, stays in memory.
    node: Option<Option<Heartbeat>>,
    removed_pods: Vec<String>,
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        settings: Settings,
        queue: mpsc::Receiver<Command>,
        last_version: u64,
    ) -> Self {
        let next_version = last_version + 1;
        Self { shared, settings, queue, next_version, graveyard: VecDeque::new(), events_since_prune: 0 }
    }

    /// Runs until cancelled, then writes what still waits and closes the file.
    pub(super) async fn run(&mut self, token: CancellationToken) -> Result<(), Infallible> {
        loop {
            let first = tokio::select! {
                biased;
                command = self.queue.recv() => match command {
                    Some(command) => Some(command),
                    // Every handle is gone.
                    None => break,
                },
                () = self.shared.confirmations_to_flush(LINGER) => None,
                () = token.cancelled() => break,
            };
            self.commit(first).await;
        }
        self.queue.close();
        while let Some(command) = self.queue.recv().await {
            self.commit(Some(command)).await;
        }
        self.commit(None).await;
        self.shared.pool().close().await;
        Ok(())
    }

    /// One transaction for `first`, for all that waits behind it, and for the confirmations that gathered.
    async fn commit(&mut self, first: Option<Command>) {
        let mut group: Vec<Command> = first.into_iter().collect();
        while group.len() < GROUP
            && let Ok(command) = self.queue.try_recv()
        {
            group.push(command);
        }
        let confirmed = self.shared.confirmations();
        if group.is_empty() && confirmed.is_empty() {
            return;
        }
        let mut changed = Changed::default();
        let result = self.write_all(&group, &confirmed, &mut changed).await;
        match &result {
            Ok(_) => {
                self.shared.flushed(&confirmed);
                self.remember(changed);
            }
            Err(StoreError::Corrupt(reason)) => {
                error!("the store was found corrupt while running: {reason}");
                self.reopen().await;
            }
            // An earlier attempt to open the file anew failed.
            Err(StoreError::Closed) => self.reopen().await,
            Err(reason) => warn!("nothing was stored: {reason}"),
        }
        let mut outcomes = result.map(Vec::into_iter);
        for command in group {
            let done = match &mut outcomes {
                Ok(outcomes) => Ok(outcomes.next().unwrap_or_default()),
                Err(reason) => Err(reason.clone()),
            };
            // Who no longer waits has no use for the answer; the write stands.
            let _ = command.done.send(done);
        }
    }

    async fn write_all(
        &mut self,
        group: &[Command],
        confirmed: &[(crate::edgehub::RowKey, u64)],
        changed: &mut Changed,
    ) -> Result<Vec<Vec<Outcome>>, StoreError> {
        let mut transaction = Transaction::begin(&self.shared.pool()).await?;
        let mut outcomes = Vec::with_capacity(group.len());
        for command in group {
            outcomes.push(self.write(&mut transaction, &command.write, changed).await?);
        }
        for (row, version) in confirmed {
            sql::confirm(&mut transaction, row, *version).await?;
        }
        if self.events_since_prune >= PRUNE_EVERY {
            self.events_since_prune = 0;
            let dropped =
                sql::prune(&mut transaction, self.settings.event_age, self.settings.event_bytes).await?;
            if dropped > 0 {
                warn!(dropped, "the event log is over its bound: dropped the oldest events");
            }
        }
        transaction.commit().await?;
        Ok(outcomes)
    }

    async fn write(
        &mut self,
        db: &mut SqliteConnection,
        write: &Write,
        changed: &mut Changed,
    ) -> Result<Vec<Outcome>, StoreError> {
        match write {
            Write::Accept(messages) => {
                let mut outcomes = Vec::with_capacity(messages.len());
                for message in messages {
                    outcomes.push(self.accept(db, message, changed).await?);
                }
                return Ok(outcomes);
            }
            Write::Report(rows) => {
                for row in rows {
                    self.report(db, row, changed).await?;
                }
            }
            Write::Reject { row, version } => sql::reject(db, row, *version).await?,
            Write::Token(token) => sql::put_token(db, token).await?,
        }
        Ok(Vec::new())
    }

    async fn accept(
        &self,
        db: &mut SqliteConnection,
        message: &Message,
        changed: &mut Changed,
    ) -> Result<Outcome, StoreError> {
        let change = match push::read(message) {
            Ok(change) => change,
            Err(reason) => return Ok(Outcome::Rejected(reason)),
        };
        match change {
            Change::Put(version) => {
                let overtaken =
                    self.graveyard.contains(&version.uid) || changed.removed_pods.contains(&version.uid);
                let held = sql::version(db, &version.key).await?;
                if overtaken || held.is_some_and(|held| !push::supersedes(&version, &held)) {
                    debug!(key = %version.key, version = version.resource_version, "a late older version came: ignored");
                    return Ok(Outcome::Done);
                }
                sql::put(db, &version, message.content.get()).await?;
                changed.kinds.insert(version.key.kind);
            }
            Change::Remove { key, uid } => {
                if let Some(uid) = &uid
                    && key.kind == ResourceKind::Pod
                {
                    changed.removed_pods.push(uid.clone());
                    sql::drop_tokens_of(db, uid).await?;
                }
                if sql::remove(db, &key, uid.as_deref()).await? {
                    changed.kinds.insert(key.kind);
                }
            }
        }
        Ok(Outcome::Done)
    }

    async fn report(
        &mut self,
        db: &mut SqliteConnection,
        row: &Row,
        changed: &mut Changed,
    ) -> Result<(), StoreError> {
        let version = self.next_version;
        self.next_version += 1;
        changed.reports = true;
        match row.kind {
            Kind::Node => {
                let held = sql::report(db, &row.key()).await?;
                let same = held.is_some_and(|held| {
                    reports::without_heartbeat(&held.row.payload) == reports::without_heartbeat(&row.payload)
                });
                if same {
                    changed.node = Some(Some(Heartbeat { row: row.clone(), version }));
                    return Ok(());
                }
                changed.node = Some(None);
            }
            Kind::Event => self.events_since_prune += 1,
            Kind::Pod | Kind::Gone => {}
        }
        sql::put_report(db, row, version).await
    }

    /// After the commit: who watches is woken, what must be remembered is.
    fn remember(&mut self, changed: Changed) {
        for kind in &changed.kinds {
            self.shared.bump(kind);
        }
        if let Some(heartbeat) = changed.node {
            self.shared.set_heartbeat(heartbeat);
        }
        if changed.reports {
            self.shared.outbox_changed();
        }
        self.graveyard.extend(changed.removed_pods);
        while self.graveyard.len() > GRAVEYARD {
            self.graveyard.pop_front();
        }
    }

    /// Opens the file anew, which moves the corrupt one aside; edgehub then fetches everything again.
    async fn reopen(&mut self) {
        self.shared.pool().close().await;
        match super::open_file(&self.settings).await {
            Ok(opened) => self.shared.rebuilt(opened.pool),
            // The next write fails as closed and comes here again.
            Err(reason) => error!("the store cannot be opened again: {reason}"),
        }
    }
}
