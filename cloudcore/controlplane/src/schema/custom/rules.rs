//! Rules about values: enums, ranges, lengths, patterns, formats and the logical combinations.

use serde_json::{Number, Value, json};

use super::{Kind, Rules, formats};
use crate::schema::{Errors, Path};
use crate::status::FieldError;

pub(super) fn check(rules: &Rules, kind: Option<Kind>, value: &Value, path: &Path<'_>, errors: &mut Errors) {
    if !rules.allowed.is_empty() && !rules.allowed.contains(value) {
        let supported: Vec<String> = rules
            .allowed
            .iter()
            .map(|one| one.as_str().map_or_else(|| one.to_string(), ToOwned::to_owned))
            .collect();
        let supported: Vec<&str> = supported.iter().map(String::as_str).collect();
        errors.not_supported(path, value.clone(), &supported);
    }
    match value {
        Value::Number(number) => numbers(rules, kind, number, path, errors),
        Value::String(text) => texts(rules, text, path, errors),
        Value::Array(items) => {
            let count = items.len();
            if rules.min_items.is_some_and(|min| (count as u64) < min) {
                let min = rules.min_items.unwrap_or_default();
                errors.invalid(path, count, &format!("{path} in body should have at least {min} items"));
            }
            too_many(rules.max_items, count, path, errors);
            if rules.unique_items && items.iter().enumerate().any(|(at, item)| items[..at].contains(item)) {
                errors.invalid(path, "", &format!("{path} in body shouldn't contain duplicates"));
            }
        }
        Value::Object(map) => {
            let count = map.len();
            if rules.min_properties.is_some_and(|min| (count as u64) < min) {
                let min = rules.min_properties.unwrap_or_default();
                errors.invalid(path, count, &format!("{path} in body should have at least {min} properties"));
            }
            too_many(rules.max_properties, count, path, errors);
        }
        _ => {}
    }
    combinations(rules, value, path, errors);
}

fn too_many(max: Option<u64>, count: usize, path: &Path<'_>, errors: &mut Errors) {
    if let Some(max) = max
        && count as u64 > max
    {
        errors.push(FieldError::too_many(path, count, usize::try_from(max).unwrap_or(usize::MAX)));
    }
}

fn numbers(rules: &Rules, kind: Option<Kind>, number: &Number, path: &Path<'_>, errors: &mut Errors) {
    let Some(value) = number.as_f64() else { return };
    let mut wrong = |what: String| errors.invalid(path, number.clone(), &format!("{path} in body {what}"));
    if let Some(max) = rules.maximum {
        let word = if rules.exclusive_maximum { "less than" } else { "less than or equal to" };
        if value > max || (rules.exclusive_maximum && value >= max) {
            wrong(format!("should be {word} {max}"));
        }
    }
    if let Some(min) = rules.minimum {
        let word = if rules.exclusive_minimum { "greater than" } else { "greater than or equal to" };
        if value < min || (rules.exclusive_minimum && value <= min) {
            wrong(format!("should be {word} {min}"));
        }
    }
    if let Some(step) = rules.multiple_of.filter(|step| *step > 0.0)
        && (value / step).fract() != 0.0
    {
        wrong(format!("should be a multiple of {step}"));
    }
    let fits = match rules.format.as_deref() {
        Some("int32") => value >= f64::from(i32::MIN) && value <= f64::from(i32::MAX),
        Some("int64") => number.is_i64() || number.is_f64(),
        _ => true,
    };
    if !fits && kind == Some(Kind::Integer) {
        let format = rules.format.as_deref().unwrap_or_default();
        let detail = format!("Checked value must be of type integer with format {format} in {path}");
        errors.invalid(path, number.clone(), &detail);
    }
}

fn texts(rules: &Rules, text: &str, path: &Path<'_>, errors: &mut Errors) {
    let length = text.chars().count() as u64;
    if let Some(max) = rules.max_length
        && length > max
    {
        errors.too_long(path, usize::try_from(max).unwrap_or(usize::MAX));
    }
    if let Some(min) = rules.min_length
        && length < min
    {
        errors.invalid(path, text, &format!("{path} in body should be at least {min} chars long"));
    }
    if let Some(pattern) = &rules.pattern
        && !pattern.matches(text)
    {
        errors.invalid(path, text, &format!("{path} in body should match '{}'", pattern.source()));
    }
    if let Some(format) = rules.format.as_deref()
        && !formats::fits(format, text)
    {
        let detail = format!("{path} in body must be of type {format}: {text:?}");
        errors.invalid(path, text, &detail);
    }
}

fn combinations(rules: &Rules, value: &Value, path: &Path<'_>, errors: &mut Errors) {
    for schema in &rules.all_of {
        schema.check(value, None, path, errors);
    }
    let fitting = |schemas: &[super::Schema]| schemas.iter().filter(|schema| schema.accepts(value)).count();
    let mut wrong = |what: &str| {
        let shown = if value.is_object() || value.is_array() { json!("") } else { value.clone() };
        errors.invalid(path, shown, &format!("{path} in body {what}"));
    };
    if !rules.any_of.is_empty() && fitting(&rules.any_of) == 0 {
        wrong("must validate at least one schema (anyOf)");
    }
    if !rules.one_of.is_empty() {
        match fitting(&rules.one_of) {
            1 => {}
            0 => wrong("must validate one and only one schema (oneOf). Found none valid"),
            _ => wrong("must validate one and only one schema (oneOf). Found 2 valid alternatives"),
        }
    }
    if rules.not.as_ref().is_some_and(|schema| schema.accepts(value)) {
        wrong("must not validate the schema (not)");
    }
}
