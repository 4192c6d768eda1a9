//! Which volume suits which claim. Pure; the scheduler asks, too, for claims that wait for a pod.
//!
//! Source: Kubernetes v1.36 `staging/src/k8s.io/component-helpers/storage/volume/pv_helpers.go` (`FindMatchingVolume`).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::core::{Selector, SelectorExt};
use kube::{Resource, ResourceExt};

use crate::cache::{is_going, uid_of};

/// The class of objects from before the field in the spec.
pub(crate) const BETA_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
/// The only mode besides `Block`.
const FILESYSTEM: &str = "Filesystem";

/// What a claim asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Wish {
    namespace: String,
    name: String,
    uid: String,
    /// In bytes.
    size: i64,
    class: String,
    modes: Vec<String>,
    block: bool,
    /// None if it cannot be read, which suits no volume.
    selector: Option<Selector>,
}

/// What a volume is.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Offer {
    pub(crate) name: String,
    /// In bytes.
    size: i64,
    class: String,
    modes: Vec<String>,
    block: bool,
    labels: BTreeMap<String, String>,
    holder: Option<Holder>,
    /// Whether its phase says so.
    available: bool,
    going: bool,
}

/// The claim that a volume is for.
#[derive(Clone, Debug, Default, PartialEq)]
struct Holder {
    namespace: String,
    name: String,
    /// Empty while the volume is only reserved.
    uid: String,
}

/// What keeps a volume from a claim that names it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum Mismatch {
    #[error("requested PV is too small")]
    Small,
    #[error("storageClassName does not match")]
    Class,
    #[error("incompatible volumeMode")]
    Mode,
    #[error("incompatible accessMode")]
    Access,
}

// === impl Wish ===

impl Wish {
    pub(crate) fn of(claim: &PersistentVolumeClaim) -> Self {
        let spec = claim.spec.clone().unwrap_or_default();
        let requests = spec.resources.and_then(|resources| resources.requests);
        Self {
            namespace: claim.namespace().unwrap_or_default(),
            name: claim.name_any(),
            uid: uid_of(claim),
            // More than any volume has, so that nothing is bound on hope.
            size: bytes(requests.as_ref()).unwrap_or(i64::MAX),
            class: class_of(claim, spec.storage_class_name.as_deref()).unwrap_or_default(),
            modes: spec.access_modes.unwrap_or_default(),
            block: spec.volume_mode.is_some_and(|mode| mode != FILESYSTEM),
            selector: Selector::try_from(spec.selector.unwrap_or_default()).ok(),
        }
    }

    /// The class; empty for none.
    pub(crate) fn class(&self) -> &str {
        &self.class
    }

    /// In bytes. Of the claims of one pod, the smallest chooses first.
    pub(crate) fn size(&self) -> i64 {
        self.size
    }
}

// === impl Offer ===

impl Offer {
    pub(crate) fn of(volume: &PersistentVolume) -> Self {
        let spec = volume.spec.clone().unwrap_or_default();
        let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
        Self {
            name: volume.name_any(),
            size: bytes(spec.capacity.as_ref()).unwrap_or(0),
            class: class_of(volume, spec.storage_class_name.as_deref()).unwrap_or_default(),
            modes: spec.access_modes.unwrap_or_default(),
            block: spec.volume_mode.is_some_and(|mode| mode != FILESYSTEM),
            labels: volume.labels().clone(),
            holder: spec.claim_ref.map(|claim| Holder {
                namespace: claim.namespace.unwrap_or_default(),
                name: claim.name.unwrap_or_default(),
                uid: claim.uid.unwrap_or_default(),
            }),
            available: phase == Some("Available"),
            going: is_going(volume),
        }
    }

    /// Whether it is bound to the claim, or reserved for it.
    pub(crate) fn is_for(&self, wish: &Wish) -> bool {
        self.holder.as_ref().is_some_and(|holder| {
            (&holder.namespace, &holder.name) == (&wish.namespace, &wish.name)
                && (holder.uid.is_empty() || holder.uid == wish.uid)
        })
    }

    /// Whether a claim may have it that names it.
    ///
    /// # Errors
    /// If not: why.
    pub(crate) fn satisfies(&self, wish: &Wish) -> Result<(), Mismatch> {
        if self.size < wish.size {
            return Err(Mismatch::Small);
        }
        if self.class != wish.class {
            return Err(Mismatch::Class);
        }
        if self.block != wish.block {
            return Err(Mismatch::Mode);
        }
        if !self.has_modes(wish) {
            return Err(Mismatch::Access);
        }
        Ok(())
    }

    fn has_modes(&self, wish: &Wish) -> bool {
        wish.modes.iter().all(|mode| self.modes.contains(mode))
    }

    /// Whether any claim might have it.
    pub(crate) fn is_free(&self) -> bool {
        self.holder.is_none() && self.available && !self.going
    }

    fn is_free_for(&self, wish: &Wish) -> bool {
        let selected = wish.selector.as_ref().is_some_and(|selector| selector.matches(&self.labels));
        self.is_free() && selected && self.satisfies(wish).is_ok()
    }

    /// Whether it is large enough, of the right mode, and not about to go.
    fn can_serve(&self, wish: &Wish) -> bool {
        !self.going && self.size >= wish.size && self.block == wish.block && self.has_modes(wish)
    }
}

