//! From the dialect of OpenAPI 3 to that of version 2.

use serde_json::{Map, Value, json};

use super::super::schemas::{COMPONENTS, INT_OR_STRING, QUANTITY};

/// What version 2 does not have, or kubectl's reader of it does not understand.
const UNKNOWN: &[&str] = &["oneOf", "anyOf", "not", "nullable", "default", "example", "title"];

/// A definition of this name.
pub(super) fn definition(name: &str, schema: Value) -> Value {
    let mut schema = convert(schema);
    // What is text or number is text here.
    match name {
        QUANTITY => schema["type"] = json!("string"),
        INT_OR_STRING => {
            schema["type"] = json!("string");
            schema["format"] = json!("int-or-string");
        }
        _ => {}
    }
    schema
}

fn convert(schema: Value) -> Value {
    let Value::Object(mut map) = schema else { return schema };
    // Version 3 cannot say anything beside a reference, so it wraps it.
    if let Some(Value::Array(mut all)) = map.shift_remove("allOf")
        && let [only] = all.as_mut_slice()
        && let Some(reference) = only.get_mut("$ref")
    {
        map.insert("$ref".to_owned(), reference.take());
    }
    for keyword in UNKNOWN {
        map.shift_remove(*keyword);
    }
    if let Some(Value::String(reference)) = map.get_mut("$ref") {
        *reference = reference.replacen(COMPONENTS, "#/definitions/", 1);
    }
    if let Some(properties) = map.get_mut("properties").and_then(Value::as_object_mut) {
        each(properties);
    }
    for below in ["items", "additionalProperties"] {
        if let Some(schema) = map.get_mut(below) {
            *schema = convert(schema.take());
        }
    }
    if map.get("additionalProperties").is_some_and(|schema| !schema.is_object()) {
        map.shift_remove("additionalProperties");
    }
    Value::Object(map)
}

fn each(properties: &mut Map<String, Value>) {
    for (_, schema) in properties.iter_mut() {
        *schema = convert(schema.take());
    }
}

/// The operations of a path: parameters have their type beside their name.
pub(super) fn path_item(mut item: Value) -> Value {
    let Some(map) = item.as_object_mut() else { return item };
    for (key, value) in map.iter_mut() {
        let parameters = if key == "parameters" { Some(value) } else { value.get_mut("parameters") };
        for parameter in parameters.and_then(Value::as_array_mut).into_iter().flatten() {
            let Some(parameter) = parameter.as_object_mut() else { continue };
            if let Some(Value::Object(schema)) = parameter.shift_remove("schema") {
                parameter.extend(schema);
            }
        }
    }
    item
}
