//! The group `autoscaling`: stored, so that charts that bring an autoscaler install.

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;

use serde_json::Value;

use super::descriptor::{Descriptor, STATUS};
use crate::schema::{Errors, Json, Path};
use crate::table;

/// The kinds of `autoscaling/v2`.
pub(super) const KINDS: &[Descriptor] = &[Descriptor {
    short_names: &["hpa"],
    categories: &["all"],
    subresources: &[STATUS],
    default: |autoscaler| {
        if let Some(spec) = autoscaler.child("spec") {
            spec.default_to("minReplicas", 1);
        }
    },
    validate,
    printer: table::AUTOSCALER,
    ..Descriptor::of::<HorizontalPodAutoscaler>()
}];

fn validate(autoscaler: &Value, errors: &mut Errors) {
    let root = Path::Root;
    let spec = root.field("spec");
    let (least, most) = (
        autoscaler.int("/spec/minReplicas").unwrap_or(1),
        autoscaler.int("/spec/maxReplicas").unwrap_or_default(),
    );
    if least < 1 {
        errors.invalid(&spec.field("minReplicas"), least, "must be greater than or equal to 1");
    }
    if most < 1 {
        errors.invalid(&spec.field("maxReplicas"), most, "must be greater than 0");
    } else if most < least {
        errors.invalid(&spec.field("maxReplicas"), most, "must be greater than or equal to `minReplicas`");
    }
    let target = spec.field("scaleTargetRef");
    for field in ["kind", "name"] {
        if autoscaler.text(&format!("/spec/scaleTargetRef/{field}")).is_empty() {
            errors.required(&target.field(field), "");
        }
    }
}
