//! Namespaces: a label with their own name, and a finalizer that empties them before they go.

use k8s_openapi::api::core::v1::Namespace;
use serde_json::{Value, json};

use super::super::descriptor::{Descriptor, STATUS, Subresource};
use super::super::names;
use crate::schema::Json;
use crate::table;

pub(super) const NAMESPACE: Descriptor = Descriptor {
    short_names: &["ns"],
    verbs: &["create", "delete", "get", "list", "patch", "update", "watch"],
    subresources: &[Subresource { name: "finalize", body: None, verbs: &["update"] }, STATUS],
    name: names::dns_label,
    default,
    prepare_create,
    prepare_update,
    printer: table::NAMESPACE,
    ..Descriptor::of::<Namespace>()
};

fn default(namespace: &mut Value) {
    let name = namespace.text("/metadata/name").to_owned();
    if name.is_empty() {
        return;
    }
    if let Some(labels) = namespace.child("metadata").and_then(|meta| meta.child("labels"))
        && let Some(labels) = labels.as_object_mut()
    {
        labels.insert("kubernetes.io/metadata.name".to_owned(), json!(name));
    }
}

fn prepare_create(namespace: &mut Value) {
    if let Some(spec) = namespace.child("spec") {
        spec.default_to("finalizers", Vec::<Value>::new());
        if let Some(finalizers) = spec.get_mut("finalizers").and_then(Value::as_array_mut)
            && !finalizers.iter().any(|one| one == "kubernetes")
        {
            finalizers.push(json!("kubernetes"));
        }
    }
    namespace.put("status", json!({"phase": "Active"}));
}

/// Finalizers change through `finalize` only.
fn prepare_update(old: &Value, new: &mut Value) {
    if let Some(spec) = old.get("spec") {
        new.put("spec", spec.clone());
    }
}