/// The volume for a claim: the one that is for it already, or the smallest that suits. A volume that is for it but is not
/// `within` reach leaves it without any.
pub(crate) fn best<'o>(
    wish: &Wish,
    offers: impl IntoIterator<Item = &'o Offer>,
    within: impl Fn(&Offer) -> bool,
) -> Option<&'o Offer> {
    let mut smallest: Option<&Offer> = None;
    for offer in offers {
        if offer.is_for(wish) && offer.can_serve(wish) {
            return within(offer).then_some(offer);
        }
        let better = |than: &Offer| (offer.size, &offer.name) < (than.size, &than.name);
        if offer.is_free_for(wish) && within(offer) && smallest.is_none_or(better) {
            smallest = Some(offer);
        }
    }
    smallest
}

/// The class that an object names; none if it leaves that to the cluster.
pub(crate) fn class_of<K: Resource>(object: &K, spec: Option<&str>) -> Option<String> {
    object.annotations().get(BETA_CLASS).cloned().or_else(|| spec.map(str::to_owned))
}

fn bytes(amounts: Option<&BTreeMap<String, Quantity>>) -> Option<i64> {
    proto::quantity::whole(&amounts?.get("storage")?.0).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn wish(change: Value) -> Wish {
        let mut spec = json!({
            "accessModes": ["ReadWriteOnce"], "storageClassName": "c",
            "resources": {"requests": {"storage": "2Gi"}},
        });
        spec.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let meta = json!({"namespace": "ns", "name": "claim", "uid": "1"});
        Wish::of(&serde_json::from_value(json!({"metadata": meta, "spec": spec})).unwrap())
    }

    fn offer(name: &str, size: &str, change: Value) -> Offer {
        let mut spec = json!({
            "accessModes": ["ReadWriteOnce", "ReadOnlyMany"], "storageClassName": "c", "capacity": {"storage": size},
        });
        spec.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let meta = json!({"name": name, "labels": {"disk": "fast"}});
        let volume = json!({"metadata": meta, "spec": spec, "status": {"phase": "Available"}});
        Offer::of(&serde_json::from_value(volume).unwrap())
    }

    fn best_of(wish: &Wish, offers: &[Offer]) -> Option<String> {
        best(wish, offers, |_| true).map(|offer| offer.name.clone())
    }

    #[test]
    fn the_smallest_volume_that_is_large_enough_and_of_the_class_wins() {
        let other = json!({"storageClassName": "other"});
        let offers = [
            offer("large", "9Gi", json!({})),
            offer("small", "1Gi", json!({})),
            offer("fits", "2Gi", json!({})),
            offer("twin", "2Gi", json!({})),
            offer("alien", "2Gi", other),
        ];
        assert_eq!(best_of(&wish(json!({})), &offers).as_deref(), Some("fits"));
        assert_eq!(best_of(&wish(json!({"storageClassName": ""})), &offers), None);
        let blocks = wish(json!({"volumeMode": "Block"}));
        assert_eq!(best_of(&blocks, &offers), None);
        let many = wish(json!({"accessModes": ["ReadWriteMany"]}));
        assert_eq!(best_of(&many, &offers), None);
        let huge = wish(json!({"resources": {"requests": {"storage": "10Gi"}}}));
        assert_eq!(best_of(&huge, &offers), None);
    }

    #[test]
    fn a_selector_and_a_reservation_decide() {
        let slow = wish(json!({"selector": {"matchLabels": {"disk": "slow"}}}));
        let fast = wish(json!({"selector": {"matchLabels": {"disk": "fast"}}}));
        let free = offer("free", "2Gi", json!({}));
        let reserved = |uid: &str| {
            let holder = json!({"namespace": "ns", "name": "claim", "uid": uid});
            offer("reserved", "9Gi", json!({"claimRef": holder}))
        };
        assert_eq!(best_of(&slow, std::slice::from_ref(&free)), None);
        assert_eq!(best_of(&fast, std::slice::from_ref(&free)).as_deref(), Some("free"));
        // What is for the claim is taken whatever the selector says, but not what is for its namesake before it.
        assert_eq!(best_of(&slow, &[free.clone(), reserved("")]).as_deref(), Some("reserved"));
        assert_eq!(best_of(&fast, &[free.clone(), reserved("1")]).as_deref(), Some("reserved"));
        assert_eq!(best_of(&fast, &[free.clone(), reserved("0")]).as_deref(), Some("free"));
        assert_eq!(best(&fast, &[free, reserved("1")], |offer| offer.name == "free"), None);
    }

    #[test]
    fn a_volume_that_a_claim_names_must_satisfy_it() {
        let small = offer("v", "1Gi", json!({}));
        assert_eq!(small.satisfies(&wish(json!({}))), Err(Mismatch::Small));
        let right = offer("v", "2Gi", json!({}));
        assert_eq!(right.satisfies(&wish(json!({}))), Ok(()));
        assert_eq!(right.satisfies(&wish(json!({"storageClassName": ""}))), Err(Mismatch::Class));
        assert_eq!(right.satisfies(&wish(json!({"volumeMode": "Block"}))), Err(Mismatch::Mode));
        assert_eq!(right.satisfies(&wish(json!({"accessModes": ["ReadWriteMany"]}))), Err(Mismatch::Access));
    }
}
