//! What each node should have: the newest version of every object, per node.
//!
//! Owns: the desired sets and who waits for their changes. May call: proto. Written by: edgecontroller and
//! devicecontroller. Read by: cloudhub's sessions, which pull at their own pace: a slow node costs one dirty key per
//! object, never a queue of versions.

mod object;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use proto::pki::NodeName;
use proto::resource::{ObjectKey, ResourceKind};
use tokio::sync::Notify;

pub use object::{MalformedObject, Object};

/// The objects of one controller. A session neither pushes nor deletes objects of a plane whose controller has not
/// yet seen all of them, so a cloud that just started never takes a missing list for an empty one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Plane {
    /// Nodes, pods, config maps and secrets.
    Core,
    /// Devices and their models.
    Devices,
}

/// Something that a session must look at.
#[derive(Debug, Clone)]
pub enum Change {
    /// The newest version of an object, or that the node should not have it any more.
    Object(ObjectKey, Option<Arc<Object>>),
    /// The node lost its copy, whatever was confirmed: send the object again.
    Again(ObjectKey),
    /// Every object of the plane has been announced at least once.
    Synced(Plane),
}

/// The desired sets of all nodes. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Desired {
    inner: Arc<Mutex<Sets>>,
}

#[derive(Debug, Default)]
struct Sets {
    nodes: HashMap<NodeName, Set>,
    synced: BTreeSet<Plane>,
}

#[derive(Debug, Default)]
struct Set {
    objects: HashMap<ObjectKey, Arc<Object>>,
    /// What a peer that cannot tell us said to have stored, with its uid; so that what it must forget is known after
    /// its reconnect. Never more than was pushed to it.
    stored: HashMap<ObjectKey, String>,
    waiting: Vec<Weak<Waiting>>,
}

/// The changes that one session has not fetched yet: at most one entry per object.
#[derive(Debug, Default)]
struct Waiting {
    dirty: Mutex<Dirty>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Dirty {
    order: Vec<ObjectKey>,
    known: HashSet<ObjectKey>,
    again: Vec<ObjectKey>,
    synced: Vec<Plane>,
}

/// One session's view of its node's set.
#[derive(Debug)]
pub struct Subscription {
    node: NodeName,
    desired: Desired,
    waiting: Arc<Waiting>,
}

// === impl Plane ===

impl Plane {
    /// The plane that pushes objects of this kind; `None` for kinds that are only ever fetched.
    #[must_use]
    pub fn of(kind: &ResourceKind) -> Option<Self> {
        match kind {
            ResourceKind::Node | ResourceKind::Pod | ResourceKind::ConfigMap | ResourceKind::Secret => {
                Some(Self::Core)
            }
            ResourceKind::Device | ResourceKind::DeviceModel => Some(Self::Devices),
            _ => None,
        }
    }
}

// === impl Desired ===

impl Desired {
    /// Says that `node` should have this version of the object.
    pub fn put(&self, node: &NodeName, object: Arc<Object>) {
        let mut sets = self.sets();
        let set = sets.nodes.entry(node.clone()).or_default();
        let key = object.key.clone();
        set.objects.insert(key.clone(), object);
        set.announce(&key);
    }

    /// Says that `node` should not have the object any more.
    pub fn remove(&self, node: &NodeName, key: &ObjectKey) {
        let mut sets = self.sets();
        let Some(set) = sets.nodes.get_mut(node) else { return };
        if set.objects.remove(key).is_some() {
            set.announce(key);
        }
        sets.drop_if_unused(node);
    }

    /// Sends the object again although the node confirmed it: it said that it does not have it.
    pub fn again(&self, node: &NodeName, key: &ObjectKey) {
        let sets = self.sets();
        let Some(set) = sets.nodes.get(node) else { return };
        for waiting in set.waiting.iter().filter_map(Weak::upgrade) {
            waiting.dirty().again.push(key.clone());
            waiting.wake.notify_one();
        }
    }

    /// Says that all objects of the plane that exist have been put.
    pub fn set_synced(&self, plane: Plane) {
        let mut sets = self.sets();
        if sets.synced.insert(plane) {
            for waiting in sets.nodes.values().flat_map(|set| &set.waiting).filter_map(Weak::upgrade) {
                waiting.dirty().synced.push(plane);
                waiting.wake.notify_one();
            }
        }
    }

    /// Whether all objects of the plane are known.
    #[must_use]
    pub fn is_synced(&self, plane: Plane) -> bool {
        self.sets().synced.contains(&plane)
    }

