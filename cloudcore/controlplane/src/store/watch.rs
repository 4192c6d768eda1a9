//! Following a collection.

use std::sync::{Arc, RwLock};

use tokio::sync::watch;

use super::state::{Bounds, State};
use super::{Collection, Compacted, Event, read};

/// What one look at the history takes out, and so what a watcher may hold at once.
const BATCH: Bounds = Bounds { events: 128, bytes: 128 << 10 };

/// A cursor into the history of a collection.
#[derive(Debug)]
pub struct Watcher {
    state: Arc<RwLock<State>>,
    collection: Collection,
    cursor: u64,
    changed: watch::Receiver<u64>,
}

/// What [`Watcher::next`] found.
#[derive(Debug)]
pub struct Batch {
    /// Changes in order of revision.
    pub events: Vec<Event>,
    /// The watcher has now seen everything up to here; good for a bookmark.
    pub complete: u64,
}

impl Watcher {
    pub(super) fn new(
        state: Arc<RwLock<State>>,
        collection: Collection,
        cursor: u64,
        changed: watch::Receiver<u64>,
    ) -> Self {
        Self { state, collection, cursor, changed }
    }

    /// What happened since the last look; may be empty.
    ///
    /// # Errors
    /// When this watcher was so slow that the history moved past it: list again.
    pub fn look(&mut self) -> Result<Batch, Compacted> {
        self.changed.mark_unchanged();
        let (events, complete) = read(&self.state).since(&self.collection, self.cursor, BATCH)?;
        // A cursor in the future stays there: the client asked for what comes after it.
        self.cursor = self.cursor.max(complete);
        Ok(Batch { events, complete: self.cursor })
    }

    /// Waits for the next changes. Cancel safe. Never ends by itself: the store's state outlives its watchers.
    ///
    /// # Errors
    /// When this watcher was so slow that the history moved past it: list again.
    pub async fn next(&mut self) -> Result<Batch, Compacted> {
        loop {
            let batch = self.look()?;
            if !batch.events.is_empty() {
                return Ok(batch);
            }
            if self.changed.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}
