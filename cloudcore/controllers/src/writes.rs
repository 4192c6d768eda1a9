//! What a controller wrote and the caches do not show yet.
//!
//! A look at the caches that misses the pod just made would make a second one. So a controller says at which revision it wrote
//! on behalf of an owner, and does not act for that owner again before the cache has come that far. The API numbers
//! its writes in one row, so one number per owner is enough; only a deletion that is over at once is answered without one, so
//! that object is looked for. Kubernetes counts instead ("expectations").

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::core::NamespaceResourceScope;
use kube::runtime::controller::Action;
use kube::{Resource, ResourceExt};
use tokio::time::Instant;

use crate::cache::{Cache, Cached, Shelf, revision_of, uid_of};

/// How long the caches may lag before the controller acts all the same (Kubernetes: `ExpectationsTimeout`).
const TIMEOUT: Duration = Duration::from_secs(300);

/// When to look again at an owner whose last write is not in the caches yet.
pub(crate) const SOON: Duration = Duration::from_secs(1);

/// An owner as its cache has it now, if all that was written on its behalf is seen; else what is to be done. The one in hand may be older
/// than what was just found to be seen.
///
/// # Errors
/// Look again soon, or not at all: it is gone.
pub(crate) fn newest<K>(in_hand: &K, cache: &Cache<K>, all_seen: bool) -> Result<Arc<K>, Action>
where
    K: Cached + Resource<Scope = NamespaceResourceScope>,
{
    if !all_seen {
        return Err(Action::requeue(SOON));
    }
    let namespace = in_hand.namespace().unwrap_or_default();
    cache.get(&namespace, &in_hand.name_any()).ok_or_else(Action::await_change)
}

/// The newest write on behalf of each owner, until it is seen.
#[derive(Default)]
pub(crate) struct Writes(Mutex<Owners>);

#[derive(Default)]
struct Owners {
    /// By uid.
    written: HashMap<String, Written>,
    /// How many there may be before those are forgotten that nobody asked about in time, because they are gone.
    sweep: usize,
}

/// Fewer owners than this are not worth a sweep.
const FEW: usize = 64;

struct Written {
    revision: u64,
    /// What was deleted and may still be in the cache: namespace and name, by uid.
    deleted: HashMap<String, (String, String)>,
    at: Instant,
}

impl Writes {
    /// `written` was answered to a write on behalf of `owner`.
    pub(crate) fn wrote<O: Resource, K: Resource>(&self, owner: &O, written: &K) {
        self.note(uid_of(owner), revision_of(written));
    }

    /// Whether `cache` shows all that was written on behalf of `owner`.
    pub(crate) fn are_seen<O, K, S>(&self, owner: &O, cache: &Cache<K, S>) -> bool
    where
        O: Resource,
        K: Cached,
        S: Shelf<K>,
    {
        let revision = cache.revision();
        self.seen(&uid_of(owner), revision, |uid, namespace, name| {
            cache.get(namespace, name).is_none_or(|there| uid_of(&*there) != uid)
        })
    }

    /// `object`, which has a namespace, was deleted at once on behalf of `owner`.
    pub(crate) fn deleted<O: Resource, K: Resource>(&self, owner: &O, object: &K) {
        let mut writes = self.writes();
        let place = (object.namespace().unwrap_or_default(), object.name_any());
        entry(&mut writes, uid_of(owner)).deleted.insert(uid_of(object), place);
    }

    fn note(&self, owner: String, revision: u64) {
        let mut writes = self.writes();
        let written = entry(&mut writes, owner);
        written.revision = written.revision.max(revision);
    }

    fn seen(&self, owner: &str, revision: u64, is_gone: impl Fn(&str, &str, &str) -> bool) -> bool {
        let mut writes = self.writes();
        let Some(written) = writes.written.get_mut(owner) else { return true };
        written.deleted.retain(|uid, (namespace, name)| !is_gone(uid, namespace, name));
        let all_seen = written.revision <= revision && written.deleted.is_empty();
        let seen = all_seen || written.at.elapsed() > TIMEOUT;
        if seen {
            writes.written.remove(owner);
        }
        seen
    }

    fn writes(&self) -> MutexGuard<'_, Owners> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn entry(writes: &mut Owners, owner: String) -> &mut Written {
    let now = Instant::now();
    if writes.written.len() >= writes.sweep.max(FEW) {
        writes.written.retain(|_, written| now.duration_since(written.at) <= TIMEOUT);
        // Doubling makes a sweep rare, however many owners there are.
        writes.sweep = writes.written.len() * 2;
    }
    let written =
        writes.written.entry(owner).or_insert(Written { revision: 0, deleted: HashMap::new(), at: now });
    written.at = now;
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_owner_waits_for_its_newest_write_and_no_longer_than_five_minutes() {
        let writes = Writes::default();
        assert!(writes.seen("a", 0, |_, _, _| true));
        writes.note("a".to_owned(), 7);
        writes.note("a".to_owned(), 5);
        assert!(!writes.seen("a", 6, |_, _, _| true));
        assert!(writes.seen("b", 0, |_, _, _| true));
        assert!(writes.seen("a", 7, |_, _, _| true));
        assert!(writes.seen("a", 0, |_, _, _| true));
        writes.note("a".to_owned(), 9);
        tokio::time::advance(TIMEOUT + Duration::from_secs(1)).await;
        assert!(writes.seen("a", 8, |_, _, _| true));
    }

    #[tokio::test(start_paused = true)]
    async fn a_deletion_that_was_over_at_once_is_waited_for_until_the_cache_forgets_the_object() {
        let writes = Writes::default();
        let mut pod = k8s_openapi::api::core::v1::Pod::default();
        pod.metadata.uid = Some("a".to_owned());
        writes.deleted(&pod, &pod);
        assert!(!writes.seen("a", 0, |_, _, _| false));
        assert!(writes.seen("a", 0, |uid, _, _| uid == "a"));
        assert!(writes.seen("a", 0, |_, _, _| false));
        writes.deleted(&pod, &pod);
        tokio::time::advance(TIMEOUT + Duration::from_secs(1)).await;
        assert!(writes.seen("a", 0, |_, _, _| false));
    }

    #[tokio::test(start_paused = true)]
    async fn owners_that_went_are_forgotten() {
        let writes = Writes::default();
        for round in 0..10 {
            (0..FEW).for_each(|owner| writes.note(format!("{round}-{owner}"), 7));
            tokio::time::advance(TIMEOUT + Duration::from_secs(1)).await;
        }
        assert!(writes.writes().written.len() <= FEW, "{}", writes.writes().written.len());
    }
}
