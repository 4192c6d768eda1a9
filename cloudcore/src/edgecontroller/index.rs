//! Which node should have what: a pure index over nodes, pods and what pods use.
//!
//! Events go in, changes of the desired sets come out. Contents are kept only of what a pod of an edge node uses; an
//! object that becomes used later is fetched, and its version decides between the fetch and the watch.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use proto::pki::NodeName;
use proto::resource::{ObjectKey, ResourceKind};
use serde_json::Value;

use super::references;
use crate::desired::Object;

/// What the index wants done.
#[derive(Debug)]
pub(super) enum Effect {
    /// The node should have this.
    Put(NodeName, Arc<Object>),
    /// The node should not have this any more.
    Remove(NodeName, ObjectKey),
    /// A pod uses this object and the index does not have it: read it and say [`Index::fetched`].
    Fetch(ObjectKey),
    /// The node became an edge node: list its pods and say [`Index::applied_pod`] for each.
    ListPods(NodeName),
    /// The node object is gone.
    NodeGone(NodeName),
}

/// A pod of an edge node.
#[derive(Debug, Clone)]
pub(super) struct Pod {
    /// Tells it from its namesakes.
    pub uid: String,
    /// Where it runs.
    pub node: NodeName,
    /// The service account whose tokens it may use.
    pub service_account: String,
    /// Config maps, secrets and claims.
    pub uses: BTreeSet<ObjectKey>,
    revision: u64,
}

/// Something that pods use.
#[derive(Debug, Default)]
struct Used {
    /// How many pods of each node use it.
    by: BTreeMap<NodeName, usize>,
    object: Option<Arc<Object>>,
    /// The newest version seen, of the object or of its deletion.
    revision: u64,
}

/// The index. See the module.
#[derive(Debug, Default)]
pub(super) struct Index {
    nodes: HashSet<NodeName>,
    pods: HashMap<(String, String), Pod>,
    used: HashMap<ObjectKey, Used>,
    /// Pods that were deleted while their node's list was under way; the list may still have them.
    deleted: HashMap<NodeName, HashSet<String>>,
}

// === impl Index ===

impl Index {
    /// A node object exists at this version.
    pub(super) fn applied_node(&mut self, name: NodeName, is_edge: bool, object: Object) -> Vec<Effect> {
        if !is_edge {
            return if self.nodes.contains(&name) { self.deleted_node(&name) } else { Vec::new() };
        }
        let mut effects = Vec::new();
        if self.nodes.insert(name.clone()) {
            self.deleted.insert(name.clone(), HashSet::new());
            effects.push(Effect::ListPods(name.clone()));
        }
        effects.push(Effect::Put(name, Arc::new(object)));
        effects
    }

    /// A node object is gone, or is no edge node any more.
    pub(super) fn deleted_node(&mut self, name: &NodeName) -> Vec<Effect> {
        if !self.nodes.remove(name) {
            return Vec::new();
        }
        self.deleted.remove(name);
        let mut effects = vec![Effect::Remove(name.clone(), ObjectKey::node(name.as_str()))];
        let pods: Vec<_> =
            self.pods.iter().filter(|(_, pod)| pod.node == *name).map(|(key, _)| key.clone()).collect();
        for (namespace, pod) in pods {
            effects.extend(self.drop_pod(&namespace, &pod));
        }
        effects.push(Effect::NodeGone(name.clone()));
        effects
    }

    /// [`Effect::ListPods`] was carried out.
    pub(super) fn listed_pods(&mut self, name: &NodeName) {
        self.deleted.remove(name);
    }

    /// A pod exists at this version.
    pub(super) fn applied_pod(&mut self, object: Object, spec: &Value) -> Vec<Effect> {
        let (Some(namespace), name) = (object.key.namespace.clone(), object.key.name.clone()) else {
            return Vec::new();
        };
        let node =
            spec.get("nodeName").and_then(Value::as_str).and_then(|node| node.parse::<NodeName>().ok());
        let Some(node) = node.filter(|node| self.nodes.contains(node)) else { return Vec::new() };
        if self.deleted.get(&node).is_some_and(|deleted| deleted.contains(&object.uid)) {
            return Vec::new();
        }
        let place = (namespace, name);
        let before = self.pods.get(&place);
        if before.is_some_and(|before| before.uid == object.uid && before.revision > object.revision()) {
            return Vec::new();
        }
        let mut effects = Vec::new();
        let moved = before.filter(|before| before.node != node).map(|before| before.node.clone());
        let released = before.map(|before| (before.node.clone(), before.uses.clone()));
        let uses = references::of_pod(&place.0, spec);
        let service_account =
            spec.get("serviceAccountName").and_then(Value::as_str).unwrap_or("default").to_owned();
        let pod = Pod {
            uid: object.uid.clone(),
            node: node.clone(),
            service_account,
            uses: uses.clone(),
            revision: object.revision(),
        };
        self.pods.insert(place, pod);
        // What is still used is taken before it is released, so that it is never taken away in between.
        for key in &uses {
            effects.extend(self.take(&node, key));
        }
        if let Some(old) = moved {
            effects.push(Effect::Remove(old, object.key.clone()));
        }
        effects.push(Effect::Put(node, Arc::new(object)));
        if let Some((old, uses)) = released {
            for key in &uses {
                effects.extend(self.release(&old, key));
            }
        }
        effects
    }

