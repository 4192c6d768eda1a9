//! What can go wrong in the store.

use std::path::PathBuf;

/// The store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process holds the file.
    #[error(
        "{path} is in use by another process: stop the other cloudcore, or give this one its own dataDir"
    )]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The file is damaged. It is the only copy of the truth, so nothing is moved or rebuilt without the operator.
    #[error(
        "{path} is damaged ({detail}): restore it from a backup, or move it away to start with an empty cluster"
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What SQLite or the loader found.
        detail: String,
    },
    /// The file belongs to a newer version, or to something else.
    #[error(
        "{path} has schema version {found}, this program knows {known}: run the newer cloudcore, or move the file away"
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// Secrets were encrypted with a key that is not at hand.
    #[error(
        "{path}: {place} is encrypted with the key {key}, which is not in {keys}: put that file back from a backup, or add the key to it; nothing was changed"
    )]
    Key {
        /// The file.
        path: PathBuf,
        /// One of the objects.
        place: String,
        /// Name of the key: the beginning of its SHA-256.
        key: String,
        /// Where keys are looked for.
        keys: PathBuf,
    },
    /// Permissions, a missing directory, a full disk.
    #[error("cannot open {path}: {detail}; check that the directory exists, is writable and has space")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What SQLite or the system said.
        detail: String,
    },
}

/// A snapshot could not be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "cannot write a snapshot to {path}: {detail}; check that there is space for another copy of the store"
)]
pub struct SnapshotError {
    /// Where to.
    pub path: PathBuf,
    /// What SQLite or the system said.
    pub detail: String,
}

/// A write was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// There is an object of that name.
    #[error("the object already exists")]
    AlreadyExists,
    /// There is no object of that name.
    #[error("the object does not exist")]
    NotFound,
    /// The object is not at the expected revision any more: read it again and retry.
    #[error("the object has changed: it is at revision {current}")]
    Conflict {
        /// Where it is now.
        current: u64,
    },
    /// What was handed in is not a JSON object with a `metadata` object.
    #[error("not an object with metadata")]
    Malformed,
    /// The disk refused, for example because it is full. Nothing was changed; retry later.
    #[error("the store cannot write: {0}; free disk space or check the disk, then retry")]
    Disk(String),
    /// The store is shutting down.
    #[error("the store is closed")]
    Closed,
}

/// The asked revision has left the history: list again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too old resource version: {asked} ({oldest})")]
pub struct Compacted {
    /// What was asked for.
    pub asked: u64,
    /// The oldest revision that could be asked for.
    pub oldest: u64,
}
