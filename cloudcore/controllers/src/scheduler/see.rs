//! Takes note of changes: what is taken where, who needs a node, and whom a change may help.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use tokio::time::Instant;

use super::SCHEDULER;
use super::api::Unscheduled;
use super::feed::Change;
use super::filter::{Candidate, node_rules};
use super::node::Facts;
use super::pending::Pending;
use super::pod::Footprint;
use super::queue::Needs;
use super::volumes::{Claim, Class, Volume};
use super::worker::Worker;
use crate::cache::{is_going, uid_of};
use crate::pods;

impl Worker {
    /// Takes note of a change; what it says is looked up anew, so that no order of changes misleads.
    pub(super) fn see(&mut self, change: &Change) {
        match change {
            Change::Pod(pod) => self.see_pod(pod),
            Change::Node(node) => self.see_node(&node.name_any()),
            Change::Namespace(namespace) => {
                let labels = self.context.caches.namespaces.named(&namespace.name_any());
                let labels = labels.map(|namespace| namespace.labels().clone());
                if set(&mut self.snapshot.namespaces, namespace.name_any(), labels) {
                    self.wake(|needs| needs.pods || needs.fewer_pods);
                }
            }
            Change::Claim(claim) => {
                let (namespace, name) = (claim.namespace().unwrap_or_default(), claim.name_any());
                let now = self.context.caches.persistent_volume_claims.get(&namespace, &name);
                let changed = set(
                    &mut self.snapshot.volumes.claims,
                    (namespace, name),
                    now.map(|claim| Claim::of(&claim)),
                );
                self.wake_for_volumes(changed);
            }
            Change::Volume(volume) => {
                let name = volume.name_any();
                let now = self.context.caches.persistent_volumes.named(&name);
                let changed =
                    set(&mut self.snapshot.volumes.volumes, name, now.map(|volume| Volume::of(&volume)));
                self.wake_for_volumes(changed);
            }
            Change::Class(class) => {
                let name = class.name_any();
                let now = self.context.caches.storage_classes.named(&name);
                let changed =
                    set(&mut self.snapshot.volumes.classes, name, now.map(|class| Class::of(&class)));
                self.wake_for_volumes(changed);
            }
        }
    }

    fn see_node(&mut self, name: &str) {
        let node = self.context.caches.nodes.named(name);
        if self.snapshot.set_node(name, node.map(|node| Facts::of(&node))) {
            self.wake_for_node(name, |needs| needs.pods || needs.fewer_pods || needs.volumes);
        }
    }

    fn see_pod(&mut self, pod: &Pod) {
        let uid = uid_of(pod);
        let namespace = pod.namespace().unwrap_or_default();
        let newest = self.context.caches.pods.get(&namespace, &pod.name_any());
        let Some(pod) = newest.filter(|newest| uid_of(&**newest) == uid && !pods::is_finished(newest)) else {
            self.assumed.remove(&uid);
            self.queue.remove(&uid);
            self.snapshot.forget_nomination(&uid);
            self.leave(&uid);
            return;
        };
        match pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).filter(|node| !node.is_empty()) {
            Some(node) => self.see_bound(&pod, node),
            None => self.see_unbound(&pod),
        }
    }

    fn see_bound(&mut self, pod: &Pod, node: &str) {
        let uid = uid_of(pod);
        self.assumed.remove(&uid);
        self.queue.remove(&uid);
        self.snapshot.forget_nomination(&uid);
        let Some(mut footprint) = Footprint::of(pod) else { return };
        self.snapshot.share(&mut footprint);
        let old = self.snapshot.place_of(&uid).filter(|old| &***old == node);
        let old = old.and_then(|old| self.snapshot.node(old)?.pods.get(&uid));
        if old.is_some_and(|old| old.class == footprint.class && old.requests == footprint.requests) {
            return;
        }
        let smaller = old.is_some();
        self.snapshot.place(Arc::new(footprint), node);
        if smaller {
            self.wake_for_node(node, |needs| needs.pods || needs.fewer_pods);
        } else {
            self.wake(|needs| needs.pods);
        }
    }

    fn see_unbound(&mut self, pod: &Arc<Pod>) {
        let uid = uid_of(&**pod);
        let spec = pod.spec.as_ref();
        let mine = spec.and_then(|spec| spec.scheduler_name.as_deref()).is_none_or(|name| name == SCHEDULER);
        if !mine || is_going(&**pod) {
            self.queue.remove(&uid);
            self.snapshot.forget_nomination(&uid);
            return;
        }
        if self.assumed.contains_key(&uid) {
            return;
        }
        if spec.is_some_and(|spec| spec.scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty())) {
            self.queue.remove(&uid);
            let message = "Scheduling is blocked due to non-empty scheduling gates".to_owned();
            self.tell(pod, &Unscheduled { reason: "SchedulingGated", message }, None);
            return;
        }
        let Some(mut pending) = Pending::of(pod) else { return };
        self.snapshot.share(&mut pending.footprint);
        self.snapshot.nominate(&Arc::new(pending.footprint.clone()), pending.nominated.as_deref());
        self.queue.put(Arc::new(pending), Instant::now());
    }

    /// Counts a pod out.
    pub(super) fn leave(&mut self, uid: &str) {
        let Some(node) = self.snapshot.place_of(uid).cloned() else { return };
        self.snapshot.remove(uid);
        self.wake_for_node(&node, |needs| needs.fewer_pods);
    }

    /// Tries those again whose needs `helps` says yes of.
    pub(super) fn wake(&mut self, helps: impl Fn(Needs) -> bool) {
        self.queue.wake(Instant::now(), |_, needs| helps(needs));
    }

    fn wake_for_volumes(&mut self, changed: bool) {
        if changed {
            self.wake(|needs| needs.volumes);
        }
    }

    /// Tries those again that `name` would now do for as far as the node itself goes, and those that `helps` says yes of.
    fn wake_for_node(&mut self, name: &str, helps: impl Fn(Needs) -> bool) {
        let snapshot = &self.snapshot;
        let node = snapshot.node(name).and_then(|node| Some((node, node.facts.as_ref()?)));
        self.queue.wake(Instant::now(), |pod, needs| {
            let fits = |(node, facts)| node_rules(snapshot, pod, Candidate { name, node, facts }).is_ok();
            helps(needs) || node.is_some_and(fits)
        });
    }
}

/// Puts a value, or removes it; true if that changed something.
fn set<K: Hash + Eq, V: PartialEq>(map: &mut HashMap<K, V>, key: K, value: Option<V>) -> bool {
    if map.get(&key) == value.as_ref() {
        return false;
    }
    match value {
        Some(value) => drop(map.insert(key, value)),
        None => drop(map.remove(&key)),
    }
    true
}
