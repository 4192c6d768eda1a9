//! What is written about claims and volumes: always over the state that was seen, so that of two who are quick only one wins.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::{Value, json};

use super::claim::{is_bound, volume_of};
use super::matching::{Offer, Wish};
use super::{BIND_COMPLETED, BOUND_BY_CONTROLLER, SELECTED_NODE};
use crate::cache::uid_of;
use crate::error::Error;

const PROVISIONER: &str = "volume.kubernetes.io/storage-provisioner";
const BETA_PROVISIONER: &str = "volume.beta.kubernetes.io/storage-provisioner";

fn claims(client: &Client, claim: &PersistentVolumeClaim) -> Api<PersistentVolumeClaim> {
    Api::namespaced(client.clone(), &claim.namespace().unwrap_or_default())
}

/// `change`, to be made only if nobody was quicker.
pub(super) fn over<K: Resource>(object: &K, mut change: Value) -> Patch<Value> {
    let seen = json!({"uid": object.uid(), "resourceVersion": object.resource_version()});
    match (change.get_mut("metadata").and_then(Value::as_object_mut), seen) {
        (Some(meta), Value::Object(seen)) => meta.extend(seen),
        (_, seen) => change["metadata"] = seen,
    }
    Patch::Merge(change)
}

/// Ties a claim and a volume to each other, in the order that a crash in between does not harm: the volume says for whom it
/// is before the claim says what it has.
pub(super) async fn bind(
    client: &Client,
    claim: &PersistentVolumeClaim,
    volume: &PersistentVolume,
) -> Result<(), Error> {
    let volume = reserve(client, claim, volume).await?;
    set_volume_phase(client, &volume, "Bound", None).await?;
    let name = volume.name_any();
    let mut claim = claim.clone();
    let chosen = volume_of(&claim) == Some(&name);
    if !chosen || !is_bound(&claim) {
        let mut annotations = json!({BIND_COMPLETED: "yes"});
        if !chosen {
            annotations[BOUND_BY_CONTROLLER] = json!("yes");
        }
        let change = json!({"metadata": {"annotations": annotations}, "spec": {"volumeName": name}});
        let api = claims(client, &claim);
        let patched = api.patch(&claim.name_any(), &PatchParams::default(), &over(&claim, change)).await;
        claim = patched.map_err(Error::api("bind a claim"))?;
    }
    let spec = volume.spec.unwrap_or_default();
    let capacity = spec.capacity.and_then(|all| all.get("storage").cloned());
    let old = claim.status.clone().unwrap_or_default();
    let same = old.phase.as_deref() == Some("Bound")
        && old.access_modes == spec.access_modes
        && old.capacity.as_ref().and_then(|all| all.get("storage")) == capacity.as_ref();
    if !same {
        let status = json!({
            "phase": "Bound", "accessModes": spec.access_modes, "capacity": {"storage": capacity},
        });
        let change = over(&claim, json!({"status": status}));
        let patched =
            claims(client, &claim).patch_status(&claim.name_any(), &PatchParams::default(), &change).await;
        patched.map_err(Error::api("write the status of a claim"))?;
    }
    Ok(())
}

/// Says on a volume for which claim it is.
pub(crate) async fn reserve(
    client: &Client,
    claim: &PersistentVolumeClaim,
    volume: &PersistentVolume,
) -> Result<PersistentVolume, Error> {
    let holder = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
    if holder.is_some_and(|holder| holder.uid.as_deref() == Some(&uid_of(claim))) {
        return Ok(volume.clone());
    }
    let mut change = json!({"metadata": {}, "spec": {"claimRef": {
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": claim.namespace(),
        "name": claim.name_any(), "uid": uid_of(claim), "resourceVersion": claim.resource_version(),
    }}});
    if !Offer::of(volume).is_for(&Wish::of(claim)) {
        change["metadata"]["annotations"] = json!({BOUND_BY_CONTROLLER: "yes"});
    }
    let api = Api::<PersistentVolume>::all(client.clone());
    let patched = api.patch(&volume.name_any(), &PatchParams::default(), &over(volume, change)).await;
    patched.map_err(Error::api("bind a volume"))
}

