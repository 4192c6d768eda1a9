//! Pods, of which there are more than of all else together: kept as text, and made into objects for whoever asks.
//!
//! A [`Pod`] with a container takes 10 kB and more, mostly for what it does not say. What is asked of all pods at once is kept
//! beside the text ([`Glance`]), and the pods that were asked for last are kept whole.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use k8s_openapi::api::core::v1::Pod;
use kube::runtime::watcher::Event;
use kube::{Resource, ResourceExt};
use lru::LruCache;

use super::id::Id;
use super::shelf::Keeps;
use super::{is_going, uid_of};
use crate::claim::controller_of;
use crate::pods;

/// How many pods are kept whole: those of a few busy owners. Unwrapped when it is compiled.
const WHOLE: NonZeroUsize = NonZeroUsize::new(512).unwrap();
/// Fewer sets of labels than this are not worth a look for those that nobody has any more.
const FEW: usize = 64;

/// Labels, shared by all pods that have the same.
pub(crate) type Labels = Arc<BTreeMap<String, String>>;

/// What can be asked of all pods without making objects of them.
pub(crate) struct Glance {
    /// The node that it is bound to; empty if it is not.
    pub(crate) node: Box<str>,
    pub(crate) labels: Labels,
    pub(crate) is_finished: bool,
    pub(crate) is_going: bool,
    /// Whether a condition says anything about its disruption.
    pub(crate) is_disrupted: bool,
    /// Whether it has a controller, of whatever kind.
    pub(crate) is_controlled: bool,
    pub(crate) has_finalizers: bool,
    /// Whether it uses claims of volumes.
    pub(crate) has_claims: bool,
    owners: Kinds,
}

/// Of which kinds the owners of a pod are: a bit for each of [`OWNERS`].
type Kinds = u8;

/// The kinds whose controllers want to be told of their pods.
const OWNERS: [&str; 5] = ["ReplicaSet", "ReplicationController", "StatefulSet", "DaemonSet", "Job"];

struct Packed {
    glance: Glance,
    uid: Box<str>,
    text: Box<[u8]>,
}

/// By namespace and name.
type Places = HashMap<Box<str>, HashMap<Box<str>, Packed>>;

#[derive(Default)]
struct Contents {
    places: Places,
    /// What a list that is not over yet has shown.
    coming: Places,
    labels: HashSet<Labels>,
    /// How many sets of labels there may be before those are forgotten that nobody has any more.
    sweep: usize,
}

/// The shelf.
pub(crate) struct Pods {
    contents: RwLock<Contents>,
    /// Never older than `contents`: changed only under its lock.
    whole: Mutex<LruCache<String, Arc<Pod>>>,
}

fn key(namespace: &str, name: &str) -> String {
    format!("{namespace}/{name}")
}

fn bit(kind: &str) -> Kinds {
    OWNERS.iter().position(|known| *known == kind).map_or(0, |at| 1 << at)
}

// === impl Glance ===

impl Glance {
    /// Whether an owner of it, its controller or not, is of one of [`OWNERS`].
    pub(crate) fn is_owned_by<K: Resource<DynamicType = ()>>(&self) -> bool {
        self.owners & bit(&K::kind(&())) != 0
    }
}

// === impl Packed ===

impl Packed {
    fn of(pod: &Pod, labels: Labels) -> Self {
        let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
        let mut claims =
            volumes.filter(|volume| volume.persistent_volume_claim.is_some() || volume.ephemeral.is_some());
        Self {
            glance: Glance {
                node: pods::node_of(pod).into(),
                labels,
                is_finished: pods::is_finished(pod),
                is_going: is_going(pod),
                is_disrupted: pods::condition(pod, pods::DISRUPTION).is_some(),
                is_controlled: controller_of(pod).is_some(),
                has_finalizers: !pod.finalizers().is_empty(),
                has_claims: claims.next().is_some(),
                owners: pod.owner_references().iter().fold(0, |kinds, owner| kinds | bit(&owner.kind)),
            },
            uid: uid_of(pod).into(),
            // Neither a pod nor memory refuses to be written; no text is no pod. Copied to where it fits, as a vector that is cut down
            // leaves a hole behind it.
            text: serde_json::to_vec(pod).unwrap_or_default().as_slice().into(),
        }
    }

    fn pod(&self) -> Option<Arc<Pod>> {
        serde_json::from_slice(&self.text).ok().map(Arc::new)
    }
}

// === impl Contents ===

