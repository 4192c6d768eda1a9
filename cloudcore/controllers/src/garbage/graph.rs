//! Who owns whom. Pure: what was seen goes in, what is worth a look comes out.
//!
//! A node stands for an object. It is *observed* once a watch has told of it; before that it is only known from the references of what it
//! owns, which may be wrong about its kind, name or namespace. Lean, because everything in the cluster is here: kinds, namespaces and uids
//! are shared texts.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::absent::Absent;

/// An object's uid.
pub(super) type Uid = Arc<str>;

/// `apiVersion` and `kind`.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Kind {
    pub(super) api_version: Box<str>,
    pub(super) kind: Box<str>,
}

/// Where an object is. The namespace is empty for objects of the cluster.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Place {
    pub(super) kind: Arc<Kind>,
    pub(super) namespace: Arc<str>,
    pub(super) name: Arc<str>,
}

/// A reference to an owner.
#[derive(Clone, Debug, PartialEq)]
struct Owner {
    uid: Uid,
    kind: Arc<Kind>,
    name: Arc<str>,
    blocks: bool,
}

struct Node {
    place: Place,
    owners: Box<[Owner]>,
    dependents: HashSet<Uid>,
    observed: bool,
    going: bool,
    /// Its finalizer waits until its dependents are gone.
    waits: bool,
    /// Its finalizer waits until its dependents forgot it.
    orphans: bool,
    /// The listing of its kind that last contained it.
    epoch: u32,
}

/// An object whose owner is in another namespace, which cannot be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Misplaced {
    pub(super) uid: Uid,
    pub(super) place: Place,
    /// The owner as the reference says it, in the namespace of the object.
    pub(super) owner: (Uid, Place),
}

/// What follows from what was seen.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Effects {
    /// Look whether these have to go.
    pub(super) examine: Vec<Uid>,
    /// Make the dependents of these forget them.
    pub(super) orphan: Vec<Uid>,
    pub(super) misplaced: Vec<Misplaced>,
}

/// A node as a worker needs it.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) uid: Uid,
    pub(super) place: Place,
    pub(super) observed: bool,
    pub(super) going: bool,
    pub(super) waits: bool,
    pub(super) orphans: bool,
    /// Dependents that keep it from going.
    pub(super) blocking: Vec<Uid>,
    /// Those among them that do not wait for dependents of their own.
    pub(super) idle: Vec<Uid>,
    pub(super) has_dependents: bool,
    /// A dependent waits for dependents of its own: there may be a circle.
    pub(super) maybe_circle: bool,
}

/// All objects and their owners.
#[derive(Default)]
pub(super) struct Graph {
    nodes: HashMap<Uid, Node>,
    epochs: HashMap<Arc<Kind>, u32>,
    kinds: HashSet<Arc<Kind>>,
    namespaces: HashSet<Arc<str>>,
    /// Owners that are known not to be.
    pub(super) absent: Arc<Absent>,
}

// === impl Graph ===

impl Graph {
    /// How many objects are known.
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The shared text of a kind.
    pub(super) fn kind(&mut self, api_version: &str, kind: &str) -> Arc<Kind> {
        let kind = Kind { api_version: api_version.into(), kind: kind.into() };
        if let Some(known) = self.kinds.get(&kind) {
            return Arc::clone(known);
        }
        let kind = Arc::new(kind);
        self.kinds.retain(|known| Arc::strong_count(known) > 1);
        self.kinds.insert(Arc::clone(&kind));
        kind
    }

    fn namespace(&mut self, namespace: &str) -> Arc<str> {
        if let Some(known) = self.namespaces.get(namespace) {
            return Arc::clone(known);
        }
        let namespace: Arc<str> = namespace.into();
        self.namespaces.retain(|known| Arc::strong_count(known) > 1);
        self.namespaces.insert(Arc::clone(&namespace));
        namespace
    }

    fn uid(&self, uid: &str) -> Uid {
        self.nodes.get_key_value(uid).map_or_else(|| uid.into(), |(known, _)| Arc::clone(known))
    }

    fn owner(&mut self, reference: &OwnerReference) -> Owner {
        Owner {
            uid: self.uid(&reference.uid),
            kind: self.kind(&reference.api_version, &reference.kind),
            name: reference.name.as_str().into(),
            blocks: reference.block_owner_deletion == Some(true),
        }
    }

    /// All objects of `kind` are about to be told anew.
    pub(super) fn begin(&mut self, kind: &Arc<Kind>) {
        *self.epochs.entry(Arc::clone(kind)).or_default() += 1;
    }

    /// They all were told: the others are gone.
    pub(super) fn end(&mut self, kind: &Arc<Kind>, effects: &mut Effects) {
        let epoch = self.epoch(kind);
        let gone: Vec<Uid> = self
            .nodes
            .iter()
            .filter(|(_, node)| node.observed && node.place.kind == *kind && node.epoch != epoch)
            .map(|(uid, _)| Arc::clone(uid))
            .collect();
        gone.iter().for_each(|uid| self.gone(uid, effects));
    }

