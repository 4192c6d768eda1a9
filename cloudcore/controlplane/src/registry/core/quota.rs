//! Limit ranges and resource quotas. Admission enforces them.

use k8s_openapi::api::core::v1::{LimitRange, ResourceQuota};
use serde_json::{Map, Value};

use super::super::descriptor::{Descriptor, STATUS};
use crate::schema::{Errors, Json, Path, quantity};
use crate::table;

pub(super) const LIMIT_RANGE: Descriptor = Descriptor {
    short_names: &["limits"],
    create_on_update: true,
    default: default_limits,
    printer: table::NAME_AND_CREATED_AT,
    ..Descriptor::of::<LimitRange>()
};

pub(super) const RESOURCE_QUOTA: Descriptor = Descriptor {
    short_names: &["quota"],
    subresources: &[STATUS],
    validate: validate_quota,
    printer: table::RESOURCE_QUOTA,
    ..Descriptor::of::<ResourceQuota>()
};

/// What containers get by default is what they may have at most, or must have at least.
fn default_limits(range: &mut Value) {
    for item in range.list_mut("/spec/limits") {
        if item.text("/type") != "Container" {
            continue;
        }
        for (into, from) in [("default", "max"), ("defaultRequest", "default"), ("defaultRequest", "min")] {
            let Some(from) = item.object(&format!("/{from}")).cloned() else { continue };
            item.default_to(into, Map::new());
            if let Some(into) = item.get_mut(into) {
                for (name, quantity) in from {
                    into.default_to(&name, quantity);
                }
            }
        }
    }
}

fn validate_quota(quota: &Value, errors: &mut Errors) {
    let root = Path::Root;
    let spec = root.field("spec");
    let hard = spec.field("hard");
    for (name, value) in quota.object("/spec/hard").into_iter().flatten() {
        let text = quantity::text(value);
        match quantity::Quantity::parse(&text) {
            Ok(parsed) if parsed.is_negative() => {
                errors.invalid(&hard.key(name), text, "must be greater than or equal to 0");
            }
            Ok(_) => {}
            Err(detail) => errors.invalid(&hard.key(name), text, &detail),
        }
    }
}
