//! Persistent volumes and claims.

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use serde_json::{Value, json};

use super::super::checks;
use super::super::descriptor::{Descriptor, STATUS};
use crate::schema::{Errors, Json, Path};
use crate::table;

/// Fields of a volume's spec that are not its source.
const NO_SOURCES: &[&str] = &[
    "capacity",
    "accessModes",
    "claimRef",
    "persistentVolumeReclaimPolicy",
    "storageClassName",
    "mountOptions",
    "volumeMode",
    "nodeAffinity",
    "volumeAttributesClassName",
];
const ACCESS: &[&str] = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];

pub(super) const CLAIM: Descriptor = Descriptor {
    short_names: &["pvc"],
    subresources: &[STATUS],
    default: |claim| {
        if let Some(spec) = claim.child("spec") {
            spec.default_to("volumeMode", "Filesystem");
        }
    },
    prepare_create: |claim| born(claim, "kubernetes.io/pvc-protection"),
    validate: validate_claim,
    validate_update: validate_claim_update,
    printer: table::CLAIM,
    ..Descriptor::of::<PersistentVolumeClaim>()
};

pub(super) const VOLUME: Descriptor = Descriptor {
    short_names: &["pv"],
    subresources: &[STATUS],
    default: |volume| {
        if let Some(spec) = volume.child("spec") {
            spec.default_to("persistentVolumeReclaimPolicy", "Retain");
            spec.default_to("volumeMode", "Filesystem");
            if let Some(path) = spec.get_mut("hostPath") {
                path.default_to("type", "");
            }
        }
    },
    prepare_create: |volume| born(volume, "kubernetes.io/pv-protection"),
    validate: validate_volume,
    validate_update: validate_volume_update,
    printer: table::VOLUME,
    ..Descriptor::of::<PersistentVolume>()
};

/// Nobody has it yet, and it does not go while it is in use: the controllers take the finalizer away. Source: Kubernetes v1.36
/// `plugin/pkg/admission/storage/storageobjectinuseprotection`.
fn born(object: &mut Value, finalizer: &str) {
    object.put("status", json!({"phase": "Pending"}));
    let Some(meta) = object.child("metadata") else { return };
    let finalizers = meta.list("/finalizers");
    if !finalizers.iter().any(|one| one == finalizer) {
        let mut finalizers = finalizers.to_vec();
        finalizers.push(json!(finalizer));
        meta.put("finalizers", json!(finalizers));
    }
}

fn access_modes(object: &Value, spec: &Path<'_>, detail: &str, errors: &mut Errors) {
    let path = spec.field("accessModes");
    if object.list("/spec/accessModes").is_empty() {
        errors.required(&path, detail);
    }
    for mode in object.list("/spec/accessModes") {
        if !mode.as_str().is_some_and(|mode| ACCESS.contains(&mode)) {
            errors.not_supported(&path, mode.clone(), ACCESS);
        }
    }
}

fn validate_claim(claim: &Value, errors: &mut Errors) {
    let root = Path::Root;
    let spec = root.field("spec");
    access_modes(claim, &spec, "at least 1 access mode is required", errors);
    if !claim.has("/spec/resources/requests/storage") {
        let resources = spec.field("resources");
        errors.required(&resources.key("storage"), "");
    }
    let resources = spec.field("resources");
    let requests = claim.pointer("/spec/resources/requests");
    if let Some(storage) = requests.and_then(|all| all.get("storage"))
        && crate::schema::quantity::Quantity::parse(&crate::schema::quantity::text(storage))
            .is_ok_and(|one| one.is_zero() || one.is_negative())
    {
        let requests = resources.field("requests");
        errors.invalid(&requests.key("storage"), storage.clone(), "must be greater than zero");
    }
    if let Some(selector) = claim.pointer("/spec/selector") {
        checks::selector(selector, &spec.field("selector"), errors);
    }
    let mode = claim.text("/spec/volumeMode");
    if !matches!(mode, "Block" | "Filesystem") {
        errors.not_supported(&spec.field("volumeMode"), mode, &["Block", "Filesystem"]);
    }
}

fn validate_claim_update(old: &Value, new: &Value, errors: &mut Errors) {
    let fixed = |claim: &Value| {
        let mut spec = claim.get("spec").cloned().unwrap_or_default();
        if let Some(map) = spec.as_object_mut() {
            for field in ["resources", "volumeAttributesClassName", "volumeName", "storageClassName"] {
                map.shift_remove(field);
            }
        }
        spec
    };
    let volume = old.text("/spec/volumeName");
    let rebound = !volume.is_empty() && volume != new.text("/spec/volumeName");
    if rebound || fixed(old) != fixed(new) {
        let detail = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
        errors.forbidden(&Path::Root.field("spec"), detail);
    }
}

fn validate_volume(volume: &Value, errors: &mut Errors) {
    let root = Path::Root;
    let spec = root.field("spec");
    if volume.object("/spec/capacity").is_none_or(serde_json::Map::is_empty) {
        errors.required(&spec.field("capacity"), "");
    }
    checks::quantities(volume.pointer("/spec/capacity"), &spec.field("capacity"), errors);
    access_modes(volume, &spec, "", errors);
    let own = volume.object("/spec").into_iter().flatten();
    let sources = own.filter(|(field, _)| !NO_SOURCES.contains(&field.as_str())).count();
    if sources == 0 {
        errors.required(&spec, "must specify a volume type");
    }
    let policy = volume.text("/spec/persistentVolumeReclaimPolicy");
    if !matches!(policy, "Delete" | "Recycle" | "Retain") {
        let path = spec.field("persistentVolumeReclaimPolicy");
        errors.not_supported(&path, policy, &["Delete", "Recycle", "Retain"]);
    }
}

/// What a volume is made of never changes.
fn validate_volume_update(old: &Value, new: &Value, errors: &mut Errors) {
    let source = |volume: &Value| {
        let mut spec = volume.get("spec").cloned().unwrap_or_default();
        if let Some(map) = spec.as_object_mut() {
            for field in NO_SOURCES {
                map.shift_remove(*field);
            }
        }
        spec
    };
    if source(old) != source(new) {
        let detail = "spec.persistentvolumesource is immutable after creation";
        errors.forbidden(&Path::Root.field("spec").field("persistentvolumesource"), detail);
    }
    checks::immutable(old, new, &["spec.volumeMode"], errors);
}
