//! What is to be done about a claim. Pure.
//!
//! Source: Kubernetes v1.36 `pkg/controller/volume/persistentvolume/pv_controller.go` (`syncUnboundClaim`, `syncBoundClaim`).

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt;

use super::matching::{Offer, Wish, best};
use super::{BIND_COMPLETED, BOUND_BY_CONTROLLER, SELECTED_NODE};
use crate::cache::{is_going, uid_of};

/// What a claim is told, as an event.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Note {
    pub(super) warning: bool,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// What is to be done about a claim.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// Tie it and this volume to each other; what of that is done already is left alone.
    Bind(Arc<PersistentVolume>),
    /// It has to wait, for the reason that it is told.
    Wait(Note),
    /// The program of this name makes a volume for it.
    Provision(String),
    /// Its volume is not there, or somebody else's.
    Lose(Note),
    /// It goes, and gets nothing any more.
    Nothing,
}

/// What there is besides the claim.
pub(super) struct Known<'k> {
    pub(super) volumes: &'k [Arc<PersistentVolume>],
    pub(super) class: Option<&'k StorageClass>,
    /// Pods that use the claim and have no node, by name.
    pub(super) waiting: Vec<String>,
}

/// Whether volumes of the class are bound only when a pod comes.
pub(crate) fn waits_for_pod(class: &StorageClass) -> bool {
    class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer")
}

/// Whether the binding was finished once.
pub(crate) fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    claim.annotations().contains_key(BIND_COMPLETED)
}

/// The volume that a claim names.
pub(crate) fn volume_of(claim: &PersistentVolumeClaim) -> Option<&str> {
    claim.spec.as_ref()?.volume_name.as_deref().filter(|name| !name.is_empty())
}

pub(super) fn step(claim: &PersistentVolumeClaim, known: &Known<'_>) -> Step {
    let named = volume_of(claim);
    let volume = named.and_then(|name| known.volumes.iter().find(|volume| volume.name_any() == name));
    if is_bound(claim) {
        return bound(claim, named.is_some(), volume);
    }
    if is_going(claim) {
        return Step::Nothing;
    }
    match (named, volume) {
        (None, _) => unnamed(claim, known),
        // It may come yet.
        (Some(name), None) => Step::Wait(warning("FailedBinding", format!("volume \"{name}\" not found"))),
        (Some(_), Some(volume)) => chosen(claim, volume),
    }
}

fn bound(claim: &PersistentVolumeClaim, named: bool, volume: Option<&Arc<PersistentVolume>>) -> Step {
    let lost = |reason, message: &str| Step::Lose(warning(reason, message.to_owned()));
    if !named {
        let message = "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!";
        return lost("ClaimLost", message);
    }
    let Some(volume) = volume else {
        return lost("ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!");
    };
    let holder = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
    match holder.map(|holder| holder.uid.as_deref()) {
        None => Step::Bind(Arc::clone(volume)),
        Some(Some(uid)) if uid == uid_of(claim) => Step::Bind(Arc::clone(volume)),
        // Reserved for a name, which is the claim's or not.
        Some(None | Some("")) if Offer::of(volume).is_for(&Wish::of(claim)) => Step::Bind(Arc::clone(volume)),
        Some(_) => {
            let message = "Two claims are bound to the same volume, this one is bound incorrectly";
            lost("ClaimMisbound", message)
        }
    }
}

/// The user chose the volume.
fn chosen(claim: &PersistentVolumeClaim, volume: &Arc<PersistentVolume>) -> Step {
    let (wish, offer) = (Wish::of(claim), Offer::of(volume));
    let free = volume.spec.as_ref().is_some_and(|spec| spec.claim_ref.is_none());
    let name = volume.name_any();
    if free || offer.is_for(&wish) {
        return match offer.satisfies(&wish) {
            Err(why) if free => {
                let message = format!("Cannot bind to requested volume \"{name}\": {why}");
                Step::Wait(warning("VolumeMismatch", message))
            }
            _ => Step::Bind(Arc::clone(volume)),
        };
    }
    if claim.annotations().contains_key(BOUND_BY_CONTROLLER) {
        // Two claims were given one volume, and the other was first: this one is not let go, as in Kubernetes.
        tracing::error!(
            namespace = claim.namespace(),
            claim = claim.name_any(),
            volume = name,
            "a claim was given a volume that is bound to another"
        );
    }
    Step::Wait(warning("FailedBinding", format!("volume \"{name}\" already bound to a different claim.")))
}

fn unnamed(claim: &PersistentVolumeClaim, known: &Known<'_>) -> Step {
    let wish = Wish::of(claim);
    let delayed = known.class.is_some_and(waits_for_pod);
    let offers: Vec<_> = known.volumes.iter().map(|volume| Offer::of(volume)).collect();
    // The scheduler chooses for those that wait for a pod; what it, or the user, reserved is taken.
    let candidates = offers.iter().filter(|offer| !delayed || offer.is_for(&wish));
    let found = best(&wish, candidates, |_| true).map(|offer| offer.name.clone());
    let found = found.and_then(|name| known.volumes.iter().find(|volume| volume.name_any() == name));
    if let Some(found) = found {
        return Step::Bind(Arc::clone(found));
    }
    if delayed && !claim.annotations().contains_key(SELECTED_NODE) {
        return Step::Wait(first_consumer(&known.waiting));
    }
    match (wish.class(), known.class) {
        ("", _) => Step::Wait(normal(
            "FailedBinding",
            "no persistent volumes available for this claim and no storage class is set".to_owned(),
        )),
        (name, None) => {
            let message = format!("storageclass.storage.k8s.io \"{name}\" not found");
            Step::Wait(warning("ProvisioningFailed", message))
        }
        (_, Some(class)) if class.provisioner.starts_with("kubernetes.io/") => {
            let message = format!("no volume plugin matched name: {}", class.provisioner);
            Step::Wait(warning("ProvisioningFailed", message))
        }
        (_, Some(class)) => Step::Provision(class.provisioner.clone()),
    }
}

fn first_consumer(waiting: &[String]) -> Note {
    match waiting {
        [] => normal(
            "WaitForFirstConsumer",
            "waiting for first consumer to be created before binding".to_owned(),
        ),
        [pod] => normal("WaitForPodScheduled", format!("waiting for pod {pod} to be scheduled")),
        pods => normal("WaitForPodScheduled", format!("waiting for pods {} to be scheduled", pods.join(","))),
    }
}

fn normal(reason: &'static str, message: String) -> Note {
    Note { warning: false, reason, message }
}

fn warning(reason: &'static str, message: String) -> Note {
    Note { warning: true, reason, message }
}
