//! Validation, in the words of `kube-openapi`'s validator.

use serde_json::{Map, Value, json};

use super::{Kind, Schema, lists, rules};
use crate::schema::{Errors, Path};
use crate::status::{CauseReason, FieldError};

const META: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// Said when the schema is broken in a way that makes rules pointless.
const NOT_CHECKED: &str = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";

impl Schema {
    /// Everything that is wrong with an object. What was the same in `old` may stay: a stricter schema does not make old objects
    /// unchangeable.
    pub fn validate(&self, object: &Value, old: Option<&Value>, errors: &mut Errors) {
        let mut own = Errors::default();
        self.check(object, old, &Path::Root, &mut own);
        if self.has_rules {
            if own.iter().any(|error| is_blocking(error.reason)) {
                own.push(FieldError::invalid("<nil>", &Value::Null, NOT_CHECKED));
            } else {
                self.check_rules(object, old, &mut own);
            }
        }
        errors.extend(own.into_vec());
    }

    /// Whether a value fits.
    pub(super) fn accepts(&self, value: &Value) -> bool {
        let mut errors = Errors::default();
        self.check(value, None, &Path::Root, &mut errors);
        errors.is_empty()
    }

    pub(super) fn check(&self, value: &Value, old: Option<&Value>, path: &Path<'_>, errors: &mut Errors) {
        if old == Some(value) {
            return;
        }
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
            Value::Object(map) => self.check_map(map, old, path, errors),
            Value::Array(items) => {
                if let Some(schema) = &self.items {
                    for (index, item) in items.iter().enumerate() {
                        let before = old.and_then(|old| self.same_item(item, old.as_array()?));
                        schema.check(item, before, &path.index(index), errors);
                    }
                }
                lists::check(self, items, path, errors);
            }
            _ => {}
        }
    }

    fn check_map(&self, map: &Map<String, Value>, old: Option<&Value>, path: &Path<'_>, errors: &mut Errors) {
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
            let before = old.and_then(|old| old.get(key));
            if let Some(schema) = self.property(key) {
                // The object's own metadata has rules of its own.
                if !(path.is_root() && META.contains(&key.as_str()) && schema.is_bare()) {
                    schema.check(value, before, &path.field(key), errors);
                }
            } else if let Some(schema) = self.additional_schema() {
                schema.check(value, before, &path.field(key), errors);
            }
        }
    }

    /// `metadata: {type: object}` says nothing.
    fn is_bare(&self) -> bool {
        self.properties.is_empty() && self.rules.is_none()
    }
}

/// Whether an error is about the shape of the object.
fn is_blocking(reason: CauseReason) -> bool {
    matches!(
        reason,
        CauseReason::NotSupported
            | CauseReason::Required
            | CauseReason::TooLong
            | CauseReason::TooMany
            | CauseReason::TypeInvalid
    )
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
