//! Pods, and the pod spec that every workload embeds.

mod containers;
mod defaults;
mod handlers;
mod qos;
mod spec;
mod update;
mod volumes;

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

pub(in crate::registry) use defaults::template as default_template;
pub(in crate::registry) use spec::validate_template;

use super::super::descriptor::{Descriptor, STATUS, Subresource};
use crate::schema::{Errors, Json, Path};
use crate::table;

const STREAM: &[&str] = &["create", "get"];

pub(super) const POD: Descriptor = Descriptor {
    short_names: &["po"],
    categories: &["all"],
    subresources: &[
        Subresource { name: "attach", body: Some(("", "v1", "PodAttachOptions")), verbs: STREAM },
        Subresource { name: "binding", body: Some(("", "v1", "Binding")), verbs: &["create"] },
        Subresource { name: "ephemeralcontainers", body: None, verbs: &["get", "patch", "update"] },
        Subresource { name: "eviction", body: Some(("policy", "v1", "Eviction")), verbs: &["create"] },
        Subresource { name: "exec", body: Some(("", "v1", "PodExecOptions")), verbs: STREAM },
        Subresource { name: "log", body: None, verbs: &["get"] },
        Subresource { name: "portforward", body: Some(("", "v1", "PodPortForwardOptions")), verbs: STREAM },
        STATUS,
    ],
    generations: true,
    default: defaults::pod,
    prepare_create,
    validate,
    validate_update: update::validate,
    printer: table::POD,
    ..Descriptor::of::<Pod>()
};

/// What the pod strategy adds to a new pod.
fn prepare_create(pod: &mut Value) {
    defaults::pod(pod);
    pod.put("status", json!({"phase": "Pending"}));
    classify(pod);
    let mirror =
        pod.object("/metadata/annotations").is_some_and(|a| a.contains_key("kubernetes.io/config.mirror"));
    let Some(spec) = pod.get_mut("spec") else { return };
    if !mirror {
        if spec.text("/serviceAccountName").is_empty() {
            spec.put("serviceAccountName", json!("default"));
        }
        defaults::service_account(spec);
    }
}

/// Sets the quality-of-service class of a new pod, whose resources admission may have filled in.
pub(crate) fn classify(pod: &mut Value) {
    let class = qos::class(pod.pointer("/spec").unwrap_or(&Value::Null));
    if let Some(status) = pod.child("status") {
        status.put("qosClass", json!(class));
    }
}

fn validate(pod: &Value, errors: &mut Errors) {
    let root = Path::Root;
    spec::validate(pod.get("spec").unwrap_or(&Value::Null), &root.field("spec"), errors);
}

#[cfg(test)]
mod tests;
