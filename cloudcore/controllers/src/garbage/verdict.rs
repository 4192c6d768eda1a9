//! Whether an object has to go, from what live reads said about its owners. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::PropagationPolicy;

use super::graph::Item;

/// How it stands with an owner.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Standing {
    /// It is there and stays.
    Solid,
    /// It is not there.
    Dangling,
    /// It goes, once what it owns is gone.
    Waiting,
}

/// What is to be done with an object.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Verdict {
    /// It has all it needs.
    Keep,
    /// It has an owner, but not these; it is left with the references here.
    Disown(Vec<OwnerReference>),
    /// It has nobody.
    Delete {
        policy: PropagationPolicy,
        /// It may wait for itself in a circle: let its references block nobody first.
        unblock: bool,
    },
}

/// Judges `item`, whose live metadata is `live`, by the standing of each of its owners, in their order.
pub(super) fn verdict(item: &Item, live: &ObjectMeta, standings: &[Standing]) -> Verdict {
    let owners = live.owner_references.as_deref().unwrap_or_default();
    if owners.is_empty() {
        return Verdict::Keep;
    }
    let any = |standing| standings.contains(&standing);
    let has = |name: &str| live.finalizers.iter().flatten().any(|finalizer| finalizer == name);
    if any(Standing::Solid) {
        if standings.iter().all(|standing| *standing == Standing::Solid) {
            return Verdict::Keep;
        }
        let solid = owners.iter().zip(standings).filter(|(_, standing)| **standing == Standing::Solid);
        return Verdict::Disown(solid.map(|(owner, _)| owner.clone()).collect());
    }
    if any(Standing::Waiting) && item.has_dependents {
        return Verdict::Delete { policy: PropagationPolicy::Foreground, unblock: item.maybe_circle };
    }
    let policy = match () {
        () if has("orphan") => PropagationPolicy::Orphan,
        () if has("foregroundDeletion") => PropagationPolicy::Foreground,
        () => PropagationPolicy::Background,
    };
    Verdict::Delete { policy, unblock: false }
}

/// Its references, none of which blocks an owner.
pub(super) fn unblocked(live: &ObjectMeta) -> Vec<OwnerReference> {
    let owners = live.owner_references.iter().flatten().cloned();
    owners.map(|owner| OwnerReference { block_owner_deletion: Some(false), ..owner }).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::graph::{Kind, Place};
    use super::Standing::{Dangling, Solid, Waiting};
    use super::*;

    fn item(dependents: bool, maybe_circle: bool) -> Item {
        let kind = Arc::new(Kind { api_version: "v1".into(), kind: "Pod".into() });
        Item {
            uid: "1".into(),
            place: Place { kind, namespace: "ns".into(), name: "p".into() },
            observed: true,
            going: false,
            waits: false,
            orphans: false,
            blocking: Vec::new(),
            idle: Vec::new(),
            has_dependents: dependents,
            maybe_circle,
        }
    }

    fn live(owners: usize, finalizers: &[&str]) -> ObjectMeta {
        let owner = |uid: usize| OwnerReference {
            uid: uid.to_string(),
            block_owner_deletion: Some(true),
            ..OwnerReference::default()
        };
        ObjectMeta {
            owner_references: Some((0..owners).map(owner).collect()),
            finalizers: Some(finalizers.iter().map(|one| (*one).to_owned()).collect()),
            ..ObjectMeta::default()
        }
    }

    fn deletes(policy: PropagationPolicy, unblock: bool) -> Verdict {
        Verdict::Delete { policy, unblock }
    }

    #[test]
    fn one_solid_owner_keeps_an_object_and_the_others_are_forgotten() {
        assert_eq!(verdict(&item(false, false), &live(0, &[]), &[]), Verdict::Keep);
        assert_eq!(verdict(&item(false, false), &live(2, &[]), &[Solid, Solid]), Verdict::Keep);
        let Verdict::Disown(left) = verdict(&item(false, false), &live(3, &[]), &[Dangling, Solid, Waiting])
        else {
            panic!("not disowned");
        };
        assert_eq!(left.iter().map(|owner| owner.uid.as_str()).collect::<Vec<_>>(), ["1"]);
    }

    #[test]
    fn an_object_without_a_solid_owner_goes_as_its_owners_and_finalizers_want_it() {
        let says = |dependents, circle, finalizers: &[&str], standings: &[Standing]| {
            verdict(&item(dependents, circle), &live(standings.len(), finalizers), standings)
        };
        assert_eq!(says(true, false, &[], &[Dangling]), deletes(PropagationPolicy::Background, false));
        assert_eq!(says(true, false, &["orphan"], &[Dangling]), deletes(PropagationPolicy::Orphan, false));
        assert_eq!(
            says(true, false, &[], &[Dangling, Waiting]),
            deletes(PropagationPolicy::Foreground, false)
        );
        assert_eq!(says(true, true, &[], &[Waiting]), deletes(PropagationPolicy::Foreground, true));
        assert_eq!(says(false, false, &[], &[Waiting]), deletes(PropagationPolicy::Background, false));
        assert_eq!(
            says(false, false, &["foregroundDeletion"], &[Dangling]),
            deletes(PropagationPolicy::Foreground, false)
        );
    }

    #[test]
    fn unblocked_references_still_are_references() {
        let owners = unblocked(&live(2, &[]));
        assert!(owners.len() == 2 && owners.iter().all(|owner| owner.block_owner_deletion == Some(false)));
    }
}
