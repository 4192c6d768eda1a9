//! The truth of the control plane: a log of revisions in SQLite, and all current objects in memory.
//!
//! Owns: the global revision, optimistic concurrency, what is on disk, the watch history. Knows nothing about HTTP or kinds.
//! May call: `selector` (to index what selectors can ask for), `tasks`. Called by: `apiserver` only.
//!
//! - One writer task commits in groups ([`writer`]); a write is answered after the commit, so nothing acknowledged is lost.
//! - The table `log` holds one row per revision. A row goes when a later row of the same object has left the watch history, so
//!   disk and memory hold the same: the newest version of everything, and a bounded window of what was before ([`disk`]).
//! - Freed pages go back to the file system a few at a time, and a snapshot is written from memory: neither holds up a writer.
//! - Secrets may be encrypted at rest: what touches the file is sealed, memory is not ([`cipher`]).
//! - Readers and watchers are served from memory ([`state`]). A watcher is a cursor into the history, not a queue: a slow one falls out
//!   of the window and is told so, and costs nothing meanwhile ([`watch`]).

mod cipher;
mod disk;
mod document;
mod error;
mod history;
mod object;
mod state;
mod watch;
mod writer;

pub use cipher::Cipher;
pub use document::Document;
pub use error::{Compacted, OpenError, SnapshotError, WriteError};
pub use history::{Event, EventKind};
pub use object::{Collection, Key, Object, ObjectId};
pub use state::{ListQuery, Page};
pub use watch::{Batch, Watcher};

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use serde_json::Value;
use tasks::TaskSet;
use tokio::sync::{mpsc, oneshot};

use disk::Disk;
use state::State;
use writer::{Change, Request, Writer};

/// Writes that may wait for the writer; more than that wait in their own tasks.
const WRITE_QUEUE: usize = 256;

/// Where the store is and how much it remembers.
#[derive(Debug, Clone)]
pub struct Config {
    /// The SQLite file.
    pub path: PathBuf,
    /// Changes that each collection remembers for watchers.
    pub history_events: usize,
    /// Bytes that all superseded objects together may take.
    pub history_bytes: usize,
}

impl Config {
    /// A store at `path` with the usual bounds.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), history_events: 1000, history_bytes: 4 << 20 }
    }
}

/// A store that was read and not yet written to.
pub struct Loaded {
    disk: Disk,
    state: State,
    file: PathBuf,
    cipher: Arc<Cipher>,
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loaded").field("file", &self.file).finish_non_exhaustive()
    }
}

impl Loaded {
    /// Opens or creates the file and loads it. That all of it could be read says that the keys of `cipher` are right.
    ///
    /// # Errors
    /// As [`Store::open`], and when a secret is encrypted with a key that `cipher` does not have.
    pub async fn load(config: Config, cipher: Cipher) -> Result<Self, OpenError> {
        let mut state = State::new(config.history_events, config.history_bytes);
        let cipher = Arc::new(cipher);
        let disk = Disk::open(&config.path, Arc::clone(&cipher), &mut state).await?;
        Ok(Self { disk, state, file: config.path, cipher })
    }

    /// Rewrites secrets that are kept otherwise than `cipher` would keep them, and starts the writer on `tasks`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub async fn start(self, tasks: &TaskSet) -> Result<Store, OpenError> {
        let Self { mut disk, state, file, cipher } = self;
        disk.renew(&file).await?;
        let state = Arc::new(RwLock::new(state));
        let (writes, requests) = mpsc::channel(WRITE_QUEUE);
        let writer = Writer::new(disk, Arc::clone(&state), requests);
        tasks.spawn_once("writer", move |token| writer.run(token));
        Ok(Store { state, writes, file: file.into(), cipher })
    }
}

/// What others hold. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    state: Arc<RwLock<State>>,
    writes: mpsc::Sender<Request>,
    file: Arc<Path>,
    cipher: Arc<Cipher>,
}

