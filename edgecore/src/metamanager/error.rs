//! Why the store or a fetch failed.

use crate::edgehub::RequestError;

/// The store could not do it. Nothing of the failed write is visible afterwards.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The disk is full or read-only. The write may be repeated when that is mended.
    #[error("the disk under the store refuses the write ({0}): free space or remount it writable")]
    Disk(String),
    /// SQLite found the file damaged while running. It is being moved aside and rebuilt from the cloud.
    #[error("the store is corrupt ({0}): it is moved aside and rebuilt from the cloud")]
    Corrupt(String),
    /// SQLite failed otherwise; a bug, or the file was changed by someone else.
    #[error("the store failed: {0}")]
    Sql(String),
    /// A row or an object does not have the shape it must have.
    #[error("{what} cannot be stored or read as JSON: {reason}")]
    Shape {
        /// Which object or row.
        what: String,
        /// What serde said.
        reason: String,
    },
    /// The agent is shutting down.
    #[error("the store is closed: edgecore is shutting down")]
    Closed,
}

impl StoreError {
    pub(super) fn shape(what: impl std::fmt::Display, reason: impl std::fmt::Display) -> Self {
        Self::Shape { what: what.to_string(), reason: reason.to_string() }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if sqlite::is_corrupt(&error) {
            Self::Corrupt(error.to_string())
        } else if sqlite::is_disk_trouble(&error) {
            Self::Disk(error.to_string())
        } else if matches!(error, sqlx::Error::PoolClosed) {
            Self::Closed
        } else {
            Self::Sql(error.to_string())
        }
    }
}

/// Why an object or a token could not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The cloud knows no such object.
    #[error("{0}")]
    NotFound(String),
    /// It is there already.
    #[error("{0}")]
    Exists(String),
    /// This node may not have it.
    #[error("{0}")]
    Forbidden(String),
    /// Not in the store, and the cloud cannot be asked now. Try again when connected.
    #[error("{0} is not stored on this node and the cloud is not connected")]
    Disconnected(String),
    /// The cloud did not answer in time, or failed for a reason that may pass.
    #[error("the cloud could not give {what}: {reason}")]
    Unavailable {
        /// The object.
        what: String,
        /// The cloud's words.
        reason: String,
    },
    /// The local store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl FetchError {
    /// Something that cannot be sent at all.
    pub(crate) fn shape(what: impl std::fmt::Display, reason: impl std::fmt::Display) -> Self {
        StoreError::shape(what, reason).into()
    }

    pub(super) fn request(what: impl std::fmt::Display, error: RequestError) -> Self {
        match error {
            RequestError::Disconnected => Self::Disconnected(what.to_string()),
            other => Self::Unavailable { what: what.to_string(), reason: other.to_string() },
        }
    }
}
