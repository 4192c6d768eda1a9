//! Validation, in the words of `kube-openapi`'s validator.

use serde_json::{Map, Value, json};

use super::{Kind, Schema, lists, rules};
use crate::schema::{Errors, Path};
use crate::status::FieldError;

const META: [&str; 3] = ["apiVersion", "kind", "metadata"];

impl Schema {
    /// Everything that is wrong with an object.
    pub fn validate(&self, object: &Value, errors: &mut Errors) {
        self.check(object, &Path::Root, errors);
    }

    /// Whether a value fits.
    pub(super) fn accepts(&self, value: &Value) -> bool {
        let mut errors = Errors::default();
        self.check(value, &Path::Root, &mut errors);
        errors.is_empty()
    }

    pub(super) fn check(&self, value: &Value, path: &Path<'_>, errors: &mut Errors) {
        if value.is_null() && (self.nullable || (self.kind.is_none() && !self.int_or_string)) {
            return;
        }
        if self.int_or_string && !matches!(value, Value::String(_)) && !is_integer(value) {
            return wrong_type(value, "integer,string", path, errors);
        }
        if let Some(kind) = self.kind
            && !is(kind, value)
        {
            return wrong_type(value, kind.as_str(), path, errors);
        }
        if let Some(set) = &self.rules {
            rules::check(set, self.kind, value, path, errors);
        }
        match value {
            Value::Object(map) => self.check_map(map, path, errors),
            Value::Array(items) => {
                if let Some(schema) = &self.items {
                    for (index, item) in items.iter().enumerate() {
                        schema.check(item, &path.index(index), errors);
                    }
                }
                lists::check(self, items, path, errors);
            }
            _ => {}
        }
    }

    fn check_map(&self, map: &Map<String, Value>, path: &Path<'_>, errors: &mut Errors) {
        for name in &self.required {
            if !map.contains_key(&**name) {
                errors.required(&path.field(name), "");
            }
        }
        if self.embedded {
            for name in ["apiVersion", "kind"] {
                if map.get(name).and_then(Value::as_str).unwrap_or_default().is_empty() {
                    errors.required(&path.field(name), "must not be empty");
                }
            }
        }
        for (key, value) in map {
            if let Some(schema) = self.property(key) {
                // The object's own metadata has rules of its own.
                if !(path.is_root() && META.contains(&key.as_str()) && schema.is_bare()) {
                    schema.check(value, &path.field(key), errors);
                }
            } else if let Some(schema) = self.additional_schema() {
                schema.check(value, &path.field(key), errors);
            }
        }
    }

    /// `metadata: {type: object}` says nothing.
    fn is_bare(&self) -> bool {
        self.properties.is_empty() && self.rules.is_none()
    }
}

fn is_integer(value: &Value) -> bool {
    let whole = |number: f64| number.is_finite() && number.fract() == 0.0;
    value.is_i64() || value.is_u64() || value.as_f64().is_some_and(whole)
}

fn is(kind: Kind, value: &Value) -> bool {
    match kind {
        Kind::Object => value.is_object(),
        Kind::Array => value.is_array(),
        Kind::String => value.is_string(),
        Kind::Integer => is_integer(value),
        Kind::Number => value.is_number(),
        Kind::Boolean => value.is_boolean(),
    }
}

fn wrong_type(value: &Value, wanted: &str, path: &Path<'_>, errors: &mut Errors) {
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) if is_integer(value) => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let detail = format!("{path} in body must be of type {wanted}: {found:?}");
    errors.push(FieldError::type_invalid(path, &json!(found), &detail));
}
