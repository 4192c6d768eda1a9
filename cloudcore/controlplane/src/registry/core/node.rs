//! Nodes. An agent registers its node together with its status.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Node;
use serde_json::Value;

use super::super::descriptor::{Descriptor, STATUS};
use super::super::{checks, names};
use crate::schema::{Errors, Json, Path};
use crate::table;

const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];

pub(super) const NODE: Descriptor = Descriptor {
    short_names: &["no"],
    subresources: &[STATUS],
    keeps_status_on_create: true,
    default,
    validate,
    validate_update,
    printer: table::NODE,
    ..Descriptor::of::<Node>()
};

fn default(node: &mut Value) {
    node.default_to("spec", serde_json::Map::new());
    if let Some(status) = node.get_mut("status")
        && let Some(capacity) = status.get("capacity").cloned()
    {
        status.default_to("allocatable", capacity);
    }
}

fn validate(node: &Value, errors: &mut Errors) {
    let root = Path::Root;
    let spec = root.field("spec");
    let taints = spec.field("taints");
    let status = root.field("status");
    for list in ["capacity", "allocatable"] {
        checks::quantities(node.pointer(&format!("/status/{list}")), &status.field(list), errors);
    }
    let mut seen = BTreeSet::new();
    for (index, taint) in node.list("/spec/taints").iter().enumerate() {
        let here = taints.index(index);
        let (key, effect) = (taint.text("/key"), taint.text("/effect"));
        for wrong in names::qualified_name(key) {
            errors.invalid(&here.field("key"), key, &wrong);
        }
        for wrong in names::label_value(taint.text("/value")) {
            errors.invalid(&here.field("value"), taint.text("/value"), &wrong);
        }
        if effect.is_empty() {
            errors.required(&here.field("effect"), "");
        } else if !EFFECTS.contains(&effect) {
            errors.not_supported(&here.field("effect"), effect, EFFECTS);
        }
        if !seen.insert((key, effect)) {
            errors.duplicate(&here, taint.clone());
        }
    }
}

fn validate_update(old: &Value, new: &Value, errors: &mut Errors) {
    let root = Path::Root;
    let spec = root.field("spec");
    for field in ["podCIDR", "providerID"] {
        let pointer = format!("/spec/{field}");
        let before = old.text(&pointer);
        if !before.is_empty() && before != new.text(&pointer) {
            errors.forbidden(&spec.field(field), "node updates may not change this field once it is set");
        }
    }
}
