//! The changes of all kinds that the scheduler looks at, one after the other.

use std::sync::Arc;

use futures::{FutureExt, StreamExt};
use k8s_openapi::api::core::v1::{Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use tokio::task::unconstrained;

use crate::cache::{Cached, Changes};
use crate::context::Caches;

/// One change of what the scheduler looks at.
pub(super) enum Change {
    Pod(Arc<Pod>),
    Node(Arc<Node>),
    Namespace(Arc<Namespace>),
    Claim(Arc<PersistentVolumeClaim>),
    Volume(Arc<PersistentVolume>),
    Class(Arc<StorageClass>),
}

/// The changes of all kinds. Nodes come before pods, so that at the start pods find them.
pub(super) struct Feed {
    nodes: Changes<Node>,
    namespaces: Changes<Namespace>,
    claims: Changes<PersistentVolumeClaim>,
    volumes: Changes<PersistentVolume>,
    classes: Changes<StorageClass>,
    pods: Changes<Pod>,
}

impl Feed {
    pub(super) fn new(caches: &Caches) -> Self {
        Self {
            nodes: caches.nodes.changes(),
            namespaces: caches.namespaces.changes(),
            claims: caches.persistent_volume_claims.changes(),
            volumes: caches.persistent_volumes.changes(),
            classes: caches.storage_classes.changes(),
            pods: caches.pods.changes(),
        }
    }

    /// The next change that is there already. Not through `select!`, which says that nothing is there when the task has run
    /// for long: a decision would be made without the pods that were not seen yet.
    pub(super) fn ready(&mut self) -> Option<Change> {
        fn ready<K: Cached>(changes: &mut Changes<K>, kind: fn(Arc<K>) -> Change) -> Option<Change> {
            unconstrained(changes.next()).now_or_never().flatten().map(kind)
        }
        ready(&mut self.nodes, Change::Node)
            .or_else(|| ready(&mut self.namespaces, Change::Namespace))
            .or_else(|| ready(&mut self.classes, Change::Class))
            .or_else(|| ready(&mut self.volumes, Change::Volume))
            .or_else(|| ready(&mut self.claims, Change::Claim))
            .or_else(|| ready(&mut self.pods, Change::Pod))
    }

    /// The next change; never none while the caches live.
    pub(super) async fn next(&mut self) -> Option<Change> {
        tokio::select! {
            biased;
            change = self.nodes.next() => change.map(Change::Node),
            change = self.namespaces.next() => change.map(Change::Namespace),
            change = self.classes.next() => change.map(Change::Class),
            change = self.volumes.next() => change.map(Change::Volume),
            change = self.claims.next() => change.map(Change::Claim),
            change = self.pods.next() => change.map(Change::Pod),
        }
    }
}
