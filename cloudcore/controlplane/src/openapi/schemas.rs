//! The schemas of the kinds as Kubernetes publishes them: those of `k8s-openapi` with what its generator left out, and those of CRDs.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::paths;
use crate::registry::{Resource, Snapshot};
use crate::schema::Json;
use crate::schema::types::{Merge, Types};

/// Where `$ref`s of version 3 point to.
pub(super) const COMPONENTS: &str = "#/components/schemas/";
pub(super) const QUANTITY: &str = "io.k8s.apimachinery.pkg.api.resource.Quantity";
pub(super) const INT_OR_STRING: &str = "io.k8s.apimachinery.pkg.util.intstr.IntOrString";
const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// Which kinds a definition describes.
pub(super) type Kinds = BTreeMap<String, Vec<Value>>;

/// The definitions of all built-in kinds that are served.
pub(super) fn kinds(snapshot: &Snapshot) -> Kinds {
    let mut kinds = Kinds::new();
    for resource in &snapshot.resources {
        if let Some(descriptor) = resource.descriptor() {
            kinds.entry((descriptor.definition)().into_owned()).or_default().push(paths::kind(resource));
        }
    }
    kinds
}

/// A generator of schemas in the dialect of OpenAPI 3.
pub(super) fn generator() -> SchemaGenerator {
    SchemaSettings::openapi3().into_generator()
}

/// Adds a built-in kind's schema, and all that it refers to.
pub(super) fn add_built_in(resource: &Resource, generator: &mut SchemaGenerator) {
    match resource.descriptor() {
        Some(descriptor) => {
            (descriptor.schema)(generator);
        }
        None => {
            generator.subschema_for::<ObjectMeta>();
        }
    }
}

/// What was generated, with what Kubernetes says beside it: kinds, merge keys, types that are text or number.
pub(super) fn finish(
    mut generator: SchemaGenerator,
    types: Option<&Types>,
    kinds: &Kinds,
) -> Map<String, Value> {
    let mut schemas = generator.take_definitions(true);
    for (name, schema) in &mut schemas {
        if let Some(kinds) = kinds.get(name) {
            schema["x-kubernetes-group-version-kind"] = json!(kinds);
        }
        leave_metadata_out(schema);
        let id = types.and_then(|types| types.find(name));
        let Some(fields) = id.and_then(|id| types?.get(id)) else { continue };
        for (field, property) in
            schema.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten()
        {
            let (strategy, key) = match fields.field(field).map_or(Merge::Default, |field| field.merge) {
                Merge::Default => continue,
                Merge::Replace => ("replace", None),
                Merge::Set => ("merge", None),
                Merge::Key(key) => ("merge", Some(key)),
            };
            property.put("x-kubernetes-patch-strategy", strategy);
            if let Some(key) = key {
                property.put("x-kubernetes-patch-merge-key", key);
            }
        }
    }
    restore_unions(&mut schemas);
    schemas
}

/// An object may come without metadata; in Rust alone it always has some.
fn leave_metadata_out(schema: &mut Value) {
    let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) else { return };
    required.retain(|field| field != "metadata");
    if required.is_empty()
        && let Some(schema) = schema.as_object_mut()
    {
        schema.shift_remove("required");
    }
}

/// Types that are text or number, in the form in which Kubernetes publishes them.
fn restore_unions(schemas: &mut Map<String, Value>) {
    let mut set = |name: &str, first: &str, second: &str, format: Option<&str>| {
        let Some(schema) = schemas.get_mut(name).and_then(Value::as_object_mut) else { return };
        schema.shift_remove("x-kubernetes-int-or-string");
        schema.insert("oneOf".to_owned(), json!([{"type": first}, {"type": second}]));
        if let Some(format) = format {
            schema.insert("format".to_owned(), json!(format));
        }
    };
    set(QUANTITY, "string", "number", None);
    set(INT_OR_STRING, "integer", "string", Some("int-or-string"));
}

/// `io.kubeedge.devices.v1beta1.Device`
pub(super) fn custom_name(resource: &Resource) -> String {
    let mut parts: Vec<&str> = resource.group.rsplit('.').collect();
    parts.extend([resource.version.as_str(), resource.kind.as_str()]);
    parts.join(".")
}

/// The schema of a custom kind, with the fields that every object has.
pub(super) fn custom(resource: &Resource, source: Value) -> Value {
    let mut schema = source;
    let mut properties = json!({
        "apiVersion": {"type": "string", "description": "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized schemas to the latest internal value, and may reject unrecognized values. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources"},
        "kind": {"type": "string", "description": "Kind is a string value representing the REST resource this object represents. Servers may infer this from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds"},
        "metadata": {
            "description": "Standard object's metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata",
            "allOf": [{"$ref": format!("{COMPONENTS}{OBJECT_META}")}],
        },
    });
    if let (Some(all), Some(own)) =
        (properties.as_object_mut(), schema.get("properties").and_then(Value::as_object))
    {
        for (name, property) in own {
            if !all.contains_key(name) {
                all.insert(name.clone(), property.clone());
            }
        }
    }
    schema.put("type", json!("object"));
    schema.put("properties", properties);
    schema["x-kubernetes-group-version-kind"] = json!([paths::kind(resource)]);
    schema
}
