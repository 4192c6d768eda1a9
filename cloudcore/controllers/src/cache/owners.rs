//! Which objects of a cache each owner controls, and which nobody does: what a controller looks at again and again among thousands.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::runtime::reflector::ObjectRef;

use super::Cached;

/// Whose an object is.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Owner {
    /// Of both: an owner in another namespace is none.
    pub(super) namespace: String,
    /// Of the controller; none if it is nobody's.
    pub(super) uid: Option<String>,
}

/// The names of all objects, by owner. Changes after the store and before the readers are told.
pub(super) struct Owners<K: Cached>(Mutex<Index<K>>);

struct Index<K: Cached> {
    owners: HashMap<ObjectRef<K>, Owner>,
    owned: HashMap<Owner, HashSet<ObjectRef<K>>>,
}

/// Whose `object` is.
pub(super) fn owner_of<K: Cached>(object: &K) -> Owner {
    let meta = object.meta();
    let mut owners = meta.owner_references.iter().flatten();
    let controller = owners.find(|owner| owner.controller == Some(true));
    Owner {
        namespace: meta.namespace.clone().unwrap_or_default(),
        uid: controller.map(|owner| owner.uid.clone()),
    }
}

// === impl Owners ===

impl<K: Cached> Default for Owners<K> {
    fn default() -> Self {
        Self(Mutex::new(Index { owners: HashMap::new(), owned: HashMap::new() }))
    }
}

impl<K: Cached> Owners<K> {
    pub(super) fn set(&self, object: &K) {
        self.index().set(object);
    }

    pub(super) fn forget(&self, object: &K) {
        self.index().forget(&ObjectRef::from_obj(object));
    }

    /// Knows these and no others.
    pub(super) fn reset(&self, objects: &[Arc<K>]) {
        let mut index = self.index();
        index.owners.clear();
        index.owned.clear();
        objects.iter().for_each(|object| index.set(&**object));
    }

    pub(super) fn of(&self, owner: &Owner) -> Vec<ObjectRef<K>> {
        self.index().owned.get(owner).into_iter().flatten().cloned().collect()
    }

    fn index(&self) -> MutexGuard<'_, Index<K>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Index ===

impl<K: Cached> Index<K> {
    fn set(&mut self, object: &K) {
        let (name, owner) = (ObjectRef::from_obj(object), owner_of(object));
        if self.owners.get(&name) != Some(&owner) {
            self.forget(&name);
            self.owned.entry(owner.clone()).or_default().insert(name.clone());
            self.owners.insert(name, owner);
        }
    }

    fn forget(&mut self, name: &ObjectRef<K>) {
        let Some(owner) = self.owners.remove(name) else { return };
        if let Some(owned) = self.owned.get_mut(&owner) {
            owned.remove(name);
            if owned.is_empty() {
                self.owned.remove(&owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

    use super::*;

    fn object(name: &str, controller: Option<&str>) -> ConfigMap {
        let mut object = ConfigMap::default();
        object.metadata.name = Some(name.to_owned());
        object.metadata.namespace = Some("ns".to_owned());
        let controller = controller.map(|uid| OwnerReference {
            controller: Some(true),
            uid: uid.to_owned(),
            ..OwnerReference::default()
        });
        let other = OwnerReference { uid: "other".to_owned(), ..OwnerReference::default() };
        object.metadata.owner_references = Some([Some(other), controller].into_iter().flatten().collect());
        object
    }

    #[test]
    fn objects_are_found_by_their_newest_owner_and_nothing_is_kept_of_those_that_went() {
        let owners = Owners::default();
        let owner = |uid: Option<&str>| Owner { namespace: "ns".to_owned(), uid: uid.map(str::to_owned) };
        let names = |owner: Owner| {
            let mut names: Vec<_> = owners.of(&owner).into_iter().map(|object| object.name).collect();
            names.sort();
            names.join(" ")
        };
        let (one, nobody) = (|| owner(Some("1")), || owner(None));
        for (name, controller) in [("a", Some("1")), ("b", Some("1")), ("c", None), ("d", Some("2"))] {
            owners.set(&object(name, controller));
        }
        assert_eq!((names(one()), names(nobody())), ("a b".to_owned(), "c".to_owned()));
        owners.set(&object("b", None));
        owners.set(&object("c", Some("1")));
        assert_eq!((names(one()), names(nobody())), ("a c".to_owned(), "b".to_owned()));
        owners.forget(&object("a", None));
        assert_eq!(names(one()), "c");
        owners.reset(&[Arc::new(object("z", Some("1")))]);
        assert_eq!((names(one()), names(nobody())), ("z".to_owned(), String::new()));
        owners.forget(&object("z", Some("1")));
        assert!(owners.index().owned.is_empty() && owners.index().owners.is_empty());
    }
}
