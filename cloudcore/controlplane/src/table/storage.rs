//! Persistent volumes and claims.

use serde_json::{Value, json};

use super::age::age;
use super::format::name;
use super::{AGE, NAME, Printer, text, wide};
use crate::schema::Json;

fn access_modes(object: &Value, pointer: &str) -> String {
    let short = object.list(pointer).iter().filter_map(Value::as_str).map(|mode| match mode {
        "ReadWriteOnce" => "RWO",
        "ReadOnlyMany" => "ROX",
        "ReadWriteMany" => "RWX",
        "ReadWriteOncePod" => "RWOP",
        other => other,
    });
    short.collect::<Vec<_>>().join(",")
}

fn or_unset(object: &Value, pointer: &str) -> Value {
    json!(super::format::or(object.text(pointer), "<unset>"))
}

pub(crate) const CLAIM: Printer = Printer::new(
    &[
        NAME,
        text("Status"),
        text("Volume"),
        text("Capacity"),
        text("Access Modes"),
        text("StorageClass"),
        text("VolumeAttributesClass"),
        AGE,
        wide("VolumeMode"),
    ],
    |claim, now| {
        let deleted = claim.has("/metadata/deletionTimestamp");
        let phase = if deleted { "Terminating" } else { claim.text("/status/phase") };
        let bound = !claim.text("/spec/volumeName").is_empty();
        let (modes, capacity) = if bound {
            (access_modes(claim, "/status/accessModes"), claim.text("/status/capacity/storage"))
        } else {
            (String::new(), "")
        };
        vec![
            name(claim),
            json!(phase),
            json!(claim.text("/spec/volumeName")),
            json!(capacity),
            json!(modes),
            json!(claim.text("/spec/storageClassName")),
            or_unset(claim, "/spec/volumeAttributesClassName"),
            age(claim, now),
            or_unset(claim, "/spec/volumeMode"),
        ]
    },
);

pub(crate) const VOLUME: Printer = Printer::new(
    &[
        NAME,
        text("Capacity"),
        text("Access Modes"),
        text("Reclaim Policy"),
        text("Status"),
        text("Claim"),
        text("StorageClass"),
        text("VolumeAttributesClass"),
        text("Reason"),
        AGE,
        wide("VolumeMode"),
    ],
    |volume, now| {
        let deleted = volume.has("/metadata/deletionTimestamp");
        let phase = if deleted { "Terminating" } else { volume.text("/status/phase") };
        let claim = match volume.text("/spec/claimRef/name") {
            "" => String::new(),
            claim => format!("{}/{claim}", volume.text("/spec/claimRef/namespace")),
        };
        vec![
            name(volume),
            json!(volume.text("/spec/capacity/storage")),
            json!(access_modes(volume, "/spec/accessModes")),
            json!(volume.text("/spec/persistentVolumeReclaimPolicy")),
            json!(phase),
            json!(claim),
            json!(volume.text("/spec/storageClassName")),
            or_unset(volume, "/spec/volumeAttributesClassName"),
            json!(volume.text("/status/reason")),
            age(volume, now),
            or_unset(volume, "/spec/volumeMode"),
        ]
    },
);
