//! The items of lists that are sets or maps in disguise.

use serde_json::Value;

use super::element::Element;
use crate::schema::{Kind, Shape};

/// The items of a list under the elements that tell them apart, in order of element. Several under one are duplicates.
pub(super) fn items<'v>(shape: Shape<'_>, kind: Kind, list: &'v [Value]) -> Vec<(Element, Vec<&'v Value>)> {
    let mut sorted: Vec<(Element, &Value)> = elements(shape, kind, list).into_iter().zip(list).collect();
    sorted.sort_by(|a, b| a.0.cmp(&b.0));
    let mut groups: Vec<(Element, Vec<&Value>)> = Vec::with_capacity(sorted.len());
    for (element, item) in sorted {
        match groups.last_mut() {
            Some((last, group)) if *last == element => group.push(item),
            _ => groups.push((element, vec![item])),
        }
    }
    groups
}

/// The element of each item. One that has none by the rules stands for itself.
pub(super) fn elements(shape: Shape<'_>, kind: Kind, list: &[Value]) -> Vec<Element> {
    let keys = shape.keys();
    let of = |item: &Value| {
        element_of(&keys, kind, item).unwrap_or_else(|_| Element::Value(Box::new(item.clone())))
    };
    list.iter().map(of).collect()
}

/// The element of an item.
///
/// # Errors
/// In structured-merge-diff's words, when it is not an item of such a list.
pub(super) fn element_of(
    keys: &[(&str, Option<Value>)],
    kind: Kind,
    item: &Value,
) -> Result<Element, String> {
    let wrong = |text: &str| Err(text.to_owned());
    match (kind, item) {
        (Kind::Keyed, Value::Object(map)) => {
            let mut fields = Vec::with_capacity(keys.len());
            for (name, default) in keys {
                let Some(value) = map.get(*name).or(default.as_ref()) else {
                    return Err(format!(
                        "associative list with keys has an element that omits key field {name:?} (and doesn't have default value)"
                    ));
                };
                fields.push(((*name).into(), value.clone()));
            }
            Ok(Element::key(fields))
        }
        (Kind::Keyed, Value::Null) => wrong("associative list with keys may not have a null element"),
        (Kind::Keyed, _) => wrong("associative list with keys may not have non-map elements"),
        (_, Value::Object(_)) => wrong("associative list without keys has an element that's a map type"),
        (_, Value::Array(_)) => wrong("not supported: associative list with lists as elements"),
        (_, Value::Null) => wrong("associative list without keys has an element that's an explicit null"),
        (_, value) => Ok(Element::Value(Box::new(value.clone()))),
    }
}
