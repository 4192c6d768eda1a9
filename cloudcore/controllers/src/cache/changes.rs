//! A reader's queue of changed objects, newest state per object.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use futures::Stream;
use tokio::task::coop::poll_proceed;

use super::Cached;
use super::id::Id;

/// For how many changes a queue that is empty keeps room.
const FEW: usize = 64;

/// What became of an object.
#[derive(Clone)]
pub(super) enum What<K: Cached> {
    /// Its newest state is on the shelf.
    Changed,
    /// This was its last state.
    Gone(Arc<K>),
}

/// Bounded by the number of objects: a second change of an object replaces the first.
pub(super) struct Queue<K: Cached>(Mutex<State<K>>);

struct State<K: Cached> {
    /// By uid as well, so that an object and its namesake after it are two.
    waiting: HashMap<Arc<Id>, What<K>>,
    order: VecDeque<Arc<Id>>,
    reader: Option<Waker>,
}

/// The objects that changed or went, in the order in which they first did. Never ends.
pub(crate) struct Changes<K: Cached> {
    queue: Arc<Queue<K>>,
    /// The object that changed, if it is still there and the reader wants it.
    find: Box<Find<K>>,
}

type Find<K> = dyn Fn(&Id) -> Option<Arc<K>> + Send + Sync;

// === impl Queue ===

impl<K: Cached> Default for Queue<K> {
    fn default() -> Self {
        Self(Mutex::new(State { waiting: HashMap::new(), order: VecDeque::new(), reader: None }))
    }
}

impl<K: Cached> Queue<K> {
    pub(super) fn push(&self, id: &Arc<Id>, what: What<K>) {
        let mut state = self.state();
        if state.waiting.insert(Arc::clone(id), what).is_none() {
            state.order.push_back(Arc::clone(id));
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
    pub(super) fn new(
        queue: Arc<Queue<K>>,
        find: impl Fn(&Id) -> Option<Arc<K>> + Send + Sync + 'static,
    ) -> Self {
        Self { queue, find: Box::new(find) }
    }

    fn pop(&self, reader: &Waker) -> Option<(Arc<Id>, What<K>)> {
        let mut state = self.queue.state();
        let next = state.order.pop_front().and_then(|id| state.waiting.remove_entry(&id));
        if next.is_none() {
            state.reader = Some(reader.clone());
            // After a first list there is seldom as much to tell again.
            state.waiting.shrink_to(FEW);
            state.order.shrink_to(FEW);
        }
        next
    }
}

impl<K: Cached> Stream for Changes<K> {
    type Item = Arc<K>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Arc<K>>> {
        // In turns: readers that go through the same list together find what the others had made whole, and leave room for the API.
        let turn = ready!(poll_proceed(context));
        while let Some((id, what)) = self.pop(context.waker()) {
            let object = match what {
                What::Changed => (self.find)(&id),
                What::Gone(object) => Some(object),
            };
            // One that is not there any more is about to be told as gone; the reader does not want the others.
            if object.is_some() {
                turn.made_progress();
                return Poll::Ready(object);
            }
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, StreamExt};
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::runtime::watcher::Event;

    use super::super::shelf::{Keeps, Whole};
    use super::*;

    fn object(name: &str, uid: &str, version: &str) -> ConfigMap {
        let mut object = ConfigMap::default();
        object.metadata.name = Some(name.to_owned());
        object.metadata.uid = Some(uid.to_owned());
        object.metadata.resource_version = Some(version.to_owned());
        object
    }

    #[test]
    fn a_slow_reader_sees_each_object_once_and_newest_and_namesakes_apart() {
        let (queue, shelf) = (Arc::new(Queue::default()), Whole::default());
        for (name, uid, version) in [("a", "1", "1"), ("b", "2", "2"), ("a", "1", "3"), ("c", "5", "5")] {
            let object = object(name, uid, version);
            shelf.apply(&Event::Apply(object.clone()));
            queue.push(&Arc::new(Id::of(&object)), What::Changed);
        }
        let (old, new) = (object("a", "1", "4"), object("a", "4", "6"));
        shelf.apply(&Event::Delete(old.clone()));
        queue.push(&Arc::new(Id::of(&old)), What::Gone(Arc::new(old)));
        shelf.apply(&Event::Apply(new.clone()));
        queue.push(&Arc::new(Id::of(&new)), What::Changed);
        // The reader is not told yet that this one is gone.
        shelf.apply(&Event::Delete(object("c", "5", "7")));
        let mut changes = Changes::new(queue, move |id| shelf.still(id));
        let mut seen = Vec::new();
        while let Some(Some(object)) = changes.next().now_or_never() {
            seen.push(object.metadata.resource_version.clone().unwrap());
        }
        assert_eq!(seen, ["4", "2", "6"]);
    }
}
