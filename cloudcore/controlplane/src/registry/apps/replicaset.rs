//! Replica sets, and replication controllers before them.

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::ReplicationController;
use serde_json::{Value, json};

use super::super::descriptor::{Descriptor, SCALE, STATUS};
use crate::schema::{Errors, Json, Path};
use crate::table;

pub(super) const REPLICA_SET: Descriptor = Descriptor {
    short_names: &["rs"],
    categories: &["all"],
    subresources: &[SCALE, STATUS],
    generations: true,
    default,
    prepare_create,
    validate: super::validate_workload,
    validate_update: super::validate_selector_update,
    printer: table::REPLICA_SET,
    ..Descriptor::of::<ReplicaSet>()
};

pub(in crate::registry) const REPLICATION_CONTROLLER: Descriptor = Descriptor {
    short_names: &["rc"],
    categories: &["all"],
    subresources: &[SCALE, STATUS],
    generations: true,
    default: default_controller,
    prepare_create,
    validate: validate_controller,
    printer: table::REPLICA_SET,
    ..Descriptor::of::<ReplicationController>()
};

fn default(set: &mut Value) {
    if let Some(spec) = set.child("spec") {
        spec.default_to("replicas", 1);
    }
    super::default_template(set);
}

fn prepare_create(set: &mut Value) {
    set.put("status", json!({"replicas": 0}));
}

/// The selector of a replication controller is a plain map and defaults to the template's labels.
fn default_controller(controller: &mut Value) {
    if let Some(labels) = controller.pointer("/spec/template/metadata/labels").cloned() {
        if let Some(spec) = controller.get_mut("spec") {
            spec.default_to("selector", labels.clone());
        }
        if let Some(meta) = controller.child("metadata") {
            meta.default_to("labels", labels);
        }
    }
    default(controller);
}

fn validate_controller(controller: &Value, errors: &mut Errors) {
    let root = Path::Root;
    let spec = root.field("spec");
    super::not_negative(controller, "replicas", errors);
    let selector = controller.object("/spec/selector");
    if selector.is_none_or(serde_json::Map::is_empty) {
        errors.required(&spec.field("selector"), "");
    }
    let template = controller.pointer("/spec/template").unwrap_or(&Value::Null);
    let labels = template.object("/metadata/labels");
    let matched =
        selector.into_iter().flatten().all(|(key, value)| labels.and_then(|all| all.get(key)) == Some(value));
    if !matched {
        let path = spec.field("template");
        let meta = path.field("metadata");
        let value = labels.cloned().unwrap_or_default();
        errors.invalid(&meta.field("labels"), value, "`selector` does not match template `labels`");
    }
    super::pod::validate_template(template, &spec.field("template"), errors);
}
