//! Persistent volumes and claims: who gets which volume, and that neither goes while it is in use.
//!
//! Owns: the binding of claims to volumes, the phases of both, and their finalizers. What suits whom is [`matching`], what is to
//! be done [`claim`] and [`volume`], all pure; here, in [`bind`] and in [`protect`] it is carried out; [`ephemeral`] makes claims. No volume is made or
//! wiped here: programs of the storage's maker do that, and see in the API what they are asked for. May call: the API,
//! caches. Called by: the crate's `start`; the scheduler uses [`matching`] and the annotations.
//! Source: Kubernetes v1.36 `pkg/controller/volume/{persistentvolume,pvprotection,pvcprotection,ephemeral}`.

pub(crate) mod bind;
pub(crate) mod claim;
mod ephemeral;
pub(crate) mod matching;
mod protect;
#[cfg(test)]
mod tests;
mod volume;

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt;
use kube::runtime::Controller;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use tasks::TaskSet;

use self::claim::{Known, is_bound, volume_of};
use crate::cache::{Cache, is_going, uid_of};
use crate::context::Context;
use crate::error::Error;
use crate::events::Recorder;
use crate::run::run;

/// On a volume: its claim was chosen here, not reserved by the user. On a claim: the same of its volume.
pub(crate) const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
/// On a claim: it was bound once, and is lost if its volume is not there.
pub(crate) const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
/// On a claim: the node of its first pod.
pub(crate) const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// On a volume: the program that made it.
const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
/// On a class: claims that name none get it.
const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";

#[derive(Clone)]
struct Shell {
    context: Context,
    recorder: Recorder,
}

/// Binds claims and volumes, and makes the claims of ephemeral ones, on `tasks`.
pub(crate) fn start(context: &Context, tasks: &TaskSet) {
    ephemeral::start(context, tasks);
    let recorder = context.recorder("persistentvolume-controller");
    let shell = Shell { context: context.clone(), recorder };
    let caches = Arc::clone(&context.caches);
    let claims = move || {
        let all = caches.persistent_volume_claims.clone();
        let (by_volume, by_class) = (all.clone(), all.clone());
        Controller::for_shared_stream(all.changes(), all.store())
            .watches_shared_stream(caches.persistent_volumes.changes(), move |volume| {
                concerned_by_volume(&by_volume, &volume)
            })
            .watches_shared_stream(caches.storage_classes.changes(), move |_: Arc<StorageClass>| {
                references(&by_class, |claim| !is_bound(claim))
            })
            .watches_shared_stream(caches.pods.changes_of(|_, pod| pod.has_claims), |pod| claims_of(&pod))
    };
    let of_claims = shell.clone();
    run("persistentvolumeclaims", tasks, claims, move |claim| of_claims.clone().reconcile_claim(claim));
    let caches = Arc::clone(&context.caches);
    let volumes = move || {
        let all = caches.persistent_volumes.clone();
        let by_claim = all.clone();
        Controller::for_shared_stream(all.changes(), all.store())
            .watches_shared_stream(caches.persistent_volume_claims.changes(), move |claim| {
                concerned_by_claim(&by_claim, &claim)
            })
    };
    run("persistentvolumes", tasks, volumes, move |volume| shell.clone().reconcile_volume(volume));
}

fn references(
    claims: &Cache<PersistentVolumeClaim>,
    wanted: impl Fn(&PersistentVolumeClaim) -> bool,
) -> Vec<ObjectRef<PersistentVolumeClaim>> {
    let found = claims.store().state_filter(wanted);
    found.iter().map(|claim| ObjectRef::from_obj(&**claim)).collect()
}

/// Claims that wait for any volume, and those that this one is for or that name it.
fn concerned_by_volume(
    claims: &Cache<PersistentVolumeClaim>,
    volume: &PersistentVolume,
) -> Vec<ObjectRef<PersistentVolumeClaim>> {
    let (name, offer) = (volume.name_any(), matching::Offer::of(volume));
    references(claims, |claim| match volume_of(claim) {
        None => offer.is_free() || offer.is_for(&matching::Wish::of(claim)) || is_bound(claim),
        Some(volume) => volume == name,
    })
}

/// The volume that the claim names, and those that are for it.
fn concerned_by_claim(
    volumes: &Cache<PersistentVolume>,
    claim: &PersistentVolumeClaim,
) -> Vec<ObjectRef<PersistentVolume>> {
    let (name, namespace) = (claim.name_any(), claim.namespace());
    let concerned = volumes.store().state_filter(|volume| {
        let holder = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
        volume_of(claim) == Some(&volume.name_any())
            || holder
                .is_some_and(|holder| holder.name.as_ref() == Some(&name) && holder.namespace == namespace)
    });
    concerned.iter().map(|volume| ObjectRef::from_obj(&**volume)).collect()
}

/// The claims that a pod uses.
fn claims_of(pod: &Pod) -> Vec<ObjectRef<PersistentVolumeClaim>> {
    let namespace = pod.namespace().unwrap_or_default();
    protect::claims_of(pod).map(|name| ObjectRef::new(&name).within(&namespace)).collect()
}