    fn epoch(&self, kind: &Arc<Kind>) -> u32 {
        self.epochs.get(kind).copied().unwrap_or_default()
    }

    /// An object is there in this state.
    pub(super) fn seen(&mut self, kind: &Arc<Kind>, meta: &ObjectMeta, effects: &mut Effects) {
        let Some(uid) = meta.uid.as_deref().map(|uid| self.uid(uid)) else { return };
        let place = Place {
            kind: Arc::clone(kind),
            namespace: self.namespace(meta.namespace.as_deref().unwrap_or_default()),
            name: meta.name.as_deref().unwrap_or_default().into(),
        };
        let owners: Box<[Owner]> =
            meta.owner_references.iter().flatten().map(|reference| self.owner(reference)).collect();
        let has = |name: &str| meta.finalizers.iter().flatten().any(|finalizer| finalizer == name);
        let going = meta.deletion_timestamp.is_some();
        let (waits, orphans) = (going && has("foregroundDeletion"), going && has("orphan"));
        let epoch = self.epoch(kind);

        let found = self.nodes.contains_key(&uid);
        if found {
            self.identified(&uid, &place, effects);
        }
        let node = self.nodes.entry(Arc::clone(&uid)).or_insert_with(|| Node {
            place,
            owners: Box::default(),
            dependents: HashSet::new(),
            observed: true,
            going: false,
            waits: false,
            orphans: false,
            epoch,
        });
        node.epoch = epoch;
        node.going = going;
        let (waited, orphaned) =
            (std::mem::replace(&mut node.waits, waits), std::mem::replace(&mut node.orphans, orphans));
        let before = std::mem::replace(&mut node.owners, owners.clone());
        if *before != *owners {
            self.owners_changed(&uid, &before, &owners, effects);
        }
        if orphans && !orphaned {
            effects.orphan.push(uid);
        } else if waits && !waited {
            if let Some(node) = self.nodes.get(&uid) {
                effects.examine.extend(node.dependents.iter().cloned());
            }
            effects.examine.push(uid);
        }
    }

    /// A node that was only heard of is seen for the first time: those that had it wrong are to be looked at.
    fn identified(&mut self, uid: &Uid, place: &Place, effects: &mut Effects) {
        let Some(node) = self.nodes.get_mut(uid) else { return };
        if std::mem::replace(&mut node.observed, true) || node.place == *place {
            return;
        }
        node.place = place.clone();
        let (_, wrong) = self.partition(uid, place);
        for dependent in wrong {
            let Some(node) = self.nodes.get(&dependent) else { continue };
            if !place.namespace.is_empty() && node.place.namespace != place.namespace {
                effects.misplaced.extend(misplaced(&dependent, node, uid));
            }
            effects.examine.push(dependent);
        }
    }

    fn owners_changed(&mut self, uid: &Uid, before: &[Owner], after: &[Owner], effects: &mut Effects) {
        for old in before {
            let new = after.iter().find(|new| new.uid == old.uid);
            if new.is_none()
                && let Some(owner) = self.nodes.get_mut(&old.uid)
            {
                owner.dependents.remove(uid);
            }
            if old.blocks && !new.is_some_and(|new| new.blocks) && self.nodes.contains_key(&old.uid) {
                effects.examine.push(Arc::clone(&old.uid));
            }
        }
        let Some(namespace) = self.nodes.get(uid).map(|node| Arc::clone(&node.place.namespace)) else {
            return;
        };
        let mut doubtful = false;
        for owner in after {
            let is_new = before.iter().all(|old| old.uid != owner.uid);
            if !is_new {
                continue;
            }
            let Some(node) = self.nodes.get_mut(&owner.uid) else {
                let place = Place {
                    kind: Arc::clone(&owner.kind),
                    namespace: Arc::clone(&namespace),
                    name: Arc::clone(&owner.name),
                };
                self.nodes.insert(
                    Arc::clone(&owner.uid),
                    Node {
                        place,
                        owners: Box::default(),
                        dependents: HashSet::from([Arc::clone(uid)]),
                        observed: false,
                        going: false,
                        waits: false,
                        orphans: false,
                        epoch: 0,
                    },
                );
                effects.examine.push(Arc::clone(&owner.uid));
                continue;
            };
            node.dependents.insert(Arc::clone(uid));
            if doubtful {
                continue;
            }
            let (place, observed) = (node.place.clone(), node.observed);
            if !place.namespace.is_empty() && place.namespace != namespace {
                doubtful = true;
                if observed && let Some(node) = self.nodes.get(uid) {
                    effects.misplaced.extend(misplaced(uid, node, &owner.uid));
                }
            } else if place.kind != owner.kind || place.name != owner.name {
                doubtful = true;
            }
        }
        if doubtful {
            effects.examine.push(Arc::clone(uid));
        }
    }

