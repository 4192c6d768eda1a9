//! Laying a configuration over an object.

use std::collections::BTreeMap;

use serde_json::Value;

use super::element::Element;
use super::items::elements;
use super::kind_at;
use crate::schema::{Kind, Shape};

/// `live` with all that `config` says. Lists come out in the order of `config`, with what it does not name where it was.
pub(super) fn merge(shape: Shape<'_>, live: Value, config: &Value) -> Value {
    over(shape, live, config, 0)
}

fn over(shape: Shape<'_>, live: Value, config: &Value, depth: usize) -> Value {
    let kind = kind_at(shape, config, depth);
    if kind_at(shape, &live, depth) != kind {
        return config.clone();
    }
    match (kind, live, config) {
        (Kind::Map, Value::Object(mut map), Value::Object(config)) => {
            for (key, value) in config {
                let merged = match map.get_mut(key).map(Value::take) {
                    Some(live) => over(shape.child(key).shape(), live, value, depth + 1),
                    None => value.clone(),
                };
                map.insert(key.clone(), merged);
            }
            Value::Object(map)
        }
        (Kind::Set | Kind::Keyed, Value::Array(live), Value::Array(config)) => {
            let before = elements(shape, kind, &live);
            let after = elements(shape, kind, config);
            Value::Array(interleave(live, &before, config, &after, |live, config| {
                over(shape.item(), live, config, depth + 1)
            }))
        }
        (_, _, config) => config.clone(),
    }
}

/// Items of both lists in one order: that of the configuration, and what only the object has stays before the shared item that it was
/// before (`visitListItems` of structured-merge-diff's merge).
fn interleave(
    live: Vec<Value>,
    before: &[Element],
    config: &[Value],
    after: &[Element],
    merge: impl Fn(Value, &Value) -> Value,
) -> Vec<Value> {
    let mut live: Vec<Option<Value>> = live.into_iter().map(Some).collect();
    let mut mine_at: BTreeMap<&Element, Vec<usize>> = BTreeMap::new();
    for (index, element) in before.iter().enumerate() {
        mine_at.entry(element).or_default().push(index);
    }
    let theirs_at: BTreeMap<&Element, usize> = after.iter().zip(0..).collect();
    let mut shared = after.iter().filter(|element| mine_at.contains_key(element)).peekable();
    let mut out = Vec::with_capacity(live.len().max(config.len()));
    let (mut left, mut right) = (0, 0);
    while left < before.len() || right < after.len() {
        if let (Some(mine), Some(theirs)) = (before.get(left), after.get(right))
            && mine != theirs
            && theirs_at.contains_key(mine)
            && shared.peek().is_some_and(|next| *next != mine)
        {
            // Shared, but its turn is later or over.
            left += 1;
            continue;
        }
        if let Some(mine) = before.get(left) {
            let Some(at) = theirs_at.get(mine) else {
                out.extend(live.get_mut(left).and_then(Option::take));
                left += 1;
                continue;
            };
            if *at <= right {
                left += 1;
            }
        }
        if let (Some(theirs), Some(value)) = (after.get(right), config.get(right)) {
            // Of several that cannot be told apart none is the one that is meant.
            let at = mine_at.get(theirs).filter(|at| at.len() == 1).and_then(|at| at.first());
            let old = at.and_then(|at| live.get_mut(*at)).and_then(Option::take);
            out.push(match old {
                Some(old) => merge(old, value),
                None => value.clone(),
            });
            right += 1;
            if shared.peek().is_some_and(|next| *next == theirs) {
                shared.next();
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(live: &[&str], config: &[&str]) -> String {
        let values = |names: &[&str]| names.iter().map(|name| Value::from(*name)).collect::<Vec<_>>();
        let elements = |names: &[&str]| names.iter().map(|name| Element::field(name)).collect::<Vec<_>>();
        let merged =
            interleave(values(live), &elements(live), &values(config), &elements(config), |live, _| live);
        merged.iter().filter_map(Value::as_str).collect()
    }

    #[test]
    fn a_merged_list_has_the_order_of_the_configuration_and_the_rest_where_it_was() {
        assert_eq!(order(&["a", "b", "c"], &["a", "b", "c"]), "abc");
        assert_eq!(order(&["a", "b", "c"], &["b"]), "abc");
        assert_eq!(order(&["a", "b"], &["x", "a", "b"]), "xab");
        assert_eq!(order(&["a", "b", "c"], &["c", "a"]), "bca");
        assert_eq!(order(&["a", "b"], &["b", "c"]), "abc");
        assert_eq!(order(&[], &["b", "a"]), "ba");
        assert_eq!(order(&["a", "b"], &[]), "ab");
    }
}
