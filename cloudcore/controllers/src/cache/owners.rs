//! Which objects of a cache each owner controls, and which nobody does: what a controller looks at again and again among thousands.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::Resource;

use super::id::Id;

/// Whose an object is.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Owner {
    /// Of both: an owner in another namespace is none.
    pub(super) namespace: String,
    /// Of the controller; none if it is nobody's.
    pub(super) uid: Option<String>,
}

/// The names of all objects, by owner. Changes after the store and before the readers are told.
#[derive(Default)]
pub(super) struct Owners(Mutex<Index>);

#[derive(Default)]
struct Index {
    owners: HashMap<Arc<Id>, Arc<Owner>>,
    owned: HashMap<Arc<Owner>, HashSet<Arc<Id>>>,
}

/// Whose `object` is.
pub(super) fn owner_of<K: Resource>(object: &K) -> Owner {
    let meta = object.meta();
    let mut owners = meta.owner_references.iter().flatten();
    let controller = owners.find(|owner| owner.controller == Some(true));
    Owner {
        namespace: meta.namespace.clone().unwrap_or_default(),
        uid: controller.map(|owner| owner.uid.clone()),
    }
}

// === impl Owners ===

impl Owners {
    /// Whose `object` is now. What is known of it is shared from here on.
    pub(super) fn set<K: Resource>(&self, id: Id, object: &K) -> Arc<Id> {
        self.index().set(id, owner_of(object))
    }

    pub(super) fn forget(&self, id: &Id) {
        self.index().forget(id);
    }

    /// Forgets all that are not among these.
    pub(super) fn retain(&self, there: &HashSet<Arc<Id>>) {
        let mut index = self.index();
        let gone: Vec<_> = index.owners.keys().filter(|id| !there.contains(*id)).cloned().collect();
        gone.iter().for_each(|id| index.forget(id));
    }

    pub(super) fn of(&self, owner: &Owner) -> Vec<Arc<Id>> {
        self.index().owned.get(owner).into_iter().flatten().cloned().collect()
    }

    /// Every object.
    pub(super) fn all(&self) -> Vec<Arc<Id>> {
        self.index().owners.keys().cloned().collect()
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Index ===

impl Index {
    fn set(&mut self, id: Id, owner: Owner) -> Arc<Id> {
        if let Some((known, before)) = self.owners.get_key_value(&id)
            && **before == owner
        {
            return Arc::clone(known);
        }
        self.forget(&id);
        let id = Arc::new(id);
        let owner = self
            .owned
            .get_key_value(&owner)
            .map_or_else(|| Arc::new(owner.clone()), |(known, _)| Arc::clone(known));
        self.owned.entry(Arc::clone(&owner)).or_default().insert(Arc::clone(&id));
        self.owners.insert(Arc::clone(&id), owner);
        id
    }

    fn forget(&mut self, id: &Id) {
        let Some(owner) = self.owners.remove(id) else { return };
        if let Some(owned) = self.owned.get_mut(&owner) {
            owned.remove(id);
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
            let mut names: Vec<_> = owners.of(&owner).into_iter().map(|id| id.name.to_string()).collect();
            names.sort();
            names.join(" ")
        };
        let set = |name: &str, controller: Option<&str>| {
            let object = object(name, controller);
            owners.set(Id::of(&object), &object)
        };
        let (one, nobody) = (|| owner(Some("1")), || owner(None));
        for (name, controller) in [("a", Some("1")), ("b", Some("1")), ("c", None), ("d", Some("2"))] {
            set(name, controller);
        }
        assert_eq!((names(one()), names(nobody())), ("a b".to_owned(), "c".to_owned()));
        set("b", None);
        set("c", Some("1"));
        assert_eq!((names(one()), names(nobody())), ("a c".to_owned(), "b".to_owned()));
        owners.forget(&Id::of(&object("a", None)));
        assert_eq!(names(one()), "c");
        let z = set("z", Some("1"));
        assert!(Arc::ptr_eq(&z, &set("z", Some("1"))));
        owners.retain(&[Arc::clone(&z)].into());
        assert_eq!((names(one()), names(nobody())), ("z".to_owned(), String::new()));
        owners.forget(&z);
        assert!(owners.index().owned.is_empty() && owners.index().owners.is_empty());
    }
}
