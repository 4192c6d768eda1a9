//! How much the API takes on at once. In-process callers wait in the same line as everyone else.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::status::{Reason, Status};

/// Requests that are worked on at the same time; more wait.
const REQUESTS: usize = 128;
/// Watches that are open at the same time; more are refused.
const WATCHES: usize = 4096;
/// How long a request waits for its turn before it is told to come back.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a request may take once it has its turn.
pub(super) const DEADLINE: Duration = Duration::from_secs(60);

pub(super) struct Limits {
    requests: Arc<Semaphore>,
    watches: Arc<Semaphore>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { requests: Arc::new(Semaphore::new(REQUESTS)), watches: Arc::new(Semaphore::new(WATCHES)) }
    }
}

fn overload() -> Status {
    Status::new(
        Reason::TooManyRequests,
        "the server has received too many requests and has asked us to try again later",
    )
    .retry_after(1)
}

impl Limits {
    /// A turn to work; hold it while working.
    pub(super) async fn request(&self) -> Result<OwnedSemaphorePermit, Status> {
        let turn = Arc::clone(&self.requests).acquire_owned();
        tokio::time::timeout(PATIENCE, turn).await.ok().and_then(Result::ok).ok_or_else(overload)
    }

    /// A place for a watch; hold it while watching.
    pub(super) fn watch(&self) -> Result<OwnedSemaphorePermit, Status> {
        Arc::clone(&self.watches).try_acquire_owned().map_err(|_| overload())
    }
}
