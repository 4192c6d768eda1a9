//! Whether a CRD's schema is structural: every value's type is known without looking at other values.

use serde_json::Value;

use super::{Schema, cel, nested, pattern};
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
pub(super) const DEEPEST: usize = 64;

/// Checks `openAPIV3Schema`; `path` says where it stands in the CRD.
pub fn check(schema: &Value, path: &Path<'_>, errors: &mut Errors) {
    if schema.text("/type").is_empty() {
        errors.required(&path.field("type"), "must not be empty at the root");
    } else if schema.text("/type") != "object" {
        errors.invalid(&path.field("type"), schema.text("/type"), "must be object at the root");
    }
    metadata(schema, path, errors);
    if schema.get("additionalProperties").is_some_and(|one| *one != Value::Bool(false)) {
        errors.forbidden(&path.field("additionalProperties"), "must not be used at the root");
    }
    level(schema, true, 0, path, errors);
}

/// `metadata` is the server's; a definition may restrict names and nothing else.
fn metadata(schema: &Value, path: &Path<'_>, errors: &mut Errors) {
    let properties = path.field("properties");
    let at = |name: &str| schema.get("properties").and_then(|all| all.get(name));
    if let Some(metadata) = at("metadata") {
        let here = properties.key("metadata");
        if metadata.text("/type") != "object" {
            errors.invalid(&here.field("type"), metadata.text("/type"), "must be object");
        }
        let names = |key: &String| matches!(key.as_str(), "name" | "generateName");
        let own = metadata.as_object().into_iter().flatten();
        let more =
            own.filter(|(key, _)| !matches!(key.as_str(), "type" | "properties" | "description" | "default"));
        if more.count() > 0 || metadata.object("/properties").is_some_and(|all| !all.keys().all(names)) {
            let detail = "must not specify anything other than name and generateName, but metadata is implicitly specified";
            errors.forbidden(&here, detail);
        }
    }
    for name in ["apiVersion", "kind"] {
        if let Some(property) = at(name)
            && property.text("/type") != "string"
        {
            errors.invalid(&properties.key(name).field("type"), property.text("/type"), "must be string");
        }
    }
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
    if schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(false)) {
        errors.invalid(
            &path.field("x-kubernetes-preserve-unknown-fields"),
            false,
            "must be true or undefined",
        );
    }
    embedded(schema, kind, path, errors);
    nested::check(schema, depth, path, errors);
    default(schema, path, errors);
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

fn embedded(schema: &Value, kind: &str, path: &Path<'_>, errors: &mut Errors) {
    let extension = |name: &str| schema.get(name).and_then(Value::as_bool).unwrap_or_default();
    let detail = "must be false if x-kubernetes-int-or-string is true";
    for name in ["x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"] {
        if extension("x-kubernetes-int-or-string") && extension(name) {
            errors.invalid(&path.field(name), true, detail);
        }
    }
    if !extension("x-kubernetes-embedded-resource") {
        return;
    }
    let detail = "must be object if x-kubernetes-embedded-resource is true";
    match kind {
        "object" => {}
        "" => errors.required(&path.field("type"), detail),
        other => errors.invalid(&path.field("type"), other, detail),
    }
    let empty = schema.object("/properties").is_none_or(serde_json::Map::is_empty);
    if empty && !extension("x-kubernetes-preserve-unknown-fields") {
        let detail = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
        errors.required(&path.field("properties"), detail);
    }
}

/// A default must be what it is a default for.
fn default(schema: &Value, path: &Path<'_>, errors: &mut Errors) {
    let Some(value) = schema.get("default") else { return };
    let here = path.field("default");
    let compiled = Schema::compile(schema);
    let mut pruned = value.clone();
    // As in an object: what is no resource has no metadata that would be kept.
    let mut holder = serde_json::json!({"v": pruned.take()});
    if !compiled.alone().prune(&mut holder).is_empty() {
        return errors.invalid(&here, value.clone(), "must not have unknown fields");
    }
    let mut found = Errors::default();
    compiled.check(value, None, &here, &mut found);
    errors.extend(found.into_vec());
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
        "atomic" => {}
        "set" => {
            let items = schema.get("items").unwrap_or(&Value::Null);
            let whole = |key: &str| items.get(key).and_then(Value::as_str) == Some("atomic");
            let here = path.field("items");
            match items.text("/type") {
                "object" if !whole("x-kubernetes-map-type") => {
                    let found = items.get("x-kubernetes-map-type").cloned().unwrap_or_default();
                    let detail = "must be atomic as item of a list with x-kubernetes-list-type=set";
                    errors.invalid(&here.field("x-kubernetes-map-type"), found, detail);
                }
                "array" if !whole("x-kubernetes-list-type") => {
                    let found = items.get("x-kubernetes-list-type").cloned().unwrap_or_default();
                    let detail = "must be atomic as item of a list with x-kubernetes-list-type=set";
                    errors.invalid(&here.field("x-kubernetes-list-type"), found, detail);
                }
                _ => {}
            }
            if items.flag("/nullable") {
                errors.forbidden(
                    &here.field("nullable"),
                    "cannot be nullable when x-kubernetes-list-type is set",
                );
            }
        }
        "map" => {
            let keys_path = path.field("x-kubernetes-list-map-keys");
            if keys.is_empty() {
                errors.required(&keys_path, "must not be empty if x-kubernetes-list-type is map");
            }
            let items = schema.get("items");
            for (index, key) in keys.iter().enumerate() {
                let name = key.as_str().unwrap_or_default();
                let Some(property) = items.and_then(|items| items.get("properties")?.get(name)) else {
                    let detail = "entries must all be names of item properties";
                    errors.invalid(&keys_path.index(index), name, detail);
                    continue;
                };
                let required =
                    items.is_some_and(|items| items.list("/required").iter().any(|one| one == name));
                if !required && property.get("default").is_none() {
                    let items = path.field("items");
                    let properties = items.field("properties");
                    let detail = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
                    errors.required(&properties.key(name).field("default"), detail);
                }
            }
        }
        other => errors.not_supported(&here, other, &["atomic", "map", "set"]),
    }
}
