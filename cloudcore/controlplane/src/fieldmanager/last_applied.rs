//! Objects that `kubectl apply` managed from the client side: what it applied last stands in an annotation.

use serde_json::{Map, Value};

use super::Claim;
use super::compare::compare;
use super::set::Set;
use super::typed::fields_of;

/// Only this applier goes on where client-side apply ended.
pub(super) const KUBECTL: &str = "kubectl";
const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// What all annotations together may hold.
const ANNOTATIONS_MAX: usize = 256 * 1024;

fn annotation(object: &Value) -> Option<&str> {
    object.get("metadata")?.get("annotations")?.get(ANNOTATION)?.as_str().filter(|text| !text.is_empty())
}

/// The fields that client-side apply set and that are still as it set them: kubectl may take them from any owner.
pub(super) fn own_fields(claim: &Claim<'_>, live: &Value) -> Option<Set> {
    let applied: Value = serde_json::from_str(annotation(live)?).ok()?;
    if applied.get("apiVersion").and_then(Value::as_str) != Some(claim.api_version) {
        return None;
    }
    let differs = compare(claim.shape, &applied, live);
    let fields = fields_of(claim.shape, &applied);
    Some(fields.difference(&differs.modified).difference(&differs.added).difference(&differs.removed))
}

/// Keeps the annotation, where there is one, at what was applied now.
pub(super) fn refresh(object: &mut Value, config: &Value) {
    if annotation(object).is_none() {
        return;
    }
    let mut config = config.clone();
    if let Some(annotations) = config.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.shift_remove(ANNOTATION);
    }
    let text = format!("{}\n", sorted(&config));
    let Some(annotations) = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) else {
        return;
    };
    annotations.shift_remove(ANNOTATION);
    let others = annotations.iter().map(|(key, value)| key.len() + value.as_str().map_or(0, str::len));
    if others.sum::<usize>() + ANNOTATION.len() + text.len() <= ANNOTATIONS_MAX {
        annotations.insert(ANNOTATION.to_owned(), Value::String(text));
    }
}

/// With the keys of every map in order, as Go writes them.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<(&String, &Value)> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            Value::Object(entries.into_iter().map(|(key, value)| (key.clone(), sorted(value))).collect::<Map<
                String,
                Value,
            >>(
            ))
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        plain => plain.clone(),
    }
}