    /// A pod is gone.
    pub(super) fn deleted_pod(&mut self, namespace: &str, name: &str, uid: &str) -> Vec<Effect> {
        for deleted in self.deleted.values_mut() {
            deleted.insert(uid.to_owned());
        }
        match self.pods.get(&(namespace.to_owned(), name.to_owned())) {
            Some(pod) if pod.uid == uid => self.drop_pod(namespace, name),
            _ => Vec::new(),
        }
    }

    /// A config map or secret exists at this version.
    pub(super) fn applied(&mut self, object: Object) -> Vec<Effect> {
        let Some(used) = self.used.get_mut(&object.key) else { return Vec::new() };
        if used.revision >= object.revision() && used.revision != 0 {
            return Vec::new();
        }
        used.revision = object.revision();
        let object = Arc::new(object);
        used.object = Some(object.clone());
        used.by.keys().map(|node| Effect::Put(node.clone(), object.clone())).collect()
    }

    /// [`Effect::Fetch`] found this, or that it does not exist.
    pub(super) fn fetched(&mut self, object: Option<Object>) -> Vec<Effect> {
        object.map(|object| self.applied(object)).unwrap_or_default()
    }

    /// A config map or secret is gone; `revision` is that of its deletion.
    pub(super) fn deleted(&mut self, key: &ObjectKey, revision: u64) -> Vec<Effect> {
        let Some(used) = self.used.get_mut(key) else { return Vec::new() };
        used.revision = used.revision.max(revision);
        if used.object.take().is_none() {
            return Vec::new();
        }
        used.by.keys().map(|node| Effect::Remove(node.clone(), key.clone())).collect()
    }

    /// The pod of this name, if it runs on an edge node.
    #[must_use]
    pub(super) fn pod(&self, namespace: &str, name: &str) -> Option<&Pod> {
        self.pods.get(&(namespace.to_owned(), name.to_owned()))
    }

    /// Whether a pod on `node` uses the object.
    #[must_use]
    pub(super) fn uses(&self, node: &NodeName, key: &ObjectKey) -> bool {
        self.used.get(key).is_some_and(|used| used.by.contains_key(node))
    }

    /// Whether a pod on `node` runs as the service account; with `bound`, exactly that pod (name, uid).
    #[must_use]
    pub(super) fn runs_as(
        &self,
        node: &NodeName,
        namespace: &str,
        account: &str,
        bound: Option<(&str, &str)>,
    ) -> bool {
        let fits = |pod: &Pod| pod.node == *node && pod.service_account == account;
        match bound {
            Some((name, uid)) => self.pod(namespace, name).is_some_and(|pod| fits(pod) && pod.uid == uid),
            None => self.pods.iter().any(|((at, _), pod)| at == namespace && fits(pod)),
        }
    }

    /// What the API no longer listed after a watch began anew.
    #[must_use]
    pub(super) fn pods_missing_from(&self, seen: &HashSet<String>) -> Vec<(String, String, String)> {
        let gone = self.pods.iter().filter(|(_, pod)| !seen.contains(&pod.uid));
        gone.map(|((namespace, name), pod)| (namespace.clone(), name.clone(), pod.uid.clone())).collect()
    }

    /// As [`Index::pods_missing_from`], for nodes.
    #[must_use]
    pub(super) fn nodes_missing_from(&self, seen: &HashSet<String>) -> Vec<NodeName> {
        self.nodes.iter().filter(|node| !seen.contains(node.as_str())).cloned().collect()
    }

    /// As [`Index::pods_missing_from`], for config maps or secrets.
    #[must_use]
    pub(super) fn missing_from(&self, kind: &ResourceKind, seen: &HashSet<String>) -> Vec<ObjectKey> {
        let held = self.used.iter().filter(|(key, _)| key.kind == *kind);
        let gone =
            held.filter(|(_, used)| used.object.as_ref().is_some_and(|object| !seen.contains(&object.uid)));
        gone.map(|(key, _)| key.clone()).collect()
    }

    /// How many edge nodes and pods on them there are.
    #[must_use]
    pub(super) fn size(&self) -> (usize, usize) {
        (self.nodes.len(), self.pods.len())
    }

    fn drop_pod(&mut self, namespace: &str, name: &str) -> Vec<Effect> {
        let Some(pod) = self.pods.remove(&(namespace.to_owned(), name.to_owned())) else { return Vec::new() };
        let key = ObjectKey::namespaced(namespace, ResourceKind::Pod, name);
        let mut effects = vec![Effect::Remove(pod.node.clone(), key)];
        for key in &pod.uses {
            effects.extend(self.release(&pod.node, key));
        }
        effects
    }

    fn take(&mut self, node: &NodeName, key: &ObjectKey) -> Option<Effect> {
        let known = self.used.contains_key(key);
        let used = self.used.entry(key.clone()).or_default();
        let users = used.by.entry(node.clone()).or_default();
        *users += 1;
        match &used.object {
            Some(object) if *users == 1 => Some(Effect::Put(node.clone(), object.clone())),
            None if !known && is_pushed(key) => Some(Effect::Fetch(key.clone())),
            _ => None,
        }
    }

    fn release(&mut self, node: &NodeName, key: &ObjectKey) -> Option<Effect> {
        let used = self.used.get_mut(key)?;
        let users = used.by.get_mut(node)?;
        *users -= 1;
        if *users > 0 {
            return None;
        }
        used.by.remove(node);
        if used.by.is_empty() {
            self.used.remove(key);
        }
        is_pushed(key).then(|| Effect::Remove(node.clone(), key.clone()))
    }
}

fn is_pushed(key: &ObjectKey) -> bool {
    matches!(key.kind, ResourceKind::ConfigMap | ResourceKind::Secret)
}

#[cfg(test)]
mod tests;
