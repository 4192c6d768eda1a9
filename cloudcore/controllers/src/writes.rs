//! What a controller wrote and the caches do not show yet.
//!
//! A look at the caches that misses the pod just made would make a second one. So a controller says at which revision it wrote
//! on behalf of an owner, and does not act for that owner again before the cache has come that far. The API numbers
//! its writes in one row, so one number per owner is enough. Kubernetes counts instead ("expectations").

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::Resource;
use tokio::time::Instant;

use crate::cache::{Cache, Cached, revision_of, uid_of};

/// How long the caches may lag before the controller acts all the same (Kubernetes: `ExpectationsTimeout`).
const TIMEOUT: Duration = Duration::from_secs(300);

/// The newest write on behalf of each owner, until it is seen.
#[derive(Default)]
pub(crate) struct Writes(Mutex<HashMap<String, Written>>);

struct Written {
    revision: u64,
    at: Instant,
}

impl Writes {
    /// `written` was answered to a write on behalf of `owner`.
    pub(crate) fn wrote<O: Resource, K: Resource>(&self, owner: &O, written: &K) {
        self.note(uid_of(owner), revision_of(written));
    }

    /// Whether `cache` shows all that was written on behalf of `owner`.
    pub(crate) fn are_seen<O: Resource, K: Cached>(&self, owner: &O, cache: &Cache<K>) -> bool {
        self.seen(&uid_of(owner), cache.revision())
    }

    fn note(&self, owner: String, revision: u64) {
        let mut writes = self.writes();
        let written = writes.entry(owner).or_insert(Written { revision, at: Instant::now() });
        written.revision = written.revision.max(revision);
        written.at = Instant::now();
    }

    fn seen(&self, owner: &str, revision: u64) -> bool {
        let mut writes = self.writes();
        let Some(written) = writes.get(owner) else { return true };
        let seen = written.revision <= revision || written.at.elapsed() > TIMEOUT;
        if seen {
            writes.remove(owner);
        }
        seen
    }

    fn writes(&self) -> MutexGuard<'_, HashMap<String, Written>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_owner_waits_for_its_newest_write_and_no_longer_than_five_minutes() {
        let writes = Writes::default();
        assert!(writes.seen("a", 0));
        writes.note("a".to_owned(), 7);
        writes.note("a".to_owned(), 5);
        assert!(!writes.seen("a", 6));
        assert!(writes.seen("b", 0));
        assert!(writes.seen("a", 7));
        assert!(writes.seen("a", 0));
        writes.note("a".to_owned(), 9);
        tokio::time::advance(TIMEOUT + Duration::from_secs(1)).await;
        assert!(writes.seen("a", 8));
    }
}