impl Shell {
    async fn reconcile_claim(self, claim: Arc<PersistentVolumeClaim>) -> Result<Action, Error> {
        let caches = &self.context.caches;
        caches.pods.ready().await;
        caches.storage_classes.ready().await;
        caches.persistent_volumes.ready().await;
        let (namespace, name) = (claim.namespace().unwrap_or_default(), claim.name_any());
        let Some(claim) = caches.persistent_volume_claims.get(&namespace, &name) else {
            return Ok(Action::await_change());
        };
        if protect::claim(&self.context.client, &claim).await? {
            return Ok(Action::await_change());
        }
        let mut named = matching::class_of(&*claim, class_field(&claim));
        if named.is_none() && !is_bound(&claim) && !is_going(&*claim) {
            named = default_class(&caches.storage_classes.store().state());
            if let Some(class) = &named {
                bind::set_class(&self.context.client, &claim, class).await?;
                return Ok(Action::await_change());
            }
        }
        let class = named.as_deref().and_then(|name| caches.storage_classes.named(name));
        let known = Known {
            volumes: &caches.persistent_volumes.store().state(),
            class: class.as_deref(),
            waiting: self.waiting_for(&namespace, &name),
        };
        let step = claim::step(&claim, &known);
        self.carry_out(&claim, step).await?;
        Ok(Action::await_change())
    }

    async fn carry_out(&self, claim: &PersistentVolumeClaim, step: claim::Step) -> Result<(), Error> {
        let client = &self.context.client;
        match step {
            claim::Step::Bind(volume) => bind::bind(client, claim, &volume).await,
            claim::Step::Wait(note) => {
                self.tell(claim, note);
                bind::set_claim_phase(client, claim, "Pending").await.map(drop)
            }
            claim::Step::Provision(provisioner) => {
                let message = format!(
                    "Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the system administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered."
                );
                self.recorder.normal(claim, "ExternalProvisioning", message);
                bind::ask_provisioner(client, claim, &provisioner).await
            }
            claim::Step::Lose(note) => {
                if bind::set_claim_phase(client, claim, "Lost").await? {
                    self.tell(claim, note);
                }
                Ok(())
            }
            claim::Step::Nothing => Ok(()),
        }
    }

    fn tell(&self, claim: &PersistentVolumeClaim, note: claim::Note) {
        if note.warning {
            self.recorder.warning(claim, note.reason, note.message);
        } else {
            self.recorder.normal(claim, note.reason, note.message);
        }
    }

    /// Pods without a node that use a claim, by name.
    fn waiting_for(&self, namespace: &str, claim: &str) -> Vec<String> {
        let waits = |pod: &Pod| {
            let unbound = pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_none());
            unbound && protect::claims_of(pod).any(|name| name == claim)
        };
        let mut names: Vec<_> =
            self.context.caches.pods.within(namespace, waits).iter().map(|pod| pod.name_any()).collect();
        names.sort();
        names
    }

    async fn reconcile_volume(self, volume: Arc<PersistentVolume>) -> Result<Action, Error> {
        let (caches, client) = (&self.context.caches, &self.context.client);
        caches.persistent_volume_claims.ready().await;
        let Some(volume) = caches.persistent_volumes.named(&volume.name_any()) else {
            return Ok(Action::await_change());
        };
        if protect::volume(client, &volume).await? {
            return Ok(Action::await_change());
        }
        let claim = self.holder_of(&volume).await?;
        match volume::step(&volume, claim.as_deref()) {
            volume::Step::AwaitClaim => {}
            volume::Step::Be(phase) => {
                bind::set_volume_phase(client, &volume, phase.name(), None).await?;
            }
            volume::Step::Free { reserved } => bind::free(client, &volume, reserved).await?,
            volume::Step::CannotReclaim { reason, message } => {
                if bind::set_volume_phase(client, &volume, "Failed", Some(&message)).await? {
                    self.recorder.warning(&*volume, reason, message);
                }
            }
        }
        Ok(Action::await_change())
    }

    /// The claim that a volume is for. That it is gone is believed only to the API: what is stored in the volume may depend on it.
    async fn holder_of(
        &self,
        volume: &PersistentVolume,
    ) -> Result<Option<Arc<PersistentVolumeClaim>>, Error> {
        let holder = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
        let Some(holder) = holder.filter(|holder| holder.uid.is_some()) else { return Ok(None) };
        let namespace = holder.namespace.as_deref().unwrap_or_default();
        let name = holder.name.as_deref().unwrap_or_default();
        let cached = self.context.caches.persistent_volume_claims.get(namespace, name);
        match cached.filter(|claim| Some(uid_of(&**claim)) == holder.uid) {
            Some(claim) => Ok(Some(claim)),
            None => bind::claim_now(&self.context.client, namespace, name).await,
        }
    }
}

fn class_field(claim: &PersistentVolumeClaim) -> Option<&str> {
    claim.spec.as_ref()?.storage_class_name.as_deref()
}

/// The class of claims that name none: the newest of those that say so.
fn default_class(classes: &[Arc<StorageClass>]) -> Option<String> {
    let defaults =
        classes.iter().filter(|class| class.annotations().get(DEFAULT_CLASS).is_some_and(|v| v == "true"));
    let age = |class: &&Arc<StorageClass>| {
        (class.metadata.creation_timestamp.clone().map(|time| time.0), std::cmp::Reverse(class.name_any()))
    };
    defaults.max_by_key(age).map(|class| class.name_any())
}
