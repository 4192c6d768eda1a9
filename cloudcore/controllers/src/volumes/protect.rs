//! Finalizers that keep claims while pods use them, and volumes while they are bound.
//!
//! Source: Kubernetes v1.36 `pkg/controller/volume/pvcprotection` and `pvprotection`.

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod, Volume};
use kube::api::{ListParams, PatchParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::json;

use super::bind::over;
use crate::cache::is_going;
use crate::error::Error;

const CLAIM: &str = "kubernetes.io/pvc-protection";
const VOLUME: &str = "kubernetes.io/pv-protection";
const PAGE: u32 = 500;

/// The claims that a pod uses, by name.
pub(super) fn claims_of(pod: &Pod) -> impl Iterator<Item = String> + '_ {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter_map(|volume| claim_of(pod, volume))
}

fn claim_of(pod: &Pod, volume: &Volume) -> Option<String> {
    let named = volume.persistent_volume_claim.as_ref().map(|claim| claim.claim_name.clone());
    let own = || format!("{}-{}", pod.name_any(), volume.name);
    named.or_else(|| volume.ephemeral.as_ref().map(|_| own()))
}

/// Adds the finalizer to a claim, or takes it away; whether something was written.
pub(super) async fn claim(client: &Client, claim: &PersistentVolumeClaim) -> Result<bool, Error> {
    let protected = claim.finalizers().iter().any(|one| one == CLAIM);
    let wanted = if is_going(claim) { protected && is_used(client, claim).await? } else { true };
    if protected == wanted {
        return Ok(false);
    }
    let api =
        Api::<PersistentVolumeClaim>::namespaced(client.clone(), &claim.namespace().unwrap_or_default());
    set(&api, claim, CLAIM, wanted).await
}

/// The same for a volume.
pub(super) async fn volume(client: &Client, volume: &PersistentVolume) -> Result<bool, Error> {
    let protected = volume.finalizers().iter().any(|one| one == VOLUME);
    let bound = volume.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Bound"));
    let wanted = if is_going(volume) { protected && bound } else { true };
    if protected == wanted {
        return Ok(false);
    }
    set(&Api::<PersistentVolume>::all(client.clone()), volume, VOLUME, wanted).await
}

async fn set<K>(api: &Api<K>, object: &K, finalizer: &str, wanted: bool) -> Result<bool, Error>
where
    K: Resource<DynamicType = ()> + Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    let mut finalizers: Vec<_> =
        object.finalizers().iter().filter(|one| *one != finalizer).cloned().collect();
    if wanted {
        finalizers.push(finalizer.to_owned());
    }
    let change = over(object, json!({"metadata": {"finalizers": finalizers}}));
    let patched = api.patch(&object.name_any(), &PatchParams::default(), &change).await;
    patched.map(|_| true).map_err(Error::api("change a finalizer"))
}

/// Whether a pod that has a node uses the claim. Asks the API: a pod that the cache does not show yet may be writing to it.
async fn is_used(client: &Client, claim: &PersistentVolumeClaim) -> Result<bool, Error> {
    let pods = Api::<Pod>::namespaced(client.clone(), &claim.namespace().unwrap_or_default());
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let list = pods.list(&page).await.map_err(Error::api("look whether a claim is used"))?;
        if list.items.iter().any(|pod| uses(pod, &claim.name_any())) {
            return Ok(true);
        }
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(false),
        }
    }
}

fn uses(pod: &Pod, claim: &str) -> bool {
    let placed = pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
    placed && claims_of(pod).any(|name| name == claim)
}
