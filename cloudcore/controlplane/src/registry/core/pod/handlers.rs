//! Rules for probes and lifecycle hooks.

use serde_json::Value;

use super::containers::PORT_RANGE;
use crate::registry::names;
use crate::schema::{Errors, Json, Path};

const KINDS: &[&str] = &["exec", "httpGet", "tcpSocket", "grpc", "sleep"];

/// Rules for a container's probes and hooks. Init containers have none, unless they are restartable.
pub(super) fn validate(container: &Value, path: &Path<'_>, app: bool, errors: &mut Errors) {
    let sidecar = container.text("/restartPolicy") == "Always";
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = container.get(name) else { continue };
        let here = path.field(name);
        if !app && !sidecar {
            let detail = "may not be set for init containers without restartPolicy=Always";
            errors.forbidden(&here, detail);
            continue;
        }
        one_handler(probe, &here, errors);
        for field in
            ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"]
        {
            let number = probe.get(field).and_then(Value::as_i64).unwrap_or_default();
            if number < 0 {
                errors.invalid(&here.field(field), number, "must be greater than or equal to 0");
            }
        }
        let successes = probe.int("/successThreshold").unwrap_or(1);
        if name != "readinessProbe" && successes != 1 {
            errors.invalid(&here.field("successThreshold"), successes, "must be 1");
        }
    }
    for name in ["postStart", "preStop"] {
        if let Some(hook) = container.pointer(&format!("/lifecycle/{name}")) {
            one_handler(hook, &path.field("lifecycle").field(name), errors);
        }
    }
}

fn one_handler(handler: &Value, path: &Path<'_>, errors: &mut Errors) {
    let given: Vec<_> = KINDS.iter().filter(|kind| handler.get(**kind).is_some()).collect();
    if given.is_empty() {
        errors.required(path, "must specify a handler type");
    }
    for kind in given.iter().skip(1) {
        errors.forbidden(&path.field(kind), "may not specify more than 1 handler type");
    }
    let Some(kind) = given.first() else { return };
    let Some(action) = handler.get(**kind) else { return };
    let here = path.field(kind);
    match **kind {
        "exec" if action.list("/command").is_empty() => errors.required(&here.field("command"), ""),
        "httpGet" => {
            port(action.get("port"), &here.field("port"), errors);
            if action.text("/path").is_empty() {
                errors.required(&here.field("path"), "");
            }
            if !matches!(action.text("/scheme"), "HTTP" | "HTTPS") {
                errors.not_supported(&here.field("scheme"), action.text("/scheme"), &["HTTP", "HTTPS"]);
            }
        }
        "tcpSocket" | "grpc" => port(action.get("port"), &here.field("port"), errors),
        _ => {}
    }
}

fn port(port: Option<&Value>, path: &Path<'_>, errors: &mut Errors) {
    match port {
        Some(Value::String(name)) => {
            for wrong in names::port_name(name) {
                errors.invalid(path, name.as_str(), &wrong);
            }
        }
        other => {
            let number = other.and_then(Value::as_i64).unwrap_or_default();
            if !(1..=65535).contains(&number) {
                errors.invalid(path, number, PORT_RANGE);
            }
        }
    }
}
