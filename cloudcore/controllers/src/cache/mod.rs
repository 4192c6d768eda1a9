//! One watch and one copy of a kind, for all controllers together.
//!
//! Owns: the reflector's task, the copies ([`shelf`], [`packed`]), and who is to be told of changes. May call: the API. Called by:
//! `context`, which makes them, and every controller, which reads [`Cache::store`] and feeds [`Cache::changes`] to kube's
//! `Controller::for_shared_stream` and `owns_shared_stream`.
//!
//! Kube's own shared streams make the watch wait for the slowest reader and keep deletions to themselves. Here each
//! reader has a queue of the objects that changed, so none can hold up another and a deletion is told as well.

mod changes;
mod id;
mod owners;
mod packed;
mod picked;
mod shelf;
mod slim;

use std::collections::HashSet;
use std::convert::Infallible;
use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::WatchStreamExt;
use kube::runtime::reflector::Store;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tasks::{Restart, TaskSet};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub(crate) use changes::Changes;
use changes::{Queue, What};
pub(crate) use id::Id;
use owners::{Owner, Owners, owner_of};
pub(crate) use packed::{Glance, Labels};
pub(crate) use shelf::{Shelf, Whole};

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
pub(crate) struct Cache<K: Cached, S: Shelf<K> = Whole<K>> {
    shelf: Arc<S>,
    shared: Arc<Shared<K>>,
}

/// The cache of pods.
pub(crate) type Pods = Cache<Pod, packed::Pods>;

struct Shared<K: Cached> {
    queues: Mutex<Vec<Weak<Queue<K>>>>,
    owners: Owners,
    revision: AtomicU64,
    /// Whether the first list is here, or will never be.
    listed: watch::Sender<bool>,
}

// === impl Cache ===

impl<K: Cached, S: Shelf<K>> Clone for Cache<K, S> {
    fn clone(&self) -> Self {
        Self { shelf: Arc::clone(&self.shelf), shared: Arc::clone(&self.shared) }
    }
}

impl<K: Cached> Cache<K> {
    /// The copy, for kube's controllers and for questions about all objects.
    pub(crate) fn store(&self) -> Store<K> {
        self.shelf.store()
    }
}

impl Pods {
    /// The pods, all or those of a namespace, that `wanted` takes.
    pub(crate) fn glance(
        &self,
        namespace: Option<&str>,
        wanted: impl FnMut(&Glance) -> bool,
    ) -> Vec<Arc<Pod>> {
        self.shelf.glance(namespace, wanted)
    }

    /// The labels of a pod, shared with all that have the same.
    pub(crate) fn labels(&self, namespace: &str, name: &str) -> Option<Labels> {
        self.shelf.labels(namespace, name)
    }

    /// As [`Cache::changes`], only those pods that `wanted` takes as they are now, and all that went.
    pub(crate) fn changes_of(
        &self,
        wanted: impl Fn(&Id, &Glance) -> bool + Send + Sync + 'static,
    ) -> Changes<Pod> {
        let shelf = Arc::clone(&self.shelf);
        Changes::new(self.queue(), move |id| shelf.pick(id, &wanted))
    }

    /// The changes of those pods that an owner of this kind may want to be told of.
    pub(crate) fn changes_of_owned<O: Resource<DynamicType = ()>>(&self) -> Changes<Pod> {
        self.changes_of(|_, pod| pod.is_owned_by::<O>())
    }

    /// The pods that are bound to a node.
    pub(crate) fn on_node(&self, node: &str) -> Vec<Arc<Pod>> {
        self.glance(None, |pod| &*pod.node == node)
    }
}

impl<K: Cached, S: Shelf<K>> Cache<K, S> {
    /// Starts the watch on `tasks`.
    pub(crate) fn start(client: &Client, tasks: &TaskSet) -> Self {
        let cache = Self {
            shelf: Arc::default(),
            shared: Arc::new(Shared {
                queues: Mutex::default(),
                owners: Owners::default(),
                revision: AtomicU64::new(0),
                listed: watch::Sender::new(false),
            }),
        };
        let (api, watching) = (Api::<K>::all(client.clone()), cache.clone());
        tasks.spawn(format!("cache of {}", K::plural(&())), Restart::on_failure(), move |token| {
            let (api, cache) = (api.clone(), watching.clone());
            async move { cache.reflect(api, token).await }
        });
        cache
    }

    /// Waits until the first list is here. Kube's store has the like, but wakes only one of those who wait.
    pub(crate) async fn ready(&self) {
        // The sender lives as long as the cache, so there is no error.
        let _ = self.shared.listed.subscribe().wait_for(|listed| *listed).await;
    }

