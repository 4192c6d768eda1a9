//! Rules that many kinds share: numbers, quantities, selectors, addresses, fields that never change.

use std::net::IpAddr;

use serde_json::Value;

use super::{meta, names};
use crate::schema::{Errors, Json, Path, quantity};

const OPERATORS: &[&str] = &["DoesNotExist", "Exists", "In", "NotIn"];

/// Whole numbers of `object` that may not be negative.
pub(super) fn not_negative(object: &Value, fields: &[&str], path: &Path<'_>, errors: &mut Errors) {
    for field in fields {
        if let Some(number) = object.get(field).and_then(Value::as_i64)
            && number < 0
        {
            errors.invalid(&path.field(field), number, "must be greater than or equal to 0");
        }
    }
}

/// A list of resources: quantities that are not negative.
pub(super) fn quantities(list: Option<&Value>, path: &Path<'_>, errors: &mut Errors) {
    for (name, value) in list.and_then(Value::as_object).into_iter().flatten() {
        let text = quantity::text(value);
        for wrong in names::qualified_name(name) {
            errors.invalid(path, name.as_str(), &wrong);
        }
        if quantity::Quantity::parse(&text).is_ok_and(quantity::Quantity::is_negative) {
            errors.invalid(&path.key(name), text, "must be greater than or equal to 0");
        }
    }
}

/// A label selector's own form (Kubernetes v1.36 apimachinery/pkg/apis/meta/v1/validation).
pub(super) fn selector(selector: &Value, path: &Path<'_>, errors: &mut Errors) {
    meta::labels(selector.get("matchLabels"), &path.field("matchLabels"), errors);
    let list = path.field("matchExpressions");
    for (index, one) in selector.list("/matchExpressions").iter().enumerate() {
        let here = list.index(index);
        let (key, operator, values) = (one.text("/key"), one.text("/operator"), one.list("/values"));
        match operator {
            "In" | "NotIn" if values.is_empty() => {
                errors
                    .required(&here.field("values"), "must be specified when `operator` is 'In' or 'NotIn'");
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.forbidden(&here.field("values"), detail);
            }
            known if OPERATORS.contains(&known) => {}
            other => errors.invalid(&here.field("operator"), other, "not a valid selector operator"),
        }
        for wrong in names::qualified_name(key) {
            errors.invalid(&here.field("key"), key, &wrong);
        }
        let list = here.field("values");
        for (index, value) in values.iter().enumerate() {
            let value = value.as_str().unwrap_or_default();
            for wrong in names::label_value(value) {
                errors.invalid(&list.index(index), value, &wrong);
            }
        }
    }
}

/// A whole number or a percentage that is not negative.
pub(super) fn share(value: &Value, path: &Path<'_>, errors: &mut Errors) {
    match value {
        Value::Number(number) if number.as_i64().is_some_and(|number| number < 0) => {
            errors.invalid(path, value.clone(), "must be greater than or equal to 0");
        }
        Value::String(text) => {
            let digits = text.strip_suffix('%').filter(|rest| !rest.is_empty());
            if !digits.is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit())) {
                let detail = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')";
                errors.invalid(path, text.as_str(), detail);
            }
        }
        _ => {}
    }
}

/// A share of pods that may not be more than all of them.
pub(super) fn at_most_all(value: &Value, path: &Path<'_>, errors: &mut Errors) {
    let percent =
        value.as_str().and_then(|text| text.strip_suffix('%')).and_then(|text| text.parse::<u64>().ok());
    if percent.is_some_and(|percent| percent > 100) {
        errors.invalid(path, value.clone(), "must not be greater than 100%");
    }
}

/// An address in its usual form.
pub(super) fn address(text: &str, path: &Path<'_>, errors: &mut Errors) {
    if text.parse::<IpAddr>().is_err() {
        errors.invalid(path, text, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
    }
}

/// Fields, as dotted paths, that never change.
pub(super) fn immutable(old: &Value, new: &Value, fields: &[&str], errors: &mut Errors) {
    for field in fields {
        let at = |object: &Value| field.split('.').fold(object.clone(), |value, name| value[name].clone());
        let (before, after) = (at(old), at(new));
        if before != after {
            errors.push(crate::status::FieldError::invalid(*field, &after, "field is immutable"));
        }
    }
}
