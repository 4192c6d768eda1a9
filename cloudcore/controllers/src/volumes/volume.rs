//! What is to be done about a volume. Pure.
//!
//! Source: Kubernetes v1.36 `pkg/controller/volume/persistentvolume/pv_controller.go` (`syncVolume`, `reclaimVolume`).

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::ResourceExt;

use super::claim::volume_of;
use super::{BOUND_BY_CONTROLLER, PROVISIONED_BY};

/// What is to be done about a volume.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Step {
    /// Its phase should be this, and nothing else is to be done.
    Be(Phase),
    /// Its claim has not said yes yet, which is the claim's turn.
    AwaitClaim,
    /// Its claim has another volume: it is for nobody, or only reserved, as it was before.
    Free {
        /// Whether the reservation was the user's and stays.
        reserved: bool,
    },
    /// It should go with its claim, but nobody here can delete what it is made of.
    CannotReclaim { reason: &'static str, message: String },
}

/// Where a volume is in its life.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Phase {
    Available,
    Bound,
    Released,
}

impl Phase {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Available => "Available",
            Self::Bound => "Bound",
            Self::Released => "Released",
        }
    }
}

/// `claim` is the one that the volume is for, if it is there.
pub(super) fn step(volume: &PersistentVolume, claim: Option<&PersistentVolumeClaim>) -> Step {
    let Some(spec) = &volume.spec else { return Step::Be(Phase::Available) };
    let Some(holder) = &spec.claim_ref else { return Step::Be(Phase::Available) };
    let Some(uid) = holder.uid.as_deref().filter(|uid| !uid.is_empty()) else {
        return Step::Be(Phase::Available);
    };
    let Some(claim) = claim.filter(|claim| claim.metadata.uid.as_deref() == Some(uid)) else {
        return released(volume);
    };
    match volume_of(claim) {
        None => Step::AwaitClaim,
        Some(name) if name == volume.name_any() => Step::Be(Phase::Bound),
        Some(_) => {
            let provisioned = volume.annotations().contains_key(PROVISIONED_BY);
            if provisioned && spec.persistent_volume_reclaim_policy.as_deref() == Some("Delete") {
                return released(volume);
            }
            Step::Free { reserved: !volume.annotations().contains_key(BOUND_BY_CONTROLLER) }
        }
    }
}

/// Its claim is gone.
fn released(volume: &PersistentVolume) -> Step {
    let policy = volume.spec.as_ref().and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref());
    // What an external program has made it deletes itself, once the phase says so.
    if volume.annotations().contains_key(PROVISIONED_BY) {
        return Step::Be(Phase::Released);
    }
    match policy {
        Some("Delete") => Step::CannotReclaim {
            reason: "VolumeFailedDelete",
            message: format!(
                "error getting deleter volume plugin for volume \"{}\": no deletable volume plugin matched",
                volume.name_any()
            ),
        },
        Some("Recycle") => Step::CannotReclaim {
            reason: "VolumeFailedRecycle",
            message: "No recycler plugin found for the volume!".to_owned(),
        },
        _ => Step::Be(Phase::Released),
    }
}