    /// A namespaced object.
    pub(crate) fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.shelf.get(namespace, name)
    }

    /// A cluster-scoped object.
    pub(crate) fn named(&self, name: &str) -> Option<Arc<K>> {
        self.shelf.get("", name)
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
        let objects = self.shared.owners.of(owner).into_iter().filter_map(|id| self.shelf.still(&id));
        // The shelf may be one change ahead.
        objects.filter(|object| owner_of(&**object) == *owner).collect()
    }

    /// All objects of a namespace that `wanted` takes.
    pub(crate) fn within(&self, namespace: &str, wanted: impl Fn(&K) -> bool) -> Vec<Arc<K>> {
        self.shelf.filter(Some(namespace), &wanted)
    }

    /// Every object, and from then on every one that changed or went, newest state only.
    pub(crate) fn changes(&self) -> Changes<K> {
        let shelf = Arc::clone(&self.shelf);
        Changes::new(self.queue(), move |id| shelf.still(id))
    }

    fn queue(&self) -> Arc<Queue<K>> {
        let queue = Arc::new(Queue::default());
        self.shared.queues().push(Arc::downgrade(&queue));
        // After the queue is known, so that nothing falls in between.
        self.shared.owners.all().iter().for_each(|id| queue.push(id, What::Changed));
        queue
    }

    /// The newest revision seen. A controller that wrote at a later one does not see its own write yet and should not
    /// act again before it does.
    pub(crate) fn revision(&self) -> u64 {
        self.shared.revision.load(Ordering::Acquire)
    }

    async fn reflect(&self, api: Api<K>, token: CancellationToken) -> Result<(), Infallible> {
        let Self { shelf, shared } = self;
        let events = watcher::watcher(api, watcher::Config::default()).default_backoff().modify(slim::slim);
        let mut events = std::pin::pin!(events.take_until(token.cancelled_owned()));
        let (mut listed, mut newest) = (HashSet::new(), 0);
        while let Some(event) = events.next().await {
            // A list of thousands is there at once: others want to go on meanwhile.
            tokio::task::consume_budget().await;
            let event = match event {
                Ok(event) => event,
                Err(error) => {
                    tracing::warn!(kind = %K::kind(&()), %error, "cannot watch, trying again");
                    continue;
                }
            };
            let gone = shelf.apply(&event);
            // The revision comes after the shelf and before the readers, who may ask for both.
            match event {
                Event::Apply(object) => {
                    let id = shared.owners.set(Id::of(&object), &object);
                    shared.saw(revision_of(&object));
                    shared.tell(&id, &What::Changed);
                }
                Event::Delete(object) => shared.lose(object.into()),
                Event::Init => listed.clear(),
                Event::InitApply(object) => {
                    listed.insert(shared.owners.set(Id::of(&object), &object));
                    newest = revision_of(&object).max(newest);
                }
                Event::InitDone => {
                    shared.owners.retain(&listed);
                    shared.saw(newest);
                    gone.into_iter().for_each(|object| shared.lose(object));
                    listed.iter().for_each(|id| shared.tell(id, &What::Changed));
                    shared.listed.send_replace(true);
                    tracing::debug!(kind = %K::kind(&()), objects = listed.len(), "listed");
                    listed = HashSet::new();
                }
            }
        }
        shelf.close();
        shared.listed.send_replace(true);
        Ok(())
    }
}

// === impl Shared ===

impl<K: Cached> Shared<K> {
    fn queues(&self) -> std::sync::MutexGuard<'_, Vec<Weak<Queue<K>>>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, id: &Arc<Id>, what: &What<K>) {
        self.queues().retain(|queue| queue.upgrade().inspect(|queue| queue.push(id, what.clone())).is_some());
    }

    fn saw(&self, revision: u64) {
        self.revision.fetch_max(revision, Ordering::AcqRel);
    }

    fn lose(&self, object: Arc<K>) {
        let id = Id::of(&*object);
        self.owners.forget(&id);
        self.saw(revision_of(&*object));
        self.tell(&Arc::new(id), &What::Gone(object));
    }
}

/// An object's revision; 0 where it has none.
pub(crate) fn revision_of<K: Resource>(object: &K) -> u64 {
    object.meta().resource_version.as_deref().and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Whether a cached object is about to go.
pub(crate) fn is_going<K: Resource>(object: &K) -> bool {
    object.meta().deletion_timestamp.is_some()
}

/// An object's uid; empty where it has none, which matches nothing that the API made.
pub(crate) fn uid_of<K: Resource>(object: &K) -> String {
    object.uid().unwrap_or_default()
}
