//! What differs between two states of an object.

use std::cmp::Ordering;

use serde_json::Value;

use super::element::Element;
use super::items::items;
use super::kind_at;
use super::set::{Node, Set};
use crate::schema::{Kind, Shape};

/// The fields that differ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Only in the new state.
    pub added: Set,
    /// In both, with different values.
    pub modified: Set,
    /// Only in the old state.
    pub removed: Set,
}

impl Comparison {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.modified.is_empty() && self.removed.is_empty()
    }

    /// Without `ignored` and what is below it.
    #[must_use]
    pub(super) fn without(&self, ignored: &Set) -> Self {
        Self {
            added: self.added.without_trees(ignored),
            modified: self.modified.without_trees(ignored),
            removed: self.removed.without_trees(ignored),
        }
    }
}

/// Compares two states of an object of this shape.
pub fn compare(shape: Shape<'_>, old: &Value, new: &Value) -> Comparison {
    let mut out = Level::default();
    inside(shape, Some(old), Some(new), 0, &mut out);
    out.finish()
}

/// The nodes of one level, not yet in order.
#[derive(Default)]
struct Level {
    added: Vec<Node>,
    modified: Vec<Node>,
    removed: Vec<Node>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    Nothing,
    Added,
    Modified,
    Removed,
}

impl Level {
    fn finish(self) -> Comparison {
        Comparison {
            added: Set::from_nodes(self.added),
            modified: Set::from_nodes(self.modified),
            removed: Set::from_nodes(self.removed),
        }
    }

    fn put(&mut self, element: Element, change: Change, below: Comparison) {
        if change == Change::Nothing && below.is_empty() {
            return;
        }
        let node = |is: Change, below: Set| Node { element: element.clone(), member: change == is, below };
        self.added.push(node(Change::Added, below.added));
        self.modified.push(node(Change::Modified, below.modified));
        self.removed.push(node(Change::Removed, below.removed));
    }
}

/// What happened to the value itself.
fn change(shape: Shape<'_>, old: Option<&Value>, new: Option<&Value>, depth: usize) -> Change {
    match (old, new) {
        (None, None) => Change::Nothing,
        (None, Some(_)) => Change::Added,
        (Some(_), None) => Change::Removed,
        (Some(old), Some(new)) => {
            let (was, is) = (kind_at(shape, old, depth), kind_at(shape, new, depth));
            let same = match (was, is) {
                (Kind::Leaf, Kind::Leaf) => old == new,
                // Null is as good as a container with nothing in it.
                _ => was == is || old.is_null() || new.is_null(),
            };
            if same { Change::Nothing } else { Change::Modified }
        }
    }
}

/// What happened below the value.
fn inside(shape: Shape<'_>, old: Option<&Value>, new: Option<&Value>, depth: usize, out: &mut Level) {
    let kind = |value: Option<&Value>| value.map_or(Kind::Leaf, |value| kind_at(shape, value, depth));
    let (was, is) = (kind(old), kind(new));
    if was == Kind::Map || is == Kind::Map {
        let before = old.filter(|_| was == Kind::Map).and_then(Value::as_object);
        let after = new.filter(|_| is == Kind::Map).and_then(Value::as_object);
        let mut entry = |key: &str, old: Option<&Value>, new: Option<&Value>| {
            pair(Element::field(key), shape.child(key).shape(), old, new, depth, out);
        };
        for (key, value) in before.into_iter().flatten() {
            entry(key, Some(value), after.and_then(|map| map.get(key)));
        }
        for (key, value) in after.into_iter().flatten() {
            if before.is_none_or(|map| !map.contains_key(key)) {
                entry(key, None, Some(value));
            }
        }
    }
    let is_list = |kind: Kind| matches!(kind, Kind::Set | Kind::Keyed);
    if is_list(was) || is_list(is) {
        let before = old.filter(|_| is_list(was)).and_then(Value::as_array);
        let after = new.filter(|_| is_list(is)).and_then(Value::as_array);
        let before = before.map_or_else(Vec::new, |list| items(shape, was, list));
        let after = after.map_or_else(Vec::new, |list| items(shape, is, list));
        lists(shape, before, after, depth, out);
    }
}

type Groups<'v> = Vec<(Element, Vec<&'v Value>)>;

/// Goes through the items of both lists in step.
fn lists(shape: Shape<'_>, before: Groups<'_>, after: Groups<'_>, depth: usize, out: &mut Level) {
    let (mut before, mut after) = (before.into_iter().peekable(), after.into_iter().peekable());
    loop {
        let order = match (before.peek(), after.peek()) {
            (None, None) => return,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) => old.0.cmp(&new.0),
        };
        let old = if order.is_le() { before.next() } else { None };
        let new = if order.is_ge() { after.next() } else { None };
        let duplicates = [&old, &new].into_iter().flatten().any(|(_, items)| items.len() > 1);
        let Some((element, _)) = old.as_ref().or(new.as_ref()) else { return };
        if duplicates {
            // Who is who among items of the same key cannot be told: they are one leaf.
            let is = match (&old, &new) {
                (None, _) => Change::Added,
                (_, None) => Change::Removed,
                (Some(old), Some(new)) if old.1 == new.1 => Change::Nothing,
                _ => Change::Modified,
            };
            out.put(element.clone(), is, Comparison::default());
        } else {
            let was = old.as_ref().and_then(|(_, items)| items.first().copied());
            let is = new.as_ref().and_then(|(_, items)| items.first().copied());
            pair(element.clone(), shape.item(), was, is, depth, out);
        }
    }
}

fn pair(
    element: Element,
    shape: Shape<'_>,
    old: Option<&Value>,
    new: Option<&Value>,
    depth: usize,
    out: &mut Level,
) {
    let mut below = Level::default();
    inside(shape, old, new, depth + 1, &mut below);
    out.put(element, change(shape, old, new, depth + 1), below.finish());
}
