//! An object as a set of fields, parts of objects cut away by such a set, and what is wrong with an object as a configuration.

use serde_json::{Map, Value};

use super::element::Element;
use super::items::{element_of, elements, items};
use super::kind_at;
use super::set::{Node, Set};
use crate::schema::{Child, Kind, Shape};

/// More problems than this are not worth listing.
const MOST: usize = 64;

/// Every field that the object has.
pub fn fields_of(shape: Shape<'_>, object: &Value) -> Set {
    below(shape, object, 0)
}

fn below(shape: Shape<'_>, value: &Value, depth: usize) -> Set {
    let kind = kind_at(shape, value, depth);
    let mut nodes = Vec::new();
    match (kind, value) {
        (Kind::Map, Value::Object(map)) => {
            for (key, value) in map {
                let child = shape.child(key);
                let inner = kind_at(child.shape(), value, depth + 1);
                // A field of a struct is owned by what is in it, an entry of a map by itself as well.
                let member = !matches!(child, Child::Named(_))
                    || inner == Kind::Leaf
                    || value.as_object().is_some_and(Map::is_empty);
                let below = below(child.shape(), value, depth + 1);
                nodes.push(Node { element: Element::field(key), member, below });
            }
        }
        (Kind::Set | Kind::Keyed, Value::Array(list)) => {
            for (element, group) in items(shape, kind, list) {
                let below = match group.as_slice() {
                    [item] => below(shape.item(), item, depth + 1),
                    _ => Set::default(),
                };
                nodes.push(Node { element, member: true, below });
            }
        }
        _ => {}
    }
    Set::from_nodes(nodes)
}

/// `value` without the fields in `gone`. None when nothing is left of it.
pub(super) fn without(shape: Shape<'_>, value: &Value, gone: &Set) -> Option<Value> {
    cut(shape, value, gone, 0)
}

fn cut(shape: Shape<'_>, value: &Value, gone: &Set, depth: usize) -> Option<Value> {
    let kind = kind_at(shape, value, depth);
    let keep = |element: &Element, shape: Shape<'_>, value: &Value| match gone.below(element) {
        _ if gone.has(element) => None,
        None => Some(value.clone()),
        Some(below) => cut(shape, value, below, depth + 1),
    };
    match (kind, value) {
        (Kind::Map, Value::Object(map)) => {
            let entries = map.iter().filter_map(|(key, value)| {
                Some((key.clone(), keep(&Element::field(key), shape.child(key).shape(), value)?))
            });
            let left: Map<String, Value> = entries.collect();
            (!left.is_empty()).then_some(Value::Object(left))
        }
        (Kind::Set | Kind::Keyed, Value::Array(list)) => {
            let all = elements(shape, kind, list);
            let left: Vec<Value> = all
                .iter()
                .zip(list)
                .filter_map(|(element, item)| {
                    if gone.has(element) {
                        return None;
                    }
                    // An item stays an item, even without all its fields.
                    Some(keep(element, shape.item(), item).unwrap_or(Value::Null))
                })
                .collect();
            (!left.is_empty()).then_some(Value::Array(left))
        }
        // Atomic: its parts are owned only together.
        (Kind::Leaf, Value::Object(_) | Value::Array(_)) => None,
        (_, value) => Some(value.clone()),
    }
}

/// The set, with every field of a struct in it below which there is something in it.
pub(super) fn with_named(shape: Shape<'_>, set: &Set) -> Set {
    let node = |node: &Node| {
        let (named, shape) = match &node.element {
            Element::Field(name) => match shape.child(name) {
                Child::Named(shape) => (true, shape),
                other => (false, other.shape()),
            },
            _ => (false, shape.item()),
        };
        let below = with_named(shape, &node.below);
        Node { element: node.element.clone(), member: node.member || named, below }
    };
    Set::from_nodes(set.nodes().iter().map(node).collect())
}

/// Why an object cannot be applied: fields that the kind does not have, list items that cannot be told apart.
pub fn problems(shape: Shape<'_>, object: &Value) -> Vec<String> {
    let mut found = Vec::new();
    inspect(shape, object, "", 0, &mut found);
    found
}

fn inspect(shape: Shape<'_>, value: &Value, path: &str, depth: usize, found: &mut Vec<String>) {
    let kind = kind_at(shape, value, depth);
    match (kind, value) {
        // Atomic values are checked, too.
        (Kind::Map | Kind::Leaf, Value::Object(map)) => {
            for (key, value) in map {
                let here = format!("{path}.{key}");
                match shape.child(key) {
                    Child::Undeclared if declares(shape) => {
                        note(found, format!("{here}: field not declared in schema"));
                    }
                    child if depth < super::DEEPEST => inspect(child.shape(), value, &here, depth + 1, found),
                    _ => {}
                }
            }
        }
        (Kind::Set | Kind::Keyed, Value::Array(list)) => {
            let keys = shape.keys();
            let mut seen = std::collections::BTreeSet::new();
            for (index, item) in list.iter().enumerate() {
                match element_of(&keys, kind, item) {
                    Err(wrong) => note(found, format!("{path}: element {index}: {wrong}")),
                    Ok(element) => {
                        let here = format!("{path}{element}");
                        if !seen.insert(element.clone()) {
                            note(found, format!("{path}: duplicate entries for key {element}"));
                        }
                        inspect(shape.item(), item, &here, depth + 1, found);
                    }
                }
            }
        }
        (Kind::Leaf, Value::Array(list)) if depth < super::DEEPEST => {
            for (index, item) in list.iter().enumerate() {
                inspect(shape.item(), item, &format!("{path}[{index}]"), depth + 1, found);
            }
        }
        _ => {}
    }
}

/// Whether a map of this shape has a list of fields at all. A value of another type is the decoder's to refuse.
fn declares(shape: Shape<'_>) -> bool {
    matches!(shape, Shape::Struct(..) | Shape::Custom(_) | Shape::CustomResource(..))
}

fn note(found: &mut Vec<String>, problem: String) {
    if found.len() < MOST {
        found.push(problem);
    }
}
