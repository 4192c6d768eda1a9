//! The cluster as the scheduler sees it, kept up with one change at a time.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::labels::Namespaces;
use super::node::{Facts, Node};
use super::pod::{Class, Footprint};
use super::volumes::Volumes;

/// Fewer classes than this are not worth a look for those that no pod has any more.
const FEW: usize = 64;

/// Name of a node.
pub(crate) type NodeName = Arc<str>;

/// Nodes, the pods on them, and what rules about them look at.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    nodes: BTreeMap<NodeName, Node>,
    /// Nodes that are there, rather than only named by a pod.
    present: usize,
    /// Where each pod is, by uid.
    places: HashMap<String, NodeName>,
    classes: HashMap<Arc<Class>, HashMap<NodeName, i64>>,
    /// Classes of pods that have no node yet.
    waiting: HashSet<Arc<Class>>,
    /// How many of these there may be before those are forgotten that no pod has any more.
    sweep: usize,
    /// How many nodes have an image, by each of its names.
    images: HashMap<String, i64>,
    /// Pods for which a node was cleared, by uid.
    nominated: BTreeMap<String, (NodeName, Arc<Footprint>)>,
    /// Labels of each namespace.
    pub(crate) namespaces: Namespaces,
    pub(crate) volumes: Volumes,
}

impl Snapshot {
    /// The nodes that are there.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = (&NodeName, &Node, &Facts)> {
        self.nodes.iter().filter_map(|(name, node)| Some((name, node, node.facts.as_ref()?)))
    }

    /// How many nodes are there.
    pub(crate) fn len(&self) -> usize {
        self.present
    }

    pub(crate) fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.get(name)
    }

    /// Takes a node's new state; false if nothing changed that matters here.
    pub(crate) fn set_node(&mut self, name: &str, facts: Option<Facts>) -> bool {
        let old = self.nodes.get(name).and_then(|node| node.facts.as_ref());
        if old == facts.as_ref() {
            return false;
        }
        self.present -= usize::from(old.is_some());
        for image in old.into_iter().flat_map(|old| old.images.keys()).cloned().collect::<Vec<_>>() {
            if let Some(count) = self.images.get_mut(&image) {
                *count -= 1;
            }
        }
        self.images.retain(|_, count| *count > 0);
        self.present += usize::from(facts.is_some());
        for image in facts.iter().flat_map(|facts| facts.images.keys()) {
            *self.images.entry(image.clone()).or_default() += 1;
        }
        self.nodes.entry(name.into()).or_default().facts = facts;
        self.tidy(name);
        true
    }

    /// Lets a pod share its class with those that are like it.
    pub(crate) fn share(&mut self, pod: &mut Footprint) {
        let known = self.classes.get_key_value(&pod.class).map(|(class, _)| class);
        if let Some(class) = known.or_else(|| self.waiting.get(&pod.class)) {
            pod.class = Arc::clone(class);
            return;
        }
        if self.waiting.len() >= self.sweep.max(FEW) {
            self.waiting.retain(|class| Arc::strong_count(class) > 1);
            self.sweep = self.waiting.len() * 2;
        }
        self.waiting.insert(Arc::clone(&pod.class));
    }

    /// Counts a pod in on `node`, and out where it was before.
    pub(crate) fn place(&mut self, pod: Arc<Footprint>, node: &str) {
        self.remove(&pod.identity.uid);
        let name = self.nodes.get_key_value(node).map_or_else(|| node.into(), |(name, _)| Arc::clone(name));
        let counts = self.classes.entry(Arc::clone(&pod.class)).or_default();
        *counts.entry(Arc::clone(&name)).or_default() += 1;
        self.places.insert(pod.identity.uid.clone(), Arc::clone(&name));
        self.nodes.entry(name).or_default().add(pod);
    }

    /// Counts a pod out; gives what it took.
    pub(crate) fn remove(&mut self, uid: &str) -> Option<Arc<Footprint>> {
        let name = self.places.remove(uid)?;
        let pod = self.nodes.get_mut(&name)?.remove(uid)?;
        if let Some(counts) = self.classes.get_mut(&pod.class) {
            if let Some(count) = counts.get_mut(&name) {
                *count -= 1;
            }
            counts.retain(|_, count| *count > 0);
            if counts.is_empty() {
                self.classes.remove(&pod.class);
            }
        }
        self.tidy(&name);
        Some(pod)
    }

    /// The node that a pod is counted on.
    pub(crate) fn place_of(&self, uid: &str) -> Option<&NodeName> {
        self.places.get(uid)
    }

    /// Classes of pods, and how many of each are on which node.
    pub(crate) fn classes(&self) -> impl Iterator<Item = (&Class, &HashMap<NodeName, i64>)> {
        self.classes.iter().map(|(class, counts)| (&**class, counts))
    }

    /// How many nodes have an image.
    pub(crate) fn nodes_with(&self, image: &str) -> i64 {
        self.images.get(image).copied().unwrap_or(0)
    }

    /// Keeps room on `node` for a pod, or, with none, gives the room up.
    pub(crate) fn nominate(&mut self, pod: &Arc<Footprint>, node: Option<&str>) {
        match node {
            Some(node) => {
                self.nominated.insert(pod.identity.uid.clone(), (node.into(), Arc::clone(pod)));
            }
            None => self.forget_nomination(&pod.identity.uid),
        }
    }

    pub(crate) fn forget_nomination(&mut self, uid: &str) {
        self.nominated.remove(uid);
    }

    /// Pods for which room on `node` is kept against `pod`: those that are at least as important.
    pub(crate) fn kept_against<'s>(
        &'s self,
        pod: &'s Footprint,
        node: &'s str,
    ) -> impl Iterator<Item = &'s Footprint> {
        let all = self.nominated.values().filter(move |(name, _)| &**name == node);
        all.map(|(_, other)| &**other)
            .filter(|other| other.priority >= pod.priority && other.identity.uid != pod.identity.uid)
    }

    fn tidy(&mut self, name: &str) {
        if self.nodes.get(name).is_some_and(|node| node.facts.is_none() && node.pods.is_empty()) {
            self.nodes.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(app: &str) -> Footprint {
        let pod = json!({"metadata": {"name": app, "labels": {"app": app}}, "spec": {"containers": []}});
        Footprint::of(&serde_json::from_value(pod).unwrap()).unwrap()
    }

    #[test]
    fn pods_that_are_alike_share_their_class_and_classes_that_nobody_has_are_forgotten() {
        let mut snapshot = Snapshot::default();
        let mut pods = [pod("a"), pod("a"), pod("b")];
        pods.iter_mut().for_each(|pod| snapshot.share(pod));
        assert!(Arc::ptr_eq(&pods[0].class, &pods[1].class));
        assert_ne!(pods[0].class, pods[2].class);
        snapshot.place(Arc::new(pods[0].clone()), "n");
        let mut third = pod("a");
        snapshot.share(&mut third);
        assert!(Arc::ptr_eq(&third.class, &pods[0].class));
        for number in 0..10 * FEW {
            snapshot.share(&mut pod(&number.to_string()));
        }
        assert!(snapshot.waiting.len() <= FEW + 3, "{}", snapshot.waiting.len());
    }
}
