//! One watch and one copy of a kind, for all controllers together.
//!
//! Owns: the reflector's task, and who is to be told of changes. May call: the API. Called by: `context`, which makes them, and
//! every controller, which reads [`Cache::store`] and feeds [`Cache::changes`] to kube's `Controller::for_shared_stream` and
//! `owns_shared_stream`.
//!
//! Kube's own shared streams make the watch wait for the slowest reader and keep deletions to themselves. Here each
//! reader has a queue that keeps the newest change per object, so none can hold up another and a deletion is told as well.

mod changes;
mod owners;
mod slim;

use std::convert::Infallible;
use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use futures::StreamExt;
use kube::runtime::WatchStreamExt;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tasks::{Restart, TaskSet};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub(crate) use changes::Changes;
use changes::Queue;
use owners::{Owner, Owners, owner_of};

/// What can be cached: any kind of `k8s-openapi`.
pub(crate) trait Cached:
    Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static
{
}

impl<K> Cached for K where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static
{
}

/// All objects of a kind as the watch last told, without what controllers never look at ([`slim`]): an object from
/// here must never be sent back whole; change objects with patches.
pub(crate) struct Cache<K: Cached> {
    store: Store<K>,
    shared: Arc<Shared<K>>,
}

struct Shared<K: Cached> {
    queues: Mutex<Vec<Weak<Queue<K>>>>,
    owners: Owners<K>,
    revision: AtomicU64,
    /// Whether the first list is here, or will never be.
    listed: watch::Sender<bool>,
}

// === impl Cache ===

impl<K: Cached> Clone for Cache<K> {
    fn clone(&self) -> Self {
        Self { store: self.store.clone(), shared: Arc::clone(&self.shared) }
    }
}

impl<K: Cached> Cache<K> {
    /// Starts the watch on `tasks`.
    pub(crate) fn start(client: &Client, tasks: &TaskSet) -> Self {
        let writer = Writer::default();
        let cache = Self {
            store: writer.as_reader(),
            shared: Arc::new(Shared {
                queues: Mutex::default(),
                owners: Owners::default(),
                revision: AtomicU64::new(0),
                listed: watch::Sender::new(false),
            }),
        };
        let (api, writer) = (Api::<K>::all(client.clone()), Arc::new(tokio::sync::Mutex::new(writer)));
        let shared = Arc::clone(&cache.shared);
        tasks.spawn(format!("cache of {}", K::plural(&())), Restart::on_failure(), move |token| {
            let (api, writer, shared) = (api.clone(), Arc::clone(&writer), Arc::clone(&shared));
            async move { reflect(api, &mut *writer.lock().await, &shared, token).await }
        });
        cache
    }

    /// The copy, for kube's controllers and for questions about all objects.
    pub(crate) fn store(&self) -> Store<K> {
        self.store.clone()
    }

    /// Waits until the first list is here. Kube's store has the like, but wakes only one of those who wait.
    pub(crate) async fn ready(&self) {
        // The sender lives as long as the cache, so there is no error.
        let _ = self.shared.listed.subscribe().wait_for(|listed| *listed).await;
    }

