//! What rules of the cloud want of this node: topics to listen on, messages to publish, local programs to call and to be called by.
//!
//! Owns: rules.db (topics, URLs, and messages that the cloud has not taken yet). May call: eventbus, to publish; servicebus, to call local
//! programs. Called by: edgehub, which hands it what the cloud says and takes messages away as an [`crate::edgehub::Outbox`];
//! eventbus with what is published here; servicebus with what programs call.

mod accept;
mod answers;
mod handle;
mod queue;
mod store;
mod worker;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use proto::rules::Orders;
use tasks::{Restart, TaskSet};
use tokio::sync::{Mutex, mpsc, watch};

pub use handle::Handle;
pub use store::StoreError;

use crate::edgehub::Connection;
use crate::eventbus::Publisher;
use crate::servicebus::Caller;
use answers::Answers;
use queue::Queue;
use store::Store;
use worker::Worker;

/// Messages that wait for the batch before them; who comes when it is full waits.
const WAITING: usize = 1024;

/// Where the store lives and what bounds it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// rules.db.
    pub path: PathBuf,
    /// Messages kept for the cloud.
    pub messages: usize,
    /// Bytes of such messages.
    pub bytes: usize,
}

/// What rules are done with.
#[derive(Clone)]
pub struct Tools {
    /// Publishes; a node without eventbus has none.
    pub publisher: Option<Publisher>,
    /// Calls local programs; a node without servicebus has none.
    pub caller: Option<Caller>,
    /// How the cloud talks.
    pub connection: watch::Receiver<Connection>,
}

// === impl Settings ===

impl Settings {
    /// `rules.db` beside the database, with the usual bounds.
    #[must_use]
    pub fn beside(database: &Path) -> Self {
        Self { path: database.with_file_name("rules.db"), messages: 10_000, bytes: 32 << 20 }
    }
}

/// Reads what was kept, and goes on with it on `tasks`.
///
/// # Errors
/// If there is a store that cannot be opened.
pub async fn open(settings: Settings, tools: Tools, tasks: &TaskSet) -> Result<Handle, StoreError> {
    let mut store = Store::new(settings.path);
    let mut queue = Queue::new(settings.messages, settings.bytes);
    let mut orders = Orders::default();
    if store.exists() {
        orders = store.orders().await?;
        for kept in store.kept().await? {
            queue.push(kept);
        }
    }
    let (commands, waiting) = mpsc::channel(WAITING);
    let (told, current) = watch::channel(Arc::new(orders));
    let (changed, changes) = watch::channel(0);
    let connection = tools.connection.clone();
    let worker = Worker { store, queue, waiting, orders: told, changed, connection, lost: 0, rewrite: false };
    // The state outlives a panic of one run; only one run at a time holds it.
    let worker = Arc::new(Mutex::new(worker));
    tasks.spawn("worker", Restart::on_failure(), move |token| {
        let worker = Arc::clone(&worker);
        async move { worker.lock().await.run(token).await }
    });
    Ok(Handle {
        commands,
        orders: current,
        changed: changes,
        connection: tools.connection,
        publisher: tools.publisher,
        caller: tools.caller,
        calls: Arc::new(tasks.child("calls")),
        answers: Answers::default(),
    })
}

/// Puts topics and URLs into the store before it is [opened](open), unless it has some.
pub(crate) async fn put_in(settings: &Settings, orders: Orders) -> Result<(), StoreError> {
    if orders == Orders::default() {
        return Ok(());
    }
    let mut store = Store::new(settings.path.clone());
    if store.exists() && store.orders().await? != Orders::default() {
        store.close().await;
        return Ok(());
    }
    let written = store.write(&store::Batch { orders: Some(orders), ..store::Batch::default() }).await;
    store.close().await;
    written
}
