//! How the copies of a kind's objects are kept.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::Event;

use super::Cached;
use super::id::Id;

/// Where the copies are.
pub(crate) trait Shelf<K: Cached>: Default + Keeps<K> {}

impl<K: Cached, S: Default + Keeps<K>> Shelf<K> for S {}

/// What a shelf can do.
pub(crate) trait Keeps<K: Cached>: Send + Sync + 'static {
    /// An object; the namespace of objects of the cluster is empty.
    fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>>;

    /// All objects, or those of a namespace, that `wanted` takes.
    fn filter(&self, namespace: Option<&str>, wanted: &dyn Fn(&K) -> bool) -> Vec<Arc<K>>;

    /// Takes in what the watch told; says what a new list shows to be gone without having been told of.
    fn apply(&self, event: &Event<K>) -> Vec<Arc<K>>;

    /// Nothing will be told any more: who waits for the first list need not wait longer.
    fn close(&self) {}

    /// The object that was there when somebody was told of it; none if it is gone by now, or is another of the same name.
    fn still(&self, id: &Id) -> Option<Arc<K>> {
        self.get(&id.namespace, &id.name).filter(|object| *Id::of(&**object).uid == *id.uid)
    }
}

/// Whole objects, in the form that kube's controllers read.
pub(crate) struct Whole<K: Cached> {
    store: Store<K>,
    /// Of the reflector's task, until it ends: those who wait for the store to be ready wait as long as there is one.
    writer: Mutex<Option<Writer<K>>>,
}

impl<K: Cached> Whole<K> {
    pub(super) fn store(&self) -> Store<K> {
        self.store.clone()
    }

    fn writer(&self) -> MutexGuard<'_, Option<Writer<K>>> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Cached> Default for Whole<K> {
    fn default() -> Self {
        let writer = Writer::default();
        Self { store: writer.as_reader(), writer: Mutex::new(Some(writer)) }
    }
}

impl<K: Cached> Keeps<K> for Whole<K> {
    fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        let object = ObjectRef::new(name);
        self.store.get(&if namespace.is_empty() { object } else { object.within(namespace) })
    }

    fn filter(&self, namespace: Option<&str>, wanted: &dyn Fn(&K) -> bool) -> Vec<Arc<K>> {
        let here = |object: &K| namespace.is_none() || object.meta().namespace.as_deref() == namespace;
        self.store.state_filter(|object| here(object) && wanted(object))
    }

    fn apply(&self, event: &Event<K>) -> Vec<Arc<K>> {
        let before = if matches!(event, Event::InitDone) { self.store.state() } else { Vec::new() };
        if let Some(writer) = &mut *self.writer() {
            writer.apply_watcher_event(event);
        }
        before.into_iter().filter(|object| self.still(&Id::of(&**object)).is_none()).collect()
    }

    fn close(&self) {
        self.writer().take();
    }
}
