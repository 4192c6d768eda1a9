//! Whether a CRD's schema is structural: every value's type is known without looking at other values.

use serde_json::Value;

use super::{cel, pattern};
use crate::schema::{Errors, Json, Path};

/// Keywords of JSON schema that CRDs may not use.
const FORBIDDEN: &[&str] = &[
    "$ref",
    "definitions",
    "dependencies",
    "deprecated",
    "discriminator",
    "id",
    "patternProperties",
    "readOnly",
    "writeOnly",
    "xml",
    "additionalItems",
];
const TYPES: &[&str] = &["array", "boolean", "integer", "number", "object", "string"];
/// Deeper than any real schema; keeps recursion in bounds.
const DEEPEST: usize = 64;

/// Checks `openAPIV3Schema`; `path` says where it stands in the CRD.
pub fn check(schema: &Value, path: &Path<'_>, errors: &mut Errors) {
    if schema.text("/type").is_empty() {
        errors.required(&path.field("type"), "must not be empty at the root");
    } else if schema.text("/type") != "object" {
        errors.invalid(&path.field("type"), schema.text("/type"), "must be object at the root");
    }
    level(schema, true, 0, path, errors);
}

fn level(schema: &Value, root: bool, depth: usize, path: &Path<'_>, errors: &mut Errors) {
    if depth > DEEPEST {
        return errors.forbidden(path, "is nested too deeply");
    }
    for keyword in FORBIDDEN {
        if schema.get(keyword).is_some() {
            errors.forbidden(&path.field(keyword), &format!("{keyword} is not supported"));
        }
    }
    if schema.flag("/uniqueItems") {
        let detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        errors.forbidden(&path.field("uniqueItems"), detail);
    }
    let extension = |name: &str| schema.get(name).and_then(Value::as_bool).unwrap_or_default();
    let kind = schema.text("/type");
    if kind.is_empty() {
        let free =
            extension("x-kubernetes-int-or-string") || extension("x-kubernetes-preserve-unknown-fields");
        if !root && !free {
            errors.required(&path.field("type"), "must not be empty for specified object fields");
        }
    } else if !TYPES.contains(&kind) {
        errors.not_supported(&path.field("type"), kind, TYPES);
    }
    if kind == "array" && schema.get("items").is_none() {
        errors.required(&path.field("items"), "must be specified");
    }
    if schema.get("properties").is_some()
        && schema.get("additionalProperties").is_some_and(|one| one != &Value::Bool(false))
    {
        errors.forbidden(
            &path.field("additionalProperties"),
            "additionalProperties and properties are mutual exclusive",
        );
    }
    if schema.get("additionalProperties") == Some(&Value::Bool(false)) {
        errors.forbidden(&path.field("additionalProperties"), "additionalProperties cannot be set to false");
    }
    if let Some(source) = schema.get("pattern").and_then(Value::as_str)
        && let Err(wrong) = pattern::compile(source)
    {
        let detail = format!("must be a valid regular expression, but isn't: {wrong}");
        errors.invalid(&path.field("pattern"), source, &detail);
    }
    list_type(schema, kind, path, errors);
    cel::check(schema, root || extension("x-kubernetes-embedded-resource"), path, errors);
    let properties = path.field("properties");
    for (name, property) in schema.object("/properties").into_iter().flatten() {
        level(property, false, depth + 1, &properties.key(name), errors);
    }
    if let Some(items) = schema.get("items") {
        if items.is_object() {
            level(items, false, depth + 1, &path.field("items"), errors);
        } else {
            errors.forbidden(&path.field("items"), "items must be a schema object and not an array");
        }
    }
    if let Some(additional) = schema.get("additionalProperties").filter(|one| one.is_object()) {
        level(additional, false, depth + 1, &path.field("additionalProperties"), errors);
    }
}

fn list_type(schema: &Value, kind: &str, path: &Path<'_>, errors: &mut Errors) {
    let Some(list) = schema.get("x-kubernetes-list-type").and_then(Value::as_str) else { return };
    let here = path.field("x-kubernetes-list-type");
    if kind != "array" {
        errors.invalid(&path.field("type"), kind, "must be array if x-kubernetes-list-type is specified");
    }
    let keys =
        schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    match list {
        "atomic" | "set" => {}
        "map" => {
            let keys_path = path.field("x-kubernetes-list-map-keys");
            if keys.is_empty() {
                errors.required(&keys_path, "must not be empty if x-kubernetes-list-type is map");
            }
            let items = schema.get("items");
            for (index, key) in keys.iter().enumerate() {
                let name = key.as_str().unwrap_or_default();
                if items.and_then(|items| items.get("properties")?.get(name)).is_none() {
                    let detail = "entries must all be names of item properties";
                    errors.invalid(&keys_path.index(index), name, detail);
                }
            }
        }
        other => errors.not_supported(&here, other, &["atomic", "map", "set"]),
    }
}