impl Contents {
    fn pack(&mut self, pod: &Pod) -> Packed {
        let labels = match self.labels.get(pod.labels()) {
            Some(known) => Arc::clone(known),
            None => {
                if self.labels.len() >= self.sweep.max(FEW) {
                    self.labels.retain(|labels| Arc::strong_count(labels) > 1);
                    self.sweep = self.labels.len() * 2;
                }
                let labels = Arc::new(pod.labels().clone());
                self.labels.insert(Arc::clone(&labels));
                labels
            }
        };
        Packed::of(pod, labels)
    }

    fn get(&self, namespace: &str, name: &str) -> Option<&Packed> {
        self.places.get(namespace)?.get(name)
    }

    fn forget(&mut self, namespace: &str, name: &str) {
        let Some(here) = self.places.get_mut(namespace) else { return };
        here.remove(name);
        if here.is_empty() {
            self.places.remove(namespace);
        }
    }
}

fn put(places: &mut Places, pod: &Pod, packed: Packed) {
    let here = places.entry(pod.namespace().unwrap_or_default().into()).or_default();
    here.insert(pod.name_any().into(), packed);
}

// === impl Pods ===

impl Default for Pods {
    fn default() -> Self {
        Self { contents: RwLock::default(), whole: Mutex::new(LruCache::new(WHOLE)) }
    }
}

impl Pods {
    /// The pods, all or those of a namespace, that `wanted` takes.
    pub(super) fn glance(
        &self,
        namespace: Option<&str>,
        mut wanted: impl FnMut(&Glance) -> bool,
    ) -> Vec<Arc<Pod>> {
        let contents = self.contents();
        let here =
            contents.places.iter().filter(|(there, _)| namespace.is_none_or(|wanted| wanted == &***there));
        let pods =
            here.flat_map(|(namespace, pods)| pods.iter().map(move |(name, pod)| (namespace, name, pod)));
        let pods = pods.filter(|(_, _, pod)| wanted(&pod.glance));
        pods.filter_map(|(namespace, name, pod)| self.peek(namespace, name).or_else(|| pod.pod())).collect()
    }

    /// The pod that was there when somebody was told of it, if `wanted` takes it; the others are not made whole for that.
    pub(super) fn pick(&self, id: &Id, wanted: impl Fn(&Id, &Glance) -> bool) -> Option<Arc<Pod>> {
        let is_wanted = self
            .contents()
            .get(&id.namespace, &id.name)
            .is_some_and(|there| there.uid == id.uid && wanted(id, &there.glance));
        if is_wanted { self.still(id) } else { None }
    }

    /// The labels of a pod, shared with all that have the same.
    pub(super) fn labels(&self, namespace: &str, name: &str) -> Option<Labels> {
        self.contents().get(namespace, name).map(|pod| Arc::clone(&pod.glance.labels))
    }

    /// A pod that is whole by chance. A look at many does not make them the last that were asked for.
    fn peek(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        self.whole().peek(&key(namespace, name)).cloned()
    }