/// Gives a volume back whose claim has another.
pub(super) async fn free(client: &Client, volume: &PersistentVolume, reserved: bool) -> Result<(), Error> {
    let claim = if reserved { json!({"uid": null, "resourceVersion": null}) } else { Value::Null };
    let annotations = json!({BOUND_BY_CONTROLLER: null});
    let change = json!({"metadata": {"annotations": annotations}, "spec": {"claimRef": claim}});
    let api = Api::<PersistentVolume>::all(client.clone());
    let patched = api.patch(&volume.name_any(), &PatchParams::default(), &over(volume, change)).await;
    let volume = patched.map_err(Error::api("free a volume"))?;
    set_volume_phase(client, &volume, "Available", None).await.map(drop)
}

/// Whether something had to be written.
pub(super) async fn set_volume_phase(
    client: &Client,
    volume: &PersistentVolume,
    phase: &str,
    message: Option<&str>,
) -> Result<bool, Error> {
    let status = volume.status.as_ref();
    if status.and_then(|status| status.phase.as_deref()) == Some(phase) {
        return Ok(false);
    }
    let now = jiff::Timestamp::now();
    let second = jiff::Timestamp::from_second(now.as_second()).unwrap_or(now).to_string();
    let change =
        json!({"phase": phase, "message": message, "reason": null, "lastPhaseTransitionTime": second});
    let api = Api::<PersistentVolume>::all(client.clone());
    let change = over(volume, json!({"status": change}));
    let patched = api.patch_status(&volume.name_any(), &PatchParams::default(), &change).await;
    patched.map(|_| true).map_err(Error::api("write the phase of a volume"))
}

/// Whether something had to be written. For claims that have no volume.
pub(super) async fn set_claim_phase(
    client: &Client,
    claim: &PersistentVolumeClaim,
    phase: &str,
) -> Result<bool, Error> {
    let status = claim.status.as_ref();
    if status.and_then(|status| status.phase.as_deref()) == Some(phase) {
        return Ok(false);
    }
    let change = over(claim, json!({"status": {"phase": phase, "accessModes": null, "capacity": null}}));
    let patched =
        claims(client, claim).patch_status(&claim.name_any(), &PatchParams::default(), &change).await;
    patched.map(|_| true).map_err(Error::api("write the status of a claim"))
}

/// Gives a claim that names no class the cluster's.
pub(super) async fn set_class(
    client: &Client,
    claim: &PersistentVolumeClaim,
    class: &str,
) -> Result<(), Error> {
    let change = over(claim, json!({"spec": {"storageClassName": class}}));
    let patched = claims(client, claim).patch(&claim.name_any(), &PatchParams::default(), &change).await;
    patched.map(drop).map_err(Error::api("give a claim its class"))
}

/// Says on a claim who is to make its volume.
pub(super) async fn ask_provisioner(
    client: &Client,
    claim: &PersistentVolumeClaim,
    provisioner: &str,
) -> Result<(), Error> {
    if claim.annotations().get(PROVISIONER).is_some_and(|name| name == provisioner) {
        return Ok(());
    }
    let annotations = json!({PROVISIONER: provisioner, BETA_PROVISIONER: provisioner});
    let change = over(claim, json!({"metadata": {"annotations": annotations}}));
    let patched = claims(client, claim).patch(&claim.name_any(), &PatchParams::default(), &change).await;
    patched.map(drop).map_err(Error::api("ask for a volume"))
}

/// Says on a claim for which node its volume is to be made.
pub(crate) async fn select_node(
    client: &Client,
    claim: &PersistentVolumeClaim,
    node: &str,
) -> Result<(), Error> {
    if claim.annotations().get(SELECTED_NODE).is_some_and(|name| name == node) {
        return Ok(());
    }
    let change = over(claim, json!({"metadata": {"annotations": {SELECTED_NODE: node}}}));
    let patched = claims(client, claim).patch(&claim.name_any(), &PatchParams::default(), &change).await;
    patched.map(drop).map_err(Error::api("choose a node for a claim"))
}

/// A claim as the API has it.
pub(super) async fn claim_now(
    client: &Client,
    namespace: &str,
    name: &str,
) -> Result<Option<Arc<PersistentVolumeClaim>>, Error> {
    let api = Api::<PersistentVolumeClaim>::namespaced(client.clone(), namespace);
    let claim = api.get_opt(name).await.map_err(Error::api("look whether a claim is there"))?;
    Ok(claim.map(Arc::new))
}
