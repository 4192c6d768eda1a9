//! One document: schemas and paths of a group and version.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::paths;
use crate::registry::{Resource, Snapshot};
use crate::schema::Json;

const QUANTITY: &str = "io.k8s.apimachinery.pkg.api.resource.Quantity";
const INT_OR_STRING: &str = "io.k8s.apimachinery.pkg.util.intstr.IntOrString";
const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// `/openapi/v3/apis/GROUP/VERSION`, or nothing if it is not served.
pub fn document(snapshot: &Snapshot, group: &str, version: &str) -> Option<Value> {
    let mut generator = SchemaSettings::openapi3().into_generator();
    let mut kinds = Vec::new();
    let mut custom = Map::new();
    let mut paths = Map::new();
    for resource in snapshot.resources.iter().filter(|one| one.group == group && one.version == version) {
        paths::add(resource, &mut paths);
        match resource.custom() {
            Some(kind) => {
                generator.subschema_for::<ObjectMeta>();
                custom.insert(custom_name(resource), custom_schema(resource, kind.source()));
            }
            None => kinds.extend(built_in(resource, &mut generator)),
        }
    }
    if paths.is_empty() {
        return None;
    }
    let mut schemas = generator.take_definitions(true);
    schemas.extend(custom);
    for (definition, kind) in kinds {
        if let Some(schema) = schemas.get_mut(&definition) {
            schema["x-kubernetes-group-version-kind"] = json!([kind]);
        }
    }
    restore_unions(&mut schemas);
    Some(json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "v1.36.0"},
        "paths": paths,
        "components": {"schemas": schemas},
    }))
}

/// Adds the schema of a built-in kind; returns its name and the kind that it describes.
fn built_in(resource: &Resource, generator: &mut SchemaGenerator) -> Option<(String, Value)> {
    let descriptor = resource.descriptor()?;
    (descriptor.schema)(generator);
    Some(((descriptor.definition)().into_owned(), paths::kind(resource)))
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
fn custom_name(resource: &Resource) -> String {
    let mut parts: Vec<&str> = resource.group.rsplit('.').collect();
    parts.extend([resource.version.as_str(), resource.kind.as_str()]);
    parts.join(".")
}

fn custom_schema(resource: &Resource, source: Value) -> Value {
    let mut schema = source;
    let mut properties = json!({
        "apiVersion": {"type": "string", "description": "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized schemas to the latest internal value, and may reject unrecognized values. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources"},
        "kind": {"type": "string", "description": "Kind is a string value representing the REST resource this object represents. Servers may infer this from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds"},
        "metadata": {
            "description": "Standard object's metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata",
            "allOf": [{"$ref": format!("#/components/schemas/{OBJECT_META}")}],
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
