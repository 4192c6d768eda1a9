//! What is done about claims and volumes in each of their states.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use serde_json::{Value, json};

use super::claim::{self, Known, Note};
use super::volume::{self, Phase};

fn claim(annotations: Value, change: Value) -> PersistentVolumeClaim {
    let mut spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    spec.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    let meta = json!({"namespace": "ns", "name": "c", "uid": "1", "annotations": annotations});
    serde_json::from_value(json!({"metadata": meta, "spec": spec})).unwrap()
}

fn volume(annotations: Value, change: Value) -> Arc<PersistentVolume> {
    let mut spec = json!({"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}});
    spec.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    let meta = json!({"name": "v", "annotations": annotations});
    let volume = json!({"metadata": meta, "spec": spec, "status": {"phase": "Available"}});
    Arc::new(serde_json::from_value(volume).unwrap())
}

fn class(mode: &str, provisioner: &str) -> StorageClass {
    let class = json!({"metadata": {"name": "k"}, "volumeBindingMode": mode, "provisioner": provisioner});
    serde_json::from_value(class).unwrap()
}

fn holder(name: &str, uid: &str) -> Value {
    json!({"claimRef": {"namespace": "ns", "name": name, "uid": uid}})
}

fn step(
    claim: &PersistentVolumeClaim,
    volume: Option<&Arc<PersistentVolume>>,
    class: Option<&StorageClass>,
) -> claim::Step {
    let volumes: Vec<_> = volume.into_iter().cloned().collect();
    claim::step(claim, &Known { volumes: &volumes, class, waiting: Vec::new() })
}

fn told(step: claim::Step) -> (&'static str, String) {
    match step {
        claim::Step::Wait(Note { reason, message, .. }) | claim::Step::Lose(Note { reason, message, .. }) => {
            (reason, message)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_unbound_claim_takes_what_suits_it_or_says_what_it_waits_for() {
    let free = volume(json!({}), json!({}));
    let any = claim(json!({}), json!({}));
    assert_eq!(step(&any, Some(&free), None), claim::Step::Bind(Arc::clone(&free)));
    assert_eq!(told(step(&any, None, None)).0, "FailedBinding");

    let classed = claim(json!({}), json!({"storageClassName": "k"}));
    let (reason, message) = told(step(&classed, None, None));
    assert_eq!((reason, &*message), ("ProvisioningFailed", "storageclass.storage.k8s.io \"k\" not found"));
    let local = class("Immediate", "kubernetes.io/no-provisioner");
    assert_eq!(told(step(&classed, None, Some(&local))).0, "ProvisioningFailed");
    let external = class("Immediate", "example.com/disks");
    let wanted = claim::Step::Provision("example.com/disks".to_owned());
    assert_eq!(step(&classed, None, Some(&external)), wanted);

    let late = class("WaitForFirstConsumer", "kubernetes.io/no-provisioner");
    let suits = volume(json!({}), json!({"storageClassName": "k"}));
    assert_eq!(told(step(&classed, Some(&suits), Some(&late))).0, "WaitForFirstConsumer");
    let mut reserved = holder("c", "");
    reserved["storageClassName"] = json!("k");
    let reserved = volume(json!({}), reserved);
    assert_eq!(step(&classed, Some(&reserved), Some(&late)), claim::Step::Bind(Arc::clone(&reserved)));
    let selected = claim(json!({super::SELECTED_NODE: "n"}), json!({"storageClassName": "k"}));
    let late = class("WaitForFirstConsumer", "example.com/disks");
    assert_eq!(
        step(&selected, Some(&suits), Some(&late)),
        wanted,
        "the scheduler chose, and not this volume"
    );
}

#[test]
fn a_claim_that_names_its_volume_gets_that_or_none() {
    let named = claim(json!({}), json!({"volumeName": "v"}));
    let free = volume(json!({}), json!({}));
    assert_eq!(step(&named, Some(&free), None), claim::Step::Bind(Arc::clone(&free)));
    let small = volume(json!({}), json!({"capacity": {"storage": "1Mi"}}));
    let (reason, message) = told(step(&named, Some(&small), None));
    assert_eq!(reason, "VolumeMismatch");
    assert_eq!(message, "Cannot bind to requested volume \"v\": requested PV is too small");
    let taken = volume(json!({}), holder("other", "2"));
    let (reason, message) = told(step(&named, Some(&taken), None));
    assert_eq!((reason, &*message), ("FailedBinding", "volume \"v\" already bound to a different claim."));
    assert_eq!(told(step(&named, None, None)).1, "volume \"v\" not found");
}

#[test]
fn a_bound_claim_without_its_volume_is_lost() {
    let done = json!({super::BIND_COMPLETED: "yes"});
    let bound = claim(done.clone(), json!({"volumeName": "v"}));
    let mine = volume(json!({}), holder("c", "1"));
    assert_eq!(step(&bound, Some(&mine), None), claim::Step::Bind(Arc::clone(&mine)));
    assert_eq!(told(step(&bound, None, None)).0, "ClaimLost");
    assert_eq!(told(step(&bound, Some(&volume(json!({}), holder("c", "0"))), None)).0, "ClaimMisbound");
    assert_eq!(told(step(&claim(done, json!({})), None, None)).0, "ClaimLost");
}

#[test]
fn a_volume_follows_its_claim() {
    let here = claim(json!({}), json!({"volumeName": "v"}));
    let says = |volume: &PersistentVolume, claim| volume::step(volume, claim);
    let mine = volume(json!({}), holder("c", "1"));
    assert_eq!(says(&volume(json!({}), json!({})), None), volume::Step::Be(Phase::Available));
    assert_eq!(says(&volume(json!({}), holder("c", "")), None), volume::Step::Be(Phase::Available));
    assert_eq!(says(&mine, Some(&here)), volume::Step::Be(Phase::Bound));
    let unsure = claim(json!({}), json!({}));
    assert_eq!(says(&mine, Some(&unsure)), volume::Step::AwaitClaim);
    let elsewhere = claim(json!({}), json!({"volumeName": "w"}));
    assert_eq!(says(&mine, Some(&elsewhere)), volume::Step::Free { reserved: true });
    let by_controller = volume(json!({super::BOUND_BY_CONTROLLER: "yes"}), holder("c", "1"));
    assert_eq!(says(&by_controller, Some(&elsewhere)), volume::Step::Free { reserved: false });
}

#[test]
fn a_volume_whose_claim_is_gone_is_released_and_what_cannot_be_deleted_says_so() {
    let with = |annotations: Value, policy: &str| {
        let mut spec = holder("c", "1");
        spec["persistentVolumeReclaimPolicy"] = json!(policy);
        volume::step(&volume(annotations, spec), None)
    };
    assert_eq!(with(json!({}), "Retain"), volume::Step::Be(Phase::Released));
    let made = json!({super::PROVISIONED_BY: "example.com/disks"});
    assert_eq!(with(made, "Delete"), volume::Step::Be(Phase::Released));
    let reason = |step| match step {
        volume::Step::CannotReclaim { reason, .. } => reason,
        other => panic!("{other:?}"),
    };
    assert_eq!(reason(with(json!({}), "Delete")), "VolumeFailedDelete");
    assert_eq!(reason(with(json!({}), "Recycle")), "VolumeFailedRecycle");
}
