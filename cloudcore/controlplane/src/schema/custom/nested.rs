//! Schemas below `allOf`, `anyOf`, `oneOf` and `not`: they may judge values, not say what there is
//! (Kubernetes v1.36 apiextensions-apiserver/pkg/apiserver/schema/validation.go).

use serde_json::{Value, json};

use super::structural::DEEPEST;
use crate::schema::{Errors, Json, Path};

const JUNCTORS: &[&str] = &["allOf", "anyOf", "oneOf"];
/// What must not be said there, and in which words.
const FORBIDDEN: &[(&str, &str)] = &[
    ("type", "must be empty to be structural"),
    ("additionalProperties", "must be undefined to be structural"),
    ("default", "must be undefined to be structural"),
    ("title", "must be empty to be structural"),
    ("description", "must be empty to be structural"),
    ("nullable", "must be false to be structural"),
    ("externalDocs", "must be undefined to be structural"),
    ("x-kubernetes-preserve-unknown-fields", "must be false to be structural"),
    ("x-kubernetes-embedded-resource", "must be false to be structural"),
    ("x-kubernetes-int-or-string", "must be false to be structural"),
    ("x-kubernetes-list-map-keys", "must be empty to be structural"),
    ("x-kubernetes-list-type", "must be undefined to be structural"),
    ("x-kubernetes-map-type", "must be undefined to be structural"),
    ("x-kubernetes-validations", "must be empty to be structural"),
];

/// Checks what stands below the junctors of `schema`.
pub(super) fn check(schema: &Value, depth: usize, path: &Path<'_>, errors: &mut Errors) {
    for (index, junctor, below) in alternatives(schema) {
        let list = path.field(junctor);
        let here = index.map_or(list, |index| list.index(index));
        // The one way to say "whole number or text".
        if is_int_or_string(schema, junctor) {
            continue;
        }
        level(below, schema, depth + 1, &here, errors);
    }
}

fn alternatives(schema: &Value) -> impl Iterator<Item = (Option<usize>, &'static str, &Value)> {
    let lists = JUNCTORS.iter().flat_map(|junctor| {
        let list = schema.get(*junctor).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        list.iter().enumerate().map(|(index, below)| (Some(index), *junctor, below))
    });
    lists.chain(schema.get("not").map(|below| (None, "not", below)))
}

fn is_int_or_string(schema: &Value, junctor: &str) -> bool {
    junctor == "anyOf" && schema.get("anyOf") == Some(&json!([{"type": "integer"}, {"type": "string"}]))
}

/// `outer` is the schema that says what there is.
fn level(schema: &Value, outer: &Value, depth: usize, path: &Path<'_>, errors: &mut Errors) {
    if depth > DEEPEST {
        return errors.forbidden(path, "is nested too deeply");
    }
    for (key, detail) in FORBIDDEN {
        if schema.get(key).is_some_and(|value| *value != json!(false) && *value != json!("")) {
            errors.forbidden(&path.field(key), detail);
        }
    }
    let properties = path.field("properties");
    for (name, below) in schema.object("/properties").into_iter().flatten() {
        let here = properties.key(name);
        if name == "metadata" {
            errors.forbidden(&here, "must not be specified in a nested context");
        }
        let known = outer
            .get("properties")
            .and_then(|all| all.get(name))
            .or_else(|| outer.get("additionalProperties"));
        match known {
            Some(outer) => level(below, outer, depth + 1, &here, errors),
            None => errors.required(
                &here,
                "because it is defined in a logic junctor, it must also be specified outside of it",
            ),
        }
    }
    if let Some(below) = schema.get("items") {
        level(below, outer.get("items").unwrap_or(&Value::Null), depth + 1, &path.field("items"), errors);
    }
    for (index, junctor, below) in alternatives(schema) {
        if is_int_or_string(schema, junctor) {
            continue;
        }
        let list = path.field(junctor);
        let here = index.map_or(list, |index| list.index(index));
        level(below, outer, depth + 1, &here, errors);
    }
}