impl Store {
    /// Opens or creates the file, loads it, and starts the writer on `tasks`. Nothing is encrypted.
    ///
    /// # Errors
    /// When the file is corrupt, in use by another process, made by a newer version, or cannot be read or created.
    pub async fn open(config: Config, tasks: &TaskSet) -> Result<Self, OpenError> {
        Loaded::load(config, Cipher::off()).await?.start(tasks).await
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        read(&self.state)
    }

    /// The SQLite file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The newest revision. At least 1.
    pub fn revision(&self) -> u64 {
        self.read().revision()
    }

    /// Waits until the store has reached `revision`; false when it has not within `patience`.
    pub async fn reached(&self, revision: u64, patience: Duration) -> bool {
        let mut newest = self.read().newest();
        tokio::time::timeout(patience, newest.wait_for(|now| *now >= revision))
            .await
            .is_ok_and(|seen| seen.is_ok())
    }

    /// The current object.
    pub fn get(&self, id: &ObjectId) -> Option<Arc<Object>> {
        self.read().get(id)
    }

    /// A consistent page of a collection.
    ///
    /// # Errors
    /// When the asked revision has left the history.
    pub fn list(&self, query: &ListQuery<'_>, matches: impl Fn(&Object) -> bool) -> Result<Page, Compacted> {
        self.read().list(query, matches)
    }

    /// How many objects a collection holds.
    pub fn count(&self, collection: &Collection) -> usize {
        self.read().count(collection)
    }

    /// Every collection that holds at least one object.
    pub fn collections(&self) -> Vec<Collection> {
        self.read().collections()
    }

    /// Writes every object as it is now to a new SQLite file at `path`, while others go on reading and writing. The answer is the
    /// revision of the snapshot. Opened as a store, such a file begins at a revision far ahead, so that nothing that clients may
    /// have seen after the snapshot is given out again.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub async fn snapshot(&self, path: &Path) -> Result<u64, SnapshotError> {
        let (objects, revision) = {
            let state = self.read();
            (state.all(), state.revision())
        };
        let written = disk::snapshot::write(path, &self.cipher, &objects, revision).await;
        written.map_err(|error| SnapshotError { path: path.to_owned(), detail: error.to_string() })?;
        Ok(revision)
    }

    /// Follows a collection: everything after `revision`.
    pub fn watch(&self, collection: &Collection, revision: u64) -> Watcher {
        let changed = writer::write(&self.state).changed(collection);
        Watcher::new(Arc::clone(&self.state), collection.clone(), revision, changed)
    }

    /// Stores a new object. Sets `metadata.resourceVersion`.
    ///
    /// # Errors
    /// [`WriteError::AlreadyExists`], or the store could not write.
    pub async fn create(&self, id: ObjectId, object: Value) -> Result<Arc<Object>, WriteError> {
        self.submit(id, None, Change::Put(object)).await
    }

    /// Replaces the object if it is still at `expected`. Sets `metadata.resourceVersion`.
    ///
    /// # Errors
    /// [`WriteError::NotFound`], [`WriteError::Conflict`], or the store could not write.
    pub async fn update(
        &self,
        id: ObjectId,
        expected: u64,
        object: Value,
    ) -> Result<Arc<Object>, WriteError> {
        self.submit(id, Some(expected), Change::Put(object)).await
    }

    /// Removes the object if it is still at `expected`. The answer is its last state at the revision of the removal.
    ///
    /// # Errors
    /// [`WriteError::NotFound`], [`WriteError::Conflict`], or the store could not write.
    pub async fn delete(&self, id: ObjectId, expected: u64) -> Result<Arc<Object>, WriteError> {
        self.submit(id, Some(expected), Change::Delete).await
    }

    async fn submit(
        &self,
        id: ObjectId,
        expected: Option<u64>,
        change: Change,
    ) -> Result<Arc<Object>, WriteError> {
        let (answer, answered) = oneshot::channel();
        let request = Request { id, expected, change, answer };
        self.writes.send(request).await.map_err(|_| WriteError::Closed)?;
        answered.await.map_err(|_| WriteError::Closed)?
    }
}

/// State is replaced field by field without panics in between, so a poisoned lock is still good.
fn read(state: &RwLock<State>) -> RwLockReadGuard<'_, State> {
    state.read().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
