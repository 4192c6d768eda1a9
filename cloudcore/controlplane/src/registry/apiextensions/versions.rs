//! The versions of a definition: schemas, columns, subresources, selectable fields.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::names;
use crate::schema::custom::check_structural;
use crate::schema::{Errors, Json, Path};
use crate::table;

const COLUMN_TYPES: &[&str] = &["boolean", "date", "integer", "number", "string"];
/// As many as a version may have.
const MOST_SELECTABLE: usize = 8;

/// Rules for all versions of a definition.
pub(super) fn validate(crd: &Value, path: &Path<'_>, errors: &mut Errors) {
    let versions = crd.list("/spec/versions");
    let names_given: Vec<&str> = versions.iter().map(|version| version.text("/name")).collect();
    let unique: BTreeSet<&&str> = names_given.iter().collect();
    if unique.len() != names_given.len() {
        errors.invalid(path, json!(names_given), "must contain unique version names");
    }
    if versions.iter().filter(|version| version.flag("/storage")).count() != 1 {
        errors.invalid(path, json!(names_given), "must have exactly one version marked as storage version");
    }
    for (index, version) in versions.iter().enumerate() {
        let here = path.index(index);
        for wrong in names::dns_1035_label(version.text("/name")) {
            errors.invalid(&here.field("name"), version.text("/name"), &wrong);
        }
        let schema_path = here.field("schema");
        let schema_path = schema_path.field("openAPIV3Schema");
        match version.pointer("/schema/openAPIV3Schema") {
            None => errors.required(&schema_path, "schemas are required"),
            Some(schema) => check_structural(schema, &schema_path, errors),
        }
        columns(version, &here.field("additionalPrinterColumns"), errors);
        scale(version, &here.field("subresources"), errors);
        selectable(version, &here.field("selectableFields"), errors);
        if version.has("/deprecationWarning") && !version.flag("/deprecated") {
            let path = here.field("deprecationWarning");
            errors.invalid(
                &path,
                version.text("/deprecationWarning"),
                "can only be set for deprecated versions",
            );
        }
    }
}

fn columns(version: &Value, path: &Path<'_>, errors: &mut Errors) {
    for (index, column) in version.list("/additionalPrinterColumns").iter().enumerate() {
        let here = path.index(index);
        for field in ["name", "type", "jsonPath"] {
            if column.get(field).and_then(Value::as_str).unwrap_or_default().is_empty() {
                errors.required(&here.field(field), "");
            }
        }
        let kind = column.text("/type");
        if !kind.is_empty() && !COLUMN_TYPES.contains(&kind) {
            errors.not_supported(&here.field("type"), kind, COLUMN_TYPES);
        }
        let source = column.text("/jsonPath");
        if !source.is_empty() && table::JsonPath::parse(source).is_err() {
            errors.invalid(&here.field("jsonPath"), source, "illegal column definition");
        }
    }
}

fn scale(version: &Value, path: &Path<'_>, errors: &mut Errors) {
    let Some(scale) = version.pointer("/subresources/scale") else { return };
    let here = path.field("scale");
    for (field, prefix) in [("specReplicasPath", ".spec."), ("statusReplicasPath", ".status.")] {
        let value = scale.get(field).and_then(Value::as_str).unwrap_or_default();
        if value.is_empty() {
            errors.required(&here.field(field), "");
        } else if !value.starts_with(prefix) {
            let root = prefix.trim_end_matches('.');
            let detail = format!("should be a json path under {root}");
            errors.invalid(&here.field(field), value, &detail);
        }
    }
    if let Some(path) = scale.get("labelSelectorPath").and_then(Value::as_str)
        && !path.is_empty()
        && !path.starts_with(".status.")
        && !path.starts_with(".spec.")
    {
        let detail = "should be a json path under either .spec or .status";
        errors.invalid(&here.field("labelSelectorPath"), path, detail);
    }
}

/// Fields that clients may select by: plain values of known type.
fn selectable(version: &Value, path: &Path<'_>, errors: &mut Errors) {
    let fields = version.list("/selectableFields");
    if fields.len() > MOST_SELECTABLE {
        errors.too_many(path, fields.len(), MOST_SELECTABLE);
    }
    let mut seen = BTreeSet::new();
    for (index, field) in fields.iter().enumerate() {
        let here = path.index(index);
        let here = here.field("jsonPath");
        let source = field.text("/jsonPath");
        if source.is_empty() {
            errors.required(&here, "");
            continue;
        }
        if !seen.insert(source) {
            errors.duplicate(&here, source);
        }
        let names = source.strip_prefix('.').into_iter().flat_map(|rest| rest.split('.'));
        let schema = version.pointer("/schema/openAPIV3Schema");
        let found = names.fold(schema, |schema, name| schema?.get("properties")?.get(name));
        if !source.starts_with('.') || source.starts_with(".metadata") {
            errors.invalid(
                &here,
                source,
                "must be a valid path: must be a simple path below the object, not in its metadata",
            );
        } else if !found.is_some_and(|one| matches!(one.text("/type"), "string" | "boolean" | "integer")) {
            errors.invalid(&here, source, "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.");
        }
    }
}