    /// The newest version of an object that `node` should have.
    #[must_use]
    pub fn get(&self, node: &NodeName, key: &ObjectKey) -> Option<Arc<Object>> {
        self.sets().nodes.get(node)?.objects.get(key).cloned()
    }

    /// How many objects all nodes together should have.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sets().nodes.values().map(|set| set.objects.len()).sum()
    }

    /// Whether no node should have anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Remembers what a peer without an inventory has stored (`uid`) or forgotten (`None`).
    pub fn note_stored(&self, node: &NodeName, key: &ObjectKey, uid: Option<&str>) {
        let mut sets = self.sets();
        match uid {
            Some(uid) => {
                sets.nodes.entry(node.clone()).or_default().stored.insert(key.clone(), uid.to_owned());
            }
            None => {
                if let Some(set) = sets.nodes.get_mut(node) {
                    set.stored.remove(key);
                }
                sets.drop_if_unused(node);
            }
        }
    }

    /// What [`Desired::note_stored`] remembers of a node.
    #[must_use]
    pub fn stored(&self, node: &NodeName) -> HashMap<ObjectKey, String> {
        self.sets().nodes.get(node).map(|set| set.stored.clone()).unwrap_or_default()
    }

    /// Follows one node's set; everything in it counts as changed at first, in the order in which an edge wants it.
    #[must_use]
    pub fn subscribe(&self, node: &NodeName) -> Subscription {
        let waiting = Arc::new(Waiting::default());
        let mut sets = self.sets();
        let synced: Vec<Plane> = sets.synced.iter().copied().collect();
        let set = sets.nodes.entry(node.clone()).or_default();
        let mut order: Vec<ObjectKey> = set.objects.keys().cloned().collect();
        order.sort_by_cached_key(|key| (rank(&key.kind), key.clone()));
        *waiting.dirty() = Dirty { known: order.iter().cloned().collect(), order, again: Vec::new(), synced };
        waiting.wake.notify_one();
        set.waiting.push(Arc::downgrade(&waiting));
        drop(sets);
        Subscription { node: node.clone(), desired: self.clone(), waiting }
    }

    /// A panic cannot leave the sets half-changed, so a poisoned lock is still good.
    fn sets(&self) -> MutexGuard<'_, Sets> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sets {
    fn drop_if_unused(&mut self, node: &NodeName) {
        if let Some(set) = self.nodes.get_mut(node) {
            set.waiting.retain(|waiting| waiting.strong_count() > 0);
            if set.objects.is_empty() && set.stored.is_empty() && set.waiting.is_empty() {
                self.nodes.remove(node);
            }
        }
    }
}

impl Set {
    fn announce(&mut self, key: &ObjectKey) {
        for waiting in self.waiting.iter().filter_map(Weak::upgrade) {
            let mut dirty = waiting.dirty();
            if dirty.known.insert(key.clone()) {
                dirty.order.push(key.clone());
            }
            drop(dirty);
            waiting.wake.notify_one();
        }
    }
}

impl Waiting {
    fn dirty(&self) -> MutexGuard<'_, Dirty> {
        self.dirty.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Subscription ===

impl Subscription {
    /// Waits for changes and returns all that are there, each object once, at its newest version.
    pub async fn changes(&self) -> Vec<Change> {
        loop {
            let changes = self.take();
            if !changes.is_empty() {
                return changes;
            }
            self.waiting.wake.notified().await;
        }
    }

    fn take(&self) -> Vec<Change> {
        // The sets are locked first, as in `announce`: no version can slip between the key and its object.
        let sets = self.desired.sets();
        let set = sets.nodes.get(&self.node);
        let dirty = std::mem::take(&mut *self.waiting.dirty());
        let objects = dirty.order.into_iter().map(|key| {
            let newest = set.and_then(|set| set.objects.get(&key)).cloned();
            Change::Object(key, newest)
        });
        let again = dirty.again.into_iter().map(Change::Again);
        objects.chain(again).chain(dirty.synced.into_iter().map(Change::Synced)).collect()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut sets = self.desired.sets();
        if let Some(set) = sets.nodes.get_mut(&self.node) {
            set.waiting.retain(|waiting| !std::ptr::eq(waiting.as_ptr(), Arc::as_ptr(&self.waiting)));
        }
        sets.drop_if_unused(&self.node);
    }
}

/// What an edge wants first: itself, then what pods and devices need, then those.
fn rank(kind: &ResourceKind) -> u8 {
    match kind {
        ResourceKind::Node => 0,
        ResourceKind::ConfigMap | ResourceKind::Secret | ResourceKind::DeviceModel => 1,
        ResourceKind::Device => 2,
        _ => 3,
    }
}

#[cfg(test)]
mod tests;
