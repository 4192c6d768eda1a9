//! The volume claims of a stateful set's pods: made before the pod, and kept or deleted as the set wishes.
//!
//! Deleting is the garbage collector's work: a claim that is to go with the set, or with its pod, has that as owner. Source:
//! Kubernetes v1.36 `pkg/controller/statefulset/stateful_pod_control.go`, `stateful_set_utils.go` (`updateClaimOwnerRefForSetAndPod`).

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::json;

use super::pod::claims;
use crate::cache::{Cache, is_going, uid_of};
use crate::claim::reference;
use crate::error::Error;
use crate::events::Recorder;
use crate::pods::control::said;

/// Makes the claims that a pod is missing, before the pod itself.
///
/// # Errors
/// If the API refuses, or a claim is about to go: the pod has to wait for its successor.
pub(super) async fn ensure(
    client: &Client,
    recorder: &Recorder,
    cache: &Cache<PersistentVolumeClaim>,
    set: &StatefulSet,
    ordinal: i32,
) -> Result<(), Error> {
    let namespace = set.namespace().unwrap_or_default();
    let api = Api::<PersistentVolumeClaim>::namespaced(client.clone(), &namespace);
    for (_, mut claim) in claims(set, ordinal) {
        let (name, pod) = (claim.name_any(), format!("{}-{ordinal}", set.name_any()));
        match cache.get(&namespace, &name) {
            Some(there) if is_going(&*there) || goes_with(&there, &pod) => {
                return Err(Error::Object(format!("pvc {name} is being deleted")));
            }
            Some(_) => continue,
            None => {}
        }
        claim.metadata.owner_references = owner(set, None).map(|owner| vec![owner]);
        let about = format!("Claim {name} Pod {pod} in StatefulSet {}", set.name_any());
        match api.create(&PostParams::default(), &claim).await {
            Ok(_) => recorder.normal(set, "SuccessfulCreate", format!("create {about} success")),
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => {
                recorder.warning(
                    set,
                    "FailedCreate",
                    format!("create {about} failed error: {}", said(&error)),
                );
                return Err(Error::api("create a volume claim")(error));
            }
        }
    }
    Ok(())
}

/// Whether a claim goes as soon as the garbage collector finds out that a pod of this name is gone.
fn goes_with(claim: &PersistentVolumeClaim, pod: &str) -> bool {
    claim.owner_references().iter().any(|owner| owner.kind == "Pod" && owner.name == pod)
}

/// Gives the claims of a pod the owner that the set's policy asks for. `surplus` is the pod, if it is beyond the wanted number.
///
/// # Errors
/// If the API refuses.
pub(super) async fn keep_or_not(
    client: &Client,
    cache: &Cache<PersistentVolumeClaim>,
    set: &StatefulSet,
    ordinal: i32,
    pod: &Pod,
    is_surplus: bool,
) -> Result<(), Error> {
    let namespace = set.namespace().unwrap_or_default();
    let api = Api::<PersistentVolumeClaim>::namespaced(client.clone(), &namespace);
    let wanted = owner(set, Some(pod).filter(|_| is_surplus));
    for (_, claim) in claims(set, ordinal) {
        let Some(claim) = cache.get(&namespace, &claim.name_any()) else { continue };
        let is_ours = |one: &&OwnerReference| {
            one.uid == uid_of(set) || (one.kind == "Pod" && one.name == pod.name_any())
        };
        let ours: Vec<_> = claim.owner_references().iter().filter(is_ours).collect();
        if ours.iter().map(|one| &one.uid).eq(wanted.iter().map(|one| &one.uid)) {
            continue;
        }
        let mut owners: Vec<_> =
            claim.owner_references().iter().filter(|one| !is_ours(one)).cloned().collect();
        owners.extend(wanted.clone());
        let patch = json!({"metadata": {
            "uid": claim.uid(), "resourceVersion": claim.resource_version(), "ownerReferences": owners,
        }});
        match api.patch(&claim.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            result => drop(result.map_err(Error::api("change the owner of a volume claim"))?),
        }
    }
    Ok(())
}

/// With whose end a claim goes; nobody's, if it is kept.
fn owner(set: &StatefulSet, surplus: Option<&Pod>) -> Option<OwnerReference> {
    let policy = set.spec.as_ref()?.persistent_volume_claim_retention_policy.as_ref();
    let deletes = |wish: Option<&String>| wish.is_some_and(|wish| wish == "Delete");
    let when_scaled = deletes(policy.and_then(|policy| policy.when_scaled.as_ref()));
    let when_deleted = deletes(policy.and_then(|policy| policy.when_deleted.as_ref()));
    match surplus.filter(|_| when_scaled) {
        Some(pod) => pod.owner_ref(&()),
        None => when_deleted.then(|| reference(set)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn owned_by(deleted: &str, scaled: &str, surplus: bool) -> String {
        let set: Value = json!({"metadata": {"name": "s", "uid": "set"}, "spec": {
            "selector": {}, "serviceName": "", "template": {},
            "persistentVolumeClaimRetentionPolicy": {"whenDeleted": deleted, "whenScaled": scaled},
        }});
        let set: StatefulSet = serde_json::from_value(set).unwrap();
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "s-1", "uid": "pod"}})).unwrap();
        owner(&set, Some(&pod).filter(|_| surplus)).map_or("nobody".to_owned(), |owner| owner.uid)
    }

    #[test]
    fn a_claim_goes_with_the_set_or_with_its_pod_as_the_policy_says() {
        assert_eq!(owned_by("Retain", "Retain", true), "nobody");
        assert_eq!(owned_by("Delete", "Retain", true), "set");
        assert_eq!(owned_by("Delete", "Retain", false), "set");
        assert_eq!(owned_by("Retain", "Delete", false), "nobody");
        assert_eq!(owned_by("Retain", "Delete", true), "pod");
        assert_eq!(owned_by("Delete", "Delete", true), "pod");
        assert_eq!(owned_by("Delete", "Delete", false), "set");
    }
}
