//! Deployments.

use k8s_openapi::api::apps::v1::Deployment;
use serde_json::{Value, json};

use super::super::descriptor::{Descriptor, SCALE, STATUS};
use crate::schema::{Errors, Json, Path};
use crate::table;

pub(super) const DEPLOYMENT: Descriptor = Descriptor {
    short_names: &["deploy"],
    categories: &["all"],
    subresources: &[SCALE, STATUS],
    generations: true,
    default,
    validate,
    validate_update: super::validate_selector_update,
    printer: table::DEPLOYMENT,
    ..Descriptor::of::<Deployment>()
};

fn default(deployment: &mut Value) {
    let Some(spec) = deployment.child("spec") else { return };
    spec.default_to("replicas", 1);
    spec.default_to("revisionHistoryLimit", 10);
    spec.default_to("progressDeadlineSeconds", 600);
    if let Some(strategy) = spec.child("strategy") {
        strategy.default_to("type", "RollingUpdate");
        if strategy.text("/type") == "RollingUpdate"
            && let Some(rolling) = strategy.child("rollingUpdate")
        {
            rolling.default_to("maxUnavailable", "25%");
            rolling.default_to("maxSurge", "25%");
        }
    }
    super::default_template(deployment);
}

fn validate(deployment: &Value, errors: &mut Errors) {
    super::validate_workload(deployment, errors);
    let root = Path::Root;
    let spec = root.field("spec");
    let strategy = spec.field("strategy");
    let kind = deployment.text("/spec/strategy/type");
    let rolling = deployment.pointer("/spec/strategy/rollingUpdate");
    match kind {
        "Recreate" if rolling.is_some() => {
            let detail = "may not be specified when strategy `type` is 'Recreate'";
            errors.forbidden(&strategy.field("rollingUpdate"), detail);
        }
        "Recreate" => {}
        "RollingUpdate" => {
            super::rolling(deployment.pointer("/spec/strategy").unwrap_or(&Value::Null), &strategy, errors);
            let zero = |field: &str| {
                let value = rolling.and_then(|all| all.get(field));
                value.is_some_and(|value| *value == json!(0) || *value == json!("0%"))
            };
            if zero("maxUnavailable") && zero("maxSurge") {
                let value = rolling.and_then(|all| all.get("maxUnavailable")).cloned().unwrap_or_default();
                let detail = "may not be 0 when `maxSurge` is 0";
                errors.invalid(&strategy.field("rollingUpdate").field("maxUnavailable"), value, detail);
            }
        }
        other => errors.not_supported(&strategy.field("type"), other, &["Recreate", "RollingUpdate"]),
    }
    super::not_negative(deployment, "progressDeadlineSeconds", errors);
    let (deadline, ready) = (
        deployment.int("/spec/progressDeadlineSeconds"),
        deployment.int("/spec/minReadySeconds").unwrap_or(0),
    );
    if let Some(deadline) = deadline
        && deadline <= ready
    {
        let detail = "must be greater than minReadySeconds";
        errors.invalid(&spec.field("progressDeadlineSeconds"), deadline, detail);
    }
}