    /// A namespaced object.
    pub(crate) fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.store.get(&ObjectRef::new(name).within(namespace))
    }

    /// A cluster-scoped object.
    pub(crate) fn named(&self, name: &str) -> Option<Arc<K>> {
        self.store.get(&ObjectRef::new(name))
    }

    /// What `owner` controls in its namespace. Takes no longer for what others control.
    pub(crate) fn controlled_by<O: Resource>(&self, owner: &O) -> Vec<Arc<K>> {
        self.controlled_by_uid(&owner.namespace().unwrap_or_default(), &uid_of(owner))
    }

    /// What the owner with this uid controls in a namespace.
    pub(crate) fn controlled_by_uid(&self, namespace: &str, uid: &str) -> Vec<Arc<K>> {
        self.of(&Owner { namespace: namespace.to_owned(), uid: Some(uid.to_owned()) })
    }

    /// What nobody controls in a namespace.
    pub(crate) fn orphans(&self, namespace: &str) -> Vec<Arc<K>> {
        self.of(&Owner { namespace: namespace.to_owned(), uid: None })
    }

    fn of(&self, owner: &Owner) -> Vec<Arc<K>> {
        let objects = self.shared.owners.of(owner).into_iter().filter_map(|object| self.store.get(&object));
        // The store may be one change ahead.
        objects.filter(|object| owner_of(&**object) == *owner).collect()
    }

    /// All objects of a namespace that `wanted` takes.
    pub(crate) fn within(&self, namespace: &str, wanted: impl Fn(&K) -> bool) -> Vec<Arc<K>> {
        self.store
            .state_filter(|object| object.meta().namespace.as_deref() == Some(namespace) && wanted(object))
    }

    /// Every object, and from then on every one that changed or went, newest state only.
    pub(crate) fn changes(&self) -> Changes<K> {
        let queue = Arc::new(Queue::default());
        self.shared.queues().push(Arc::downgrade(&queue));
        // After the queue is known, so that nothing falls in between.
        self.store.state().into_iter().for_each(|object| queue.push(object));
        Changes::new(queue)
    }

    /// The newest revision seen. A controller that wrote at a later one does not see its own write yet and should not
    /// act again before it does.
    pub(crate) fn revision(&self) -> u64 {
        self.shared.revision.load(Ordering::Acquire)
    }
}

// === impl Shared ===

impl<K: Cached> Shared<K> {
    fn queues(&self) -> std::sync::MutexGuard<'_, Vec<Weak<Queue<K>>>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, object: &Arc<K>) {
        self.queues()
            .retain(|queue| queue.upgrade().inspect(|queue| queue.push(Arc::clone(object))).is_some());
    }

    fn saw(&self, object: &K) {
        self.revision.fetch_max(revision_of(object), Ordering::AcqRel);
    }
}

/// An object's revision; 0 where it has none.
pub(crate) fn revision_of<K: Resource>(object: &K) -> u64 {
    object.meta().resource_version.as_deref().and_then(|text| text.parse().ok()).unwrap_or(0)
}

async fn reflect<K: Cached>(
    api: Api<K>,
    writer: &mut Writer<K>,
    shared: &Shared<K>,
    token: CancellationToken,
) -> Result<(), Infallible> {
    let store = writer.as_reader();
    let events = watcher::watcher(api, watcher::Config::default()).default_backoff().modify(slim::slim);
    let mut events = std::pin::pin!(events.take_until(token.cancelled_owned()));
    while let Some(event) = events.next().await {
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                tracing::warn!(kind = %K::kind(&()), %error, "cannot watch, trying again");
                continue;
            }
        };
        let before = matches!(event, Event::InitDone).then(|| store.state());
        writer.apply_watcher_event(&event);
        // The revision comes after the store and before the readers, who may ask for both.
        match event {
            Event::Apply(object) => {
                shared.owners.set(&object);
                shared.saw(&object);
                if let Some(object) = store.get(&ObjectRef::from_obj(&object)) {
                    shared.tell(&object);
                }
            }
            Event::Delete(object) => {
                shared.owners.forget(&object);
                shared.saw(&object);
                shared.tell(&Arc::new(object));
            }
            Event::Init | Event::InitApply(_) => {}
            Event::InitDone => {
                shared.owners.reset(&store.state());
                store.state().iter().for_each(|object| shared.saw(&**object));
                let gone = before.into_iter().flatten();
                gone.filter(|object| store.get(&ObjectRef::from_obj(&**object)).is_none())
                    .for_each(|object| shared.tell(&object));
                store.state().iter().for_each(|object| shared.tell(object));
                shared.listed.send_replace(true);
                tracing::debug!(kind = %K::kind(&()), objects = store.len(), "listed");
            }
        }
    }
    shared.listed.send_replace(true);
    Ok(())
}

/// Whether a cached object is about to go.
pub(crate) fn is_going<K: Resource>(object: &K) -> bool {
    object.meta().deletion_timestamp.is_some()
}

/// An object's uid; empty where it has none, which matches nothing that the API made.
pub(crate) fn uid_of<K: Resource>(object: &K) -> String {
    object.uid().unwrap_or_default()
}
