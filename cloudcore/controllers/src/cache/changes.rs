//! A reader's queue of changed objects, newest state per object.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures::Stream;

use super::{Cached, uid_of};

/// Bounded by the number of objects: a second change of an object replaces the first.
pub(super) struct Queue<K: Cached>(Mutex<State<K>>);

struct State<K: Cached> {
    /// By uid, so that an object and its namesake after it are two.
    waiting: HashMap<String, Arc<K>>,
    order: VecDeque<String>,
    reader: Option<Waker>,
}

/// The objects that changed or went, in the order in which they first did. Never ends.
pub(crate) struct Changes<K: Cached>(Arc<Queue<K>>);

// === impl Queue ===

impl<K: Cached> Default for Queue<K> {
    fn default() -> Self {
        Self(Mutex::new(State { waiting: HashMap::new(), order: VecDeque::new(), reader: None }))
    }
}

impl<K: Cached> Queue<K> {
    pub(super) fn push(&self, object: Arc<K>) {
        let mut state = self.state();
        let uid = uid_of(&*object);
        if state.waiting.insert(uid.clone(), object).is_none() {
            state.order.push_back(uid);
        }
        if let Some(reader) = state.reader.take() {
            reader.wake();
        }
    }

    fn state(&self) -> MutexGuard<'_, State<K>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Changes ===

impl<K: Cached> Changes<K> {
    pub(super) fn new(queue: Arc<Queue<K>>) -> Self {
        Self(queue)
    }
}

impl<K: Cached> Stream for Changes<K> {
    type Item = Arc<K>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Arc<K>>> {
        let mut state = self.0.state();
        let next = state.order.pop_front().and_then(|uid| state.waiting.remove(&uid));
        match next {
            Some(object) => Poll::Ready(Some(object)),
            None => {
                state.reader = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, StreamExt};
    use k8s_openapi::api::core::v1::ConfigMap;

    use super::*;

    fn object(name: &str, uid: &str, version: &str) -> Arc<ConfigMap> {
        let mut object = ConfigMap::default();
        object.metadata.name = Some(name.to_owned());
        object.metadata.uid = Some(uid.to_owned());
        object.metadata.resource_version = Some(version.to_owned());
        Arc::new(object)
    }

    #[test]
    fn a_slow_reader_sees_each_object_once_and_newest_and_namesakes_apart() {
        let queue = Arc::new(Queue::default());
        for (name, uid, version) in [("a", "1", "1"), ("b", "2", "2"), ("a", "1", "3"), ("a", "4", "4")] {
            queue.push(object(name, uid, version));
        }
        let mut changes = Changes::new(queue);
        let mut seen = Vec::new();
        while let Some(Some(object)) = changes.next().now_or_never() {
            seen.push(object.metadata.resource_version.clone().unwrap());
        }
        assert_eq!(seen, ["3", "2", "4"]);
    }
}
