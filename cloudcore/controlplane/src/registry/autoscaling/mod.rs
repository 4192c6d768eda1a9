//! The group `autoscaling`: stored, so that charts that bring an autoscaler install. Stored in the form of version 2.

mod v1;

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;

use serde_json::{Value, json};

use super::descriptor::{Descriptor, STATUS};
use crate::schema::{Errors, Json, Path};
use crate::table;

/// The kinds of the group, best version first.
pub(super) const KINDS: &[Descriptor] = &[
    Descriptor {
        short_names: &["hpa"],
        categories: &["all"],
        subresources: &[STATUS],
        default,
        prepare_create: |autoscaler| autoscaler.put("status", json!({"desiredReplicas": 0})),
        validate,
        printer: table::AUTOSCALER,
        ..Descriptor::of::<HorizontalPodAutoscaler>()
    },
    v1::AUTOSCALER,
];

fn default(autoscaler: &mut Value) {
    if let Some(spec) = autoscaler.child("spec") {
        spec.default_to("minReplicas", 1);
        if spec.list("/metrics").is_empty() {
            spec.put("metrics", json!([utilization("cpu", 80)]));
        }
    }
}

/// The wish that pods use, on average, this share of what they requested.
fn utilization(resource: &str, percent: i64) -> Value {
    let target = json!({"type": "Utilization", "averageUtilization": percent});
    json!({"type": "Resource", "resource": {"name": resource, "target": target}})
}

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
