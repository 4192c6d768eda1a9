//! Stateful sets.

use k8s_openapi::api::apps::v1::StatefulSet;
use serde_json::{Value, json};

use super::super::descriptor::{Descriptor, SCALE, STATUS};
use crate::schema::{Errors, Json, Path};
use crate::table;

/// What may change in a stateful set that exists.
const MUTABLE: &[&str] = &[
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];

pub(super) const STATEFUL_SET: Descriptor = Descriptor {
    short_names: &["sts"],
    categories: &["all"],
    subresources: &[SCALE, STATUS],
    generations: true,
    default,
    prepare_create: |set| set.put("status", json!({"replicas": 0, "availableReplicas": 0})),
    validate,
    validate_update,
    printer: table::STATEFUL_SET,
    ..Descriptor::of::<StatefulSet>()
};

fn default(set: &mut Value) {
    let Some(spec) = set.child("spec") else { return };
    spec.default_to("replicas", 1);
    spec.default_to("revisionHistoryLimit", 10);
    spec.default_to("podManagementPolicy", "OrderedReady");
    if let Some(policy) = spec.child("persistentVolumeClaimRetentionPolicy") {
        policy.default_to("whenDeleted", "Retain");
        policy.default_to("whenScaled", "Retain");
    }
    if let Some(strategy) = spec.child("updateStrategy") {
        strategy.default_to("type", "RollingUpdate");
        if strategy.text("/type") == "RollingUpdate"
            && let Some(rolling) = strategy.child("rollingUpdate")
        {
            rolling.default_to("partition", 0);
        }
    }
    for claim in spec.list_mut("/volumeClaimTemplates") {
        claim.default_to("apiVersion", "v1");
        claim.default_to("kind", "PersistentVolumeClaim");
        if let Some(spec) = claim.child("spec") {
            spec.default_to("volumeMode", "Filesystem");
        }
        claim.default_to("status", json!({"phase": "Pending"}));
    }
    super::default_template(set);
}

fn validate(set: &Value, errors: &mut Errors) {
    super::validate_workload(set, errors);
    let root = Path::Root;
    let spec = root.field("spec");
    let policy = set.text("/spec/podManagementPolicy");
    if !matches!(policy, "OrderedReady" | "Parallel") {
        let detail = "must be 'OrderedReady' or 'Parallel'";
        errors.invalid(&spec.field("podManagementPolicy"), policy, detail);
    }
    let path = spec.field("updateStrategy");
    let strategy = set.pointer("/spec/updateStrategy").unwrap_or(&Value::Null);
    match strategy.text("/type") {
        "OnDelete" if strategy.has("/rollingUpdate") => {
            let detail = "only allowed for updateStrategy 'RollingUpdate'";
            errors.invalid(&path.field("rollingUpdate"), strategy["rollingUpdate"].clone(), detail);
        }
        "OnDelete" => {}
        "RollingUpdate" => {
            let rolling = path.field("rollingUpdate");
            super::checks::not_negative(&strategy["rollingUpdate"], &["partition"], &rolling, errors);
            super::rolling(strategy, &path, errors);
        }
        other => {
            errors.invalid(&path.field("type"), other, "must be 'RollingUpdate' or 'OnDelete'");
        }
    }
}

fn validate_update(old: &Value, new: &Value, errors: &mut Errors) {
    let fixed = |set: &Value| {
        let mut spec = set.get("spec").cloned().unwrap_or_default();
        if let Some(map) = spec.as_object_mut() {
            for field in MUTABLE {
                map.shift_remove(*field);
            }
        }
        spec
    };
    if fixed(old) != fixed(new) {
        let detail = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
        errors.forbidden(&Path::Root.field("spec"), detail);
    }
}
