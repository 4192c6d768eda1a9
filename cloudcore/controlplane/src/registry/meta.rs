//! `metadata`, the same for every kind.

use serde_json::Value;

use super::names::{self, Check};
use crate::schema::{Errors, Json, Path};

const ANNOTATIONS_MAX: usize = 256 * 1024;

const STANDARD_FINALIZERS: &[&str] = &["kubernetes", "orphan", "foregroundDeletion"];

/// Rules for the metadata of a new object.
pub(super) fn validate(object: &Value, name_form: Check, errors: &mut Errors) {
    let root = Path::Root;
    let meta = root.field("metadata");
    let name = object.text("/metadata/name");
    let base = object.text("/metadata/generateName");
    if !base.is_empty() {
        let path = meta.field("generateName");
        // A base may end in the separator that the suffix is put behind.
        let trimmed = base.strip_suffix('-').filter(|rest| !rest.is_empty()).map(|rest| format!("{rest}a"));
        for wrong in name_form(trimmed.as_deref().unwrap_or(base)) {
            errors.invalid(&path, base, &wrong);
        }
    }
    if name.is_empty() {
        if base.is_empty() {
            errors.required(&meta.field("name"), "name or generateName is required");
        }
    } else {
        for wrong in name_form(name) {
            errors.invalid(&meta.field("name"), name, &wrong);
        }
    }
    labels(object.pointer("/metadata/labels"), &meta.field("labels"), errors);
    annotations(object.pointer("/metadata/annotations"), &meta.field("annotations"), errors);
    owners(object, &meta.field("ownerReferences"), errors);
    finalizers(object, &meta.field("finalizers"), errors);
}

/// Rules for a change of metadata.
pub(super) fn validate_update(old: &Value, new: &Value, errors: &mut Errors) {
    let root = Path::Root;
    let meta = root.field("metadata");
    for field in ["name", "namespace", "uid", "creationTimestamp"] {
        let pointer = format!("/metadata/{field}");
        let (before, after) = (old.text(&pointer), new.text(&pointer));
        if before != after && !before.is_empty() {
            errors.invalid(&meta.field(field), after, "field is immutable");
        }
    }
    if old.has("/metadata/deletionTimestamp") {
        let kept = old.list("/metadata/finalizers");
        let added: Vec<String> = new
            .list("/metadata/finalizers")
            .iter()
            .filter(|one| !kept.contains(one))
            .map(Value::to_string)
            .collect();
        if !added.is_empty() {
            let detail = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                added.join(", ")
            );
            errors.forbidden(&meta.field("finalizers"), &detail);
        }
    }
}

/// Keys and values of labels.
pub(super) fn labels(labels: Option<&Value>, path: &Path<'_>, errors: &mut Errors) {
    for (key, value) in labels.and_then(Value::as_object).into_iter().flatten() {
        for wrong in names::qualified_name(key) {
            errors.invalid(path, key.as_str(), &wrong);
        }
        let value = value.as_str().unwrap_or_default();
        for wrong in names::label_value(value) {
            errors.invalid(path, value, &wrong);
        }
    }
}

/// Keys of annotations, and how much they may hold.
pub(super) fn annotations(annotations: Option<&Value>, path: &Path<'_>, errors: &mut Errors) {
    let mut size = 0;
    for (key, value) in annotations.and_then(Value::as_object).into_iter().flatten() {
        size += key.len() + value.as_str().map_or(0, str::len);
        for wrong in names::qualified_name(&key.to_lowercase()) {
            errors.invalid(path, key.as_str(), &wrong);
        }
    }
    if size > ANNOTATIONS_MAX {
        errors.too_long(path, ANNOTATIONS_MAX);
    }
}

fn owners(object: &Value, path: &Path<'_>, errors: &mut Errors) {
    let mut controllers = 0;
    for (index, owner) in object.list("/metadata/ownerReferences").iter().enumerate() {
        let here = path.index(index);
        for (field, detail) in [
            ("apiVersion", "version must not be empty"),
            ("kind", "must not be empty"),
            ("name", "must not be empty"),
            ("uid", "must not be empty"),
        ] {
            let text = owner.get(field).and_then(Value::as_str).unwrap_or_default();
            if text.is_empty() {
                errors.invalid(&here.field(field), text, detail);
            }
        }
        controllers += usize::from(owner.flag("/controller"));
    }
    if controllers > 1 {
        let owners = object.pointer("/metadata/ownerReferences").cloned().unwrap_or_default();
        errors.invalid(path, owners, "Only one reference can have Controller set to true");
    }
}

fn finalizers(object: &Value, path: &Path<'_>, errors: &mut Errors) {
    for (index, finalizer) in object.list("/metadata/finalizers").iter().enumerate() {
        let here = path.index(index);
        let name = finalizer.as_str().unwrap_or_default();
        let wrong = names::qualified_name(name);
        for detail in &wrong {
            errors.invalid(&here, name, detail);
        }
        if wrong.is_empty() && !name.contains('/') && !STANDARD_FINALIZERS.contains(&name) {
            let detail = "name is neither a standard finalizer name nor is it fully qualified";
            errors.invalid(&here, name, detail);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(object: Value) -> Vec<String> {
        let mut errors = Errors::default();
        validate(&object, names::dns_subdomain, &mut errors);
        errors.into_vec().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_name_or_a_base_for_one_is_required() {
        assert_eq!(
            check(json!({"metadata": {}})),
            ["metadata.name: Required value: name or generateName is required"]
        );
        assert!(check(json!({"metadata": {"generateName": "web-"}})).is_empty());
        assert!(check(json!({"metadata": {"name": "Web"}}))[0].starts_with(
            "metadata.name: Invalid value: \"Web\": a lowercase RFC 1123 subdomain must consist of"
        ));
    }

    #[test]
    fn labels_owners_and_finalizers_are_checked() {
        assert!(
            check(json!({"metadata": {"name": "a", "labels": {"a": "b c"}}}))[0]
                .starts_with("metadata.labels: Invalid value: \"b c\": a valid label must be")
        );
        let owner = json!({"metadata": {"name": "a", "ownerReferences": [{"kind": "Pod", "name": "p", "apiVersion": "v1"}]}});
        assert_eq!(check(owner), ["metadata.ownerReferences[0].uid: Invalid value: \"\": must not be empty"]);
        assert!(
            check(json!({"metadata": {"name": "a", "finalizers": ["mine"]}}))[0].contains("fully qualified")
        );
    }

    #[test]
    fn nothing_can_be_added_to_hold_up_a_deletion() {
        let old = json!({"metadata": {"name": "a", "deletionTimestamp": "t", "finalizers": ["x.io/f"]}});
        let new =
            json!({"metadata": {"name": "a", "deletionTimestamp": "t", "finalizers": ["x.io/f", "y.io/g"]}});
        let mut errors = Errors::default();
        validate_update(&old, &new, &mut errors);
        assert_eq!(
            errors.into_vec()[0].to_string(),
            "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{\"y.io/g\"}"
        );
    }
}
