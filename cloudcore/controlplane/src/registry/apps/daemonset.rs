//! Daemon sets.

use k8s_openapi::api::apps::v1::DaemonSet;
use serde_json::{Value, json};

use super::super::descriptor::{Descriptor, STATUS};
use crate::schema::{Errors, Json, Path};
use crate::table;

pub(super) const DAEMON_SET: Descriptor = Descriptor {
    short_names: &["ds"],
    categories: &["all"],
    subresources: &[STATUS],
    generations: true,
    default,
    prepare_create,
    prepare_update,
    validate,
    validate_update: super::validate_selector_update,
    printer: table::DAEMON_SET,
    ..Descriptor::of::<DaemonSet>()
};

fn default(set: &mut Value) {
    let Some(spec) = set.child("spec") else { return };
    spec.default_to("revisionHistoryLimit", 10);
    if let Some(strategy) = spec.child("updateStrategy") {
        strategy.default_to("type", "RollingUpdate");
        if strategy.text("/type") == "RollingUpdate"
            && let Some(rolling) = strategy.child("rollingUpdate")
        {
            rolling.default_to("maxUnavailable", 1);
            rolling.default_to("maxSurge", 0);
        }
    }
    super::default_template(set);
}

const GENERATION: &str = "deprecated.daemonset.template.generation";

/// Counts the changes of the template.
fn prepare_update(old: &Value, new: &mut Value) {
    let before = old.text(&format!("/metadata/annotations/{GENERATION}")).parse::<i64>().unwrap_or(1);
    super::default_template(new);
    let changed = old.pointer("/spec/template") != new.pointer("/spec/template");
    let now = before.saturating_add(i64::from(changed)).to_string();
    if let Some(annotations) = new.child("metadata").and_then(|meta| meta.child("annotations")) {
        annotations.put(GENERATION, now);
    }
}

fn validate(set: &Value, errors: &mut Errors) {
    super::validate_workload(set, errors);
    let root = Path::Root;
    let spec = root.field("spec");
    let path = spec.field("updateStrategy");
    let strategy = set.pointer("/spec/updateStrategy").unwrap_or(&Value::Null);
    match strategy.text("/type") {
        "OnDelete" => {}
        "RollingUpdate" => {
            super::rolling(strategy, &path, errors);
            let zero = |field: &str| matches!(strategy.pointer(&format!("/rollingUpdate/{field}")), Some(one) if *one == json!(0) || *one == json!("0%"));
            if zero("maxUnavailable") && zero("maxSurge") {
                let rolling = path.field("rollingUpdate");
                let detail = "cannot be 0 when maxSurge is 0";
                errors.invalid(
                    &rolling.field("maxUnavailable"),
                    strategy["rollingUpdate"]["maxUnavailable"].clone(),
                    detail,
                );
            }
        }
        other => errors.not_supported(&path.field("type"), other, &["OnDelete", "RollingUpdate"]),
    }
}

fn prepare_create(set: &mut Value) {
    set.put("status", json!({"currentNumberScheduled": 0, "desiredNumberScheduled": 0, "numberMisscheduled": 0, "numberReady": 0}));
    if let Some(annotations) = set.child("metadata").and_then(|meta| meta.child("annotations")) {
        annotations.default_to(GENERATION, "1");
    }
}
