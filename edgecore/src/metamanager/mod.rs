//! The objects this node needs, in SQLite, on disk before they are acknowledged; and what this node has to report.
//!
//! Owns: edgecore.db. Objects come from the cloud through edgehub and are read by edged and devicetwin. Statuses and
//! events come from edged, and each row knows which version the cloud has confirmed. May call: edgehub, to ask for
//! what is not held. Called by: edgehub, edged, devicetwin, each with a [`Handle`].

mod error;
mod fetch;
mod handle;
mod outbox;
mod push;
mod reports;
mod schema;
mod shared;
mod sql;
mod tokens;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tasks::{Restart, TaskSet};
use tokio::sync::{Mutex, mpsc};

pub use error::{FetchError, StoreError};
pub use handle::{Handle, StoredObject};
pub use reports::STATIC_UID;
pub use tokens::PodToken;

use crate::edgehub;
use shared::Shared;
use writer::Writer;

/// Writes that wait for the transaction before them; who comes when it is full waits.
const WRITE_QUEUE: usize = 256;

/// Where the store lives and what bounds it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// edgecore.db.
    pub path: PathBuf,
    /// The name of this node.
    pub node: String,
    /// How long a question to the cloud may take.
    pub query_timeout: Duration,
    /// Events older than this are dropped, told or not.
    pub event_age: Duration,
    /// The event log is kept under this size.
    pub event_bytes: u64,
}

impl Settings {
    /// With the usual bounds: a minute per question, events for a day and 4 MiB.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, node: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            node: node.into(),
            query_timeout: Duration::from_secs(60),
            event_age: Duration::from_secs(24 * 60 * 60),
            event_bytes: 4 << 20,
        }
    }
}

/// Opens the store and runs its writer on `tasks`. A corrupt file is moved aside; the cloud fills the new one.
pub async fn open(settings: Settings, hub: edgehub::Handle, tasks: &TaskSet) -> Result<Handle, OpenError> {
    let opened = open_file(&settings).await?;
    let last_version = sql::last_version(&opened.pool).await?;
    let shared = Arc::new(Shared::new(opened.pool));
    let (writes, queue) = mpsc::channel(WRITE_QUEUE);
    let writer = Writer::new(Arc::clone(&shared), settings.clone(), queue, last_version);
    // The state outlives a panic of one run; only one run at a time holds it.
    let writer = Arc::new(Mutex::new(writer));
    tasks.spawn("writer", Restart::on_failure(), move |token| {
        let writer = Arc::clone(&writer);
        async move { writer.lock().await.run(token).await }
    });
    Ok(Handle { shared, writes, hub, settings: Arc::new(settings) })
}

/// Why the store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file itself.
    #[error(transparent)]
    File(#[from] sqlite::OpenError),
    /// The file opens but cannot be read.
    #[error(transparent)]
    Read(#[from] StoreError),
}

/// Full durability: what is acknowledged to the cloud must survive a power cut.
async fn open_file(settings: &Settings) -> Result<sqlite::Opened, sqlite::OpenError> {
    let options = sqlite::Options {
        path: settings.path.clone(),
        steps: schema::STEPS,
        durability: sqlite::Durability::Full,
    };
    sqlite::open(&options).await
}