    fn contents(&self) -> RwLockReadGuard<'_, Contents> {
        self.contents.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn whole(&self) -> MutexGuard<'_, LruCache<String, Arc<Pod>>> {
        self.whole.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Keeps<Pod> for Pods {
    fn get(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        let contents = self.contents();
        let packed = contents.get(namespace, name)?;
        let key = key(namespace, name);
        if let Some(pod) = self.whole().get(&key) {
            return Some(Arc::clone(pod));
        }
        let pod = packed.pod()?;
        self.whole().put(key, Arc::clone(&pod));
        Some(pod)
    }

    fn filter(&self, namespace: Option<&str>, wanted: &dyn Fn(&Pod) -> bool) -> Vec<Arc<Pod>> {
        let mut pods = self.glance(namespace, |_| true);
        pods.retain(|pod| wanted(pod));
        pods
    }

    fn apply(&self, event: &Event<Pod>) -> Vec<Arc<Pod>> {
        let mut contents = self.contents.write().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Init => contents.coming.clear(),
            Event::InitApply(pod) => {
                let packed = contents.pack(pod);
                put(&mut contents.coming, pod, packed);
            }
            Event::InitDone => {
                let coming = std::mem::take(&mut contents.coming);
                let before = std::mem::replace(&mut contents.places, coming);
                self.whole().clear();
                let before =
                    before.iter().flat_map(|(namespace, pods)| pods.iter().map(move |pod| (namespace, pod)));
                let gone = before.filter(|(namespace, (name, pod))| {
                    contents.get(namespace, name).is_none_or(|there| there.uid != pod.uid)
                });
                return gone.filter_map(|(_, (_, pod))| pod.pod()).collect();
            }
            Event::Apply(pod) => {
                let packed = contents.pack(pod);
                put(&mut contents.places, pod, packed);
                let key = key(&pod.namespace().unwrap_or_default(), &pod.name_any());
                self.whole().put(key, Arc::new(pod.clone()));
            }
            Event::Delete(pod) => {
                let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
                contents.forget(&namespace, &name);
                self.whole().pop(&key(&namespace, &name));
            }
        }
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::DaemonSet;
    use k8s_openapi::api::batch::v1::Job;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
    use serde_json::json;

    use super::*;

    fn pod(name: &str, uid: &str, node: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "ns", "uid": uid, "labels": {"app": "web"}},
            "spec": {"containers": [{"name": "c", "image": "i"}], "nodeName": node},
            "status": {"phase": "Running"},
        }))
        .unwrap()
    }

    fn names(pods: &[Arc<Pod>]) -> String {
        let mut names: Vec<_> = pods.iter().map(|pod| pod.name_any()).collect();
        names.sort();
        names.join(" ")
    }

    #[test]
    fn what_was_put_in_comes_out_the_same_whole_or_not() {
        let shelf = Pods::default();
        for number in 0..WHOLE.get() + 10 {
            assert!(shelf.apply(&Event::Apply(pod(&format!("p{number}"), "u", "n"))).is_empty());
        }
        for number in [0, 5, WHOLE.get()] {
            let name = format!("p{number}");
            assert_eq!(*shelf.get("ns", &name).unwrap(), pod(&name, "u", "n"));
        }
        assert!(shelf.get("ns", "other").is_none() && shelf.get("other", "p0").is_none());
        assert_eq!(shelf.contents().labels.len(), 1);
        shelf.apply(&Event::Apply(pod("p0", "u", "m")));
        assert_eq!(*shelf.get("ns", "p0").unwrap(), pod("p0", "u", "m"));
        assert_eq!(names(&shelf.glance(Some("ns"), |pod| &*pod.node == "m")), "p0");
        assert_eq!(names(&shelf.filter(None, &|pod| pods::node_of(pod) == "m")), "p0");
    }

    #[test]
    fn only_pods_that_are_wanted_are_made_whole() {
        let shelf = Pods::default();
        let mut owned = pod("owned", "u", "n");
        owned.metadata.owner_references = Some(vec![OwnerReference {
            kind: "DaemonSet".to_owned(),
            controller: Some(true),
            ..OwnerReference::default()
        }]);
        for pod in [&owned, &pod("free", "u", "n")] {
            shelf.apply(&Event::Init);
            shelf.apply(&Event::InitApply(pod.clone()));
            shelf.apply(&Event::InitDone);
            let picked = |wanted: fn(&Id, &Glance) -> bool| shelf.pick(&Id::of(pod), wanted).is_some();
            let is_owned = pod.name_any() == "owned";
            assert_eq!(picked(|_, pod| pod.is_owned_by::<DaemonSet>() && pod.is_controlled), is_owned);
            assert_eq!(picked(|_, pod| !pod.is_controlled && !pod.is_owned_by::<DaemonSet>()), !is_owned);
            assert!(!picked(|_, pod| pod.is_owned_by::<Job>() || pod.has_claims || pod.has_finalizers));
            let other = Id { uid: "other".into(), ..Id::of(pod) };
            assert!(shelf.pick(&other, |_, _| true).is_none());
        }
    }

    #[test]
    fn a_new_list_replaces_all_and_tells_what_went_meanwhile() {
        let shelf = Pods::default();
        for name in ["a", "b", "c"] {
            shelf.apply(&Event::Apply(pod(name, "1", "n")));
        }
        shelf.apply(&Event::Delete(pod("c", "1", "n")));
        shelf.apply(&Event::Init);
        shelf.apply(&Event::InitApply(pod("a", "1", "n")));
        shelf.apply(&Event::InitApply(pod("d", "1", "n")));
        assert_eq!(
            names(&shelf.glance(None, |_| true)),
            "a b",
            "the old list is good until the new one is whole"
        );
        assert_eq!(names(&shelf.apply(&Event::InitDone)), "b");
        assert_eq!(names(&shelf.glance(None, |_| true)), "a d");
        shelf.apply(&Event::Init);
        shelf.apply(&Event::InitApply(pod("a", "2", "n")));
        assert_eq!(names(&shelf.apply(&Event::InitDone)), "a d", "a namesake is another pod");
        assert_eq!(shelf.get("ns", "a").unwrap().metadata.uid.as_deref(), Some("2"));
    }

    #[test]
    fn labels_that_nobody_has_are_forgotten() {
        let shelf = Pods::default();
        for number in 0..10 * FEW {
            let mut pod = pod("p", "u", "n");
            pod.labels_mut().insert("number".to_owned(), number.to_string());
            shelf.apply(&Event::Apply(pod));
        }
        assert!(shelf.contents().labels.len() <= FEW);
    }
}
