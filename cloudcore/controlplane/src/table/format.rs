//! Pieces of cells that several kinds share.

use serde_json::{Map, Value};

use crate::schema::Json;

pub(super) const NONE: &str = "<none>";

/// The object's name.
pub(super) fn name(object: &Value) -> Value {
    object.text("/metadata/name").into()
}

/// The text, or `otherwise` when it is empty.
pub(super) fn or<'a>(text: &'a str, otherwise: &'a str) -> &'a str {
    if text.is_empty() { otherwise } else { text }
}

/// The text there, or `<none>`.
pub(super) fn or_none(object: &Value, pointer: &str) -> Value {
    or(object.text(pointer), NONE).into()
}

/// The number there, or 0.
pub(super) fn count(object: &Value, pointer: &str) -> Value {
    object.int(pointer).unwrap_or_default().into()
}

/// Some field of every item, joined with commas.
pub(super) fn joined(items: &[Value], field: &str) -> Value {
    items.iter().map(|item| item.text(field)).collect::<Vec<_>>().join(",").into()
}

/// `a=1,b=2`, or `<none>`.
pub(super) fn labels(labels: Option<&Map<String, Value>>) -> String {
    let mut pairs: Vec<String> = labels
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    pairs.sort();
    or(&pairs.join(","), NONE).to_owned()
}

/// A label selector in the form that `-l` takes.
pub(super) fn selector(selector: Option<&Value>) -> String {
    let Some(selector) = selector else { return NONE.to_owned() };
    let mut parts = Vec::new();
    if let Some(map) = selector.object("/matchLabels").filter(|map| !map.is_empty()) {
        parts.push(labels(Some(map)));
    }
    for one in selector.list("/matchExpressions") {
        let key = one.text("/key");
        let mut values: Vec<&str> = one.list("/values").iter().filter_map(Value::as_str).collect();
        values.sort_unstable();
        let values = values.join(",");
        parts.push(match one.text("/operator") {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        });
    }
    or(&parts.join(","), NONE).to_owned()
}
