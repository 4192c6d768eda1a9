//! The schema of a CRD as version 2 can carry it. kubectl's reader has no word for "null is fine" or "anything may be here", and
//! would refuse objects that the server accepts; so such places say nothing
//! (Kubernetes v1.36 apiextensions-apiserver/pkg/controller/openapi/v2).

use serde_json::{Map, Value};

use crate::schema::Json;

/// Removes what an old client would read too strictly.
pub(super) fn flatten(schema: Value) -> Value {
    let Value::Object(mut map) = schema else { return schema };
    let flag =
        |map: &Map<String, Value>, key: &str| map.get(key).and_then(Value::as_bool).unwrap_or_default();
    let free = flag(&map, "x-kubernetes-preserve-unknown-fields");
    if free || flag(&map, "nullable") {
        for gone in ["type", "format", "items", "properties", "required", "additionalProperties"] {
            map.shift_remove(gone);
        }
    }
    if flag(&map, "x-kubernetes-int-or-string") {
        map.shift_remove("type");
    }
    // They hold for the combined schemas only.
    map.shift_remove("allOf");
    if let Some(properties) = map.get_mut("properties").and_then(Value::as_object_mut) {
        let may_be_null: Vec<String> = properties
            .iter()
            .filter(|(_, one)| one.flag("/nullable"))
            .map(|(name, _)| name.clone())
            .collect();
        for (_, schema) in properties.iter_mut() {
            *schema = flatten(schema.take());
        }
        if let Some(required) = map.get_mut("required").and_then(Value::as_array_mut) {
            required.retain(|name| !may_be_null.iter().any(|other| name == other));
        }
    }
    for below in ["items", "additionalProperties"] {
        if let Some(schema) = map.get_mut(below) {
            *schema = flatten(schema.take());
        }
    }
    Value::Object(map)
}
