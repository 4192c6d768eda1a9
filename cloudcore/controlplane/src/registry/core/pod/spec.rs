//! Rules for a pod spec as a whole.

use serde_json::Value;

use super::{containers, volumes};
use crate::registry::{meta, names};
use crate::schema::{Errors, Json, Path};

const RESTART: &[&str] = &["Always", "OnFailure", "Never"];
const DNS: &[&str] = &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// Rules for the template of a workload: its labels, annotations and pod spec.
pub(in crate::registry) fn validate_template(template: &Value, path: &Path<'_>, errors: &mut Errors) {
    let meta = path.field("metadata");
    meta::labels(template.pointer("/metadata/labels"), &meta.field("labels"), errors);
    meta::annotations(template.pointer("/metadata/annotations"), &meta.field("annotations"), errors);
    validate(template.get("spec").unwrap_or(&Value::Null), &path.field("spec"), errors);
}

/// Rules for a pod spec.
pub(super) fn validate(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let volumes = volumes::validate(spec.list("/volumes"), &path.field("volumes"), errors);
    containers::validate(spec, path, &volumes, errors);
    one_of(spec, "restartPolicy", RESTART, path, errors);
    one_of(spec, "dnsPolicy", DNS, path, errors);
    let grace = path.field("terminationGracePeriodSeconds");
    match spec.int("/terminationGracePeriodSeconds") {
        Some(seconds) if seconds < 0 => errors.invalid(&grace, seconds, "must be greater than or equal to 0"),
        _ => {}
    }
    if let Some(seconds) = spec.int("/activeDeadlineSeconds")
        && !(1..=i64::from(i32::MAX)).contains(&seconds)
    {
        errors.invalid(
            &path.field("activeDeadlineSeconds"),
            seconds,
            "must be between 1 and 2147483647, inclusive",
        );
    }
    for (field, check) in [
        ("nodeName", names::dns_subdomain as names::Check),
        ("serviceAccountName", names::dns_subdomain),
        ("hostname", names::dns_label),
        ("subdomain", names::dns_label),
        ("priorityClassName", names::dns_subdomain),
    ] {
        let name = spec.get(field).and_then(Value::as_str).unwrap_or_default();
        if !name.is_empty() {
            for wrong in check(name) {
                errors.invalid(&path.field(field), name, &wrong);
            }
        }
    }
    meta::labels(spec.get("nodeSelector"), &path.field("nodeSelector"), errors);
    for (index, toleration) in spec.list("/tolerations").iter().enumerate() {
        self::toleration(toleration, &path.field("tolerations").index(index), errors);
    }
    for (index, secret) in spec.list("/imagePullSecrets").iter().enumerate() {
        if secret.text("/name").is_empty() {
            errors.required(&path.field("imagePullSecrets").index(index).field("name"), "");
        }
    }
}

fn one_of(spec: &Value, field: &str, supported: &[&str], path: &Path<'_>, errors: &mut Errors) {
    match spec.get(field).and_then(Value::as_str).unwrap_or_default() {
        "" => errors.required(&path.field(field), ""),
        value if !supported.contains(&value) => errors.not_supported(&path.field(field), value, supported),
        _ => {}
    }
}

fn toleration(toleration: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (key, operator, effect) =
        (toleration.text("/key"), toleration.text("/operator"), toleration.text("/effect"));
    if !key.is_empty() {
        for wrong in names::qualified_name(key) {
            errors.invalid(&path.field("key"), key, &wrong);
        }
    } else if operator != "Exists" {
        let detail =
            "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
        errors.invalid(&path.field("operator"), operator, detail);
    }
    match operator {
        "" | "Equal" => {
            for wrong in names::label_value(toleration.text("/value")) {
                errors.invalid(&path.field("operator"), toleration.text("/value"), &wrong);
            }
        }
        "Exists" => {
            if !toleration.text("/value").is_empty() {
                let detail = "value must be empty when `operator` is 'Exists'";
                errors.invalid(&path.field("operator"), toleration.clone(), detail);
            }
        }
        other => errors.not_supported(&path.field("operator"), other, &["Equal", "Exists"]),
    }
    if !effect.is_empty() && !EFFECTS.contains(&effect) {
        errors.not_supported(&path.field("effect"), effect, EFFECTS);
    }
    if toleration.has("/tolerationSeconds") && effect != "NoExecute" {
        let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
        errors.invalid(&path.field("effect"), effect, detail);
    }
}
