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
    fields: &[
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.podIPs",
        "status.nominatedNodeName",
    ],
    generations: true,
    default: defaults::pod,
    prepare_create,
    validate,
    validate_update: update::validate,
    printer: table::POD,
    ..Descriptor::of::<Pod>()
};

/// What admission and the pod strategy add to a new pod.
fn prepare_create(pod: &mut Value) {
    defaults::pod(pod);
    let class = qos::class(pod.pointer("/spec").unwrap_or(&Value::Null));
    if let Some(status) = pod.child("status") {
        *status = json!({"phase": "Pending", "qosClass": class});
    }
    let mirror =
        pod.object("/metadata/annotations").is_some_and(|a| a.contains_key("kubernetes.io/config.mirror"));
    let Some(spec) = pod.get_mut("spec") else { return };
    if !mirror {
        if spec.text("/serviceAccountName").is_empty() {
            spec.put("serviceAccountName", json!("default"));
        }
        defaults::service_account(spec);
    }
    if spec.text("/priorityClassName").is_empty() {
        spec.default_to("priority", 0);
        spec.default_to("preemptionPolicy", "PreemptLowerPriority");
    }
    tolerate_unreachable_nodes(spec);
}

/// Admission plugin DefaultTolerationSeconds: five minutes on a node that is not ready or cannot be reached.
fn tolerate_unreachable_nodes(spec: &mut Value) {
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let tolerated = spec.list("/tolerations").iter().any(|one| {
            matches!(one.text("/key"), "" | "node.kubernetes.io/not-ready" | "node.kubernetes.io/unreachable")
                && (one.text("/key").is_empty() || one.text("/key") == key)
                && matches!(one.text("/effect"), "" | "NoExecute")
        });
        if !tolerated {
            spec.default_to("tolerations", Vec::<Value>::new());
            if let Some(Value::Array(list)) = spec.get_mut("tolerations") {
                list.push(json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}));
            }
        }
    }
}

fn validate(pod: &Value, errors: &mut Errors) {
    let root = Path::Root;
    spec::validate(pod.get("spec").unwrap_or(&Value::Null), &root.field("spec"), errors);
}

#[cfg(test)]
mod tests;