    /// An object is gone: its dependents are to be looked at, and the owners that waited for it.
    pub(super) fn gone(&mut self, uid: &str, effects: &mut Effects) {
        let Some((uid, node)) = self.nodes.remove_entry(uid) else { return };
        for owner in &node.owners {
            if let Some(owner_node) = self.nodes.get_mut(&owner.uid) {
                owner_node.dependents.remove(&uid);
                if owner_node.waits {
                    effects.examine.push(Arc::clone(&owner.uid));
                }
            }
        }
        if !node.dependents.is_empty() {
            self.absent.add(&uid, &node.place);
            effects.examine.extend(node.dependents);
        }
    }

    /// A live read found nothing with this uid at `place`.
    pub(super) fn not_there(&mut self, uid: &Uid, place: &Place, effects: &mut Effects) {
        let Some(node) = self.nodes.get(uid) else { return };
        if node.observed && node.place == *place {
            return self.gone(uid, effects);
        }
        let (right, wrong) = self.partition(uid, place);
        if !node.observed && wrong.is_empty() {
            return self.gone(uid, effects);
        }
        if !right.is_empty() {
            self.absent.add(uid, place);
            effects.examine.extend(right);
        }
        // Others say that it is elsewhere; that is to be looked at next.
        if !node.observed
            && node.place == *place
            && let Some(other) = wrong.iter().find_map(|dependent| self.said_by(dependent, uid))
            && let Some(node) = self.nodes.get_mut(uid)
        {
            node.place = other;
            effects.examine.push(Arc::clone(uid));
        }
    }

    /// Where the reference of `dependent` says that `owner` is.
    fn said_by(&self, dependent: &Uid, owner: &Uid) -> Option<Place> {
        let node = self.nodes.get(dependent)?;
        let said = node.owners.iter().find(|said| said.uid == *owner)?;
        Some(Place {
            kind: Arc::clone(&said.kind),
            namespace: Arc::clone(&node.place.namespace),
            name: Arc::clone(&said.name),
        })
    }

    /// The dependents of `uid` whose references say that it is at `place`, and the others.
    fn partition(&self, uid: &Uid, place: &Place) -> (Vec<Uid>, Vec<Uid>) {
        let dependents = self.nodes.get(uid).into_iter().flat_map(|node| node.dependents.iter().cloned());
        dependents.partition(|dependent| {
            self.said_by(dependent, uid).is_some_and(|said| {
                let here = place.namespace.is_empty() || place.namespace == said.namespace;
                here && said.kind == place.kind && said.name == place.name
            })
        })
    }

    /// A node for a worker.
    pub(super) fn item(&self, uid: &Uid) -> Option<Item> {
        let node = self.nodes.get(uid)?;
        let dependents =
            || node.dependents.iter().filter_map(|dependent| Some((dependent, self.nodes.get(dependent)?)));
        let blocks =
            |dependent: &Node| dependent.owners.iter().any(|owner| owner.uid == *uid && owner.blocks);
        let blocking: Vec<_> = dependents().filter(|(_, dependent)| blocks(dependent)).collect();
        let idle = blocking.iter().filter(|(_, dependent)| !dependent.waits);
        Some(Item {
            uid: Arc::clone(uid),
            place: node.place.clone(),
            observed: node.observed,
            going: node.going,
            waits: node.waits,
            orphans: node.orphans,
            idle: idle.map(|(uid, _)| Arc::clone(uid)).collect(),
            blocking: blocking.into_iter().map(|(uid, _)| Arc::clone(uid)).collect(),
            has_dependents: !node.dependents.is_empty(),
            maybe_circle: dependents().any(|(_, dependent)| dependent.waits),
        })
    }

    /// What an object owns.
    pub(super) fn dependents(&self, uid: &Uid) -> Vec<(Uid, Place)> {
        let dependents = self.nodes.get(uid).into_iter().flat_map(|node| &node.dependents);
        dependents.filter_map(|uid| Some((Arc::clone(uid), self.nodes.get(uid)?.place.clone()))).collect()
    }
}

fn misplaced(uid: &Uid, node: &Node, owner: &Uid) -> Option<Misplaced> {
    let said = node.owners.iter().find(|said| said.uid == *owner)?;
    let place = Place {
        kind: Arc::clone(&said.kind),
        namespace: Arc::clone(&node.place.namespace),
        name: Arc::clone(&said.name),
    };
    Some(Misplaced { uid: Arc::clone(uid), place: node.place.clone(), owner: (Arc::clone(owner), place) })
}

#[cfg(test)]
mod tests;
