//! A written file laid over the defaults, key by key.

use serde_json::{Map, Value};

use super::Warning;

/// Lays `written` over `defaults`. Keys of `silent` are known but without effect.
pub(super) fn lay(mut defaults: Value, silent: &Value, written: Value) -> (Value, Vec<Warning>) {
    let mut warnings = Vec::new();
    if let (Value::Object(base), Value::Object(written)) = (&mut defaults, written) {
        lay_map(base, silent, written, "", &mut warnings);
    }
    (defaults, warnings)
}

/// Maps whose keys are the user's, although they have defaults.
const FREE: &[&str] = &["evictionHard"];

fn lay_map(
    base: &mut Map<String, Value>,
    silent: &Value,
    written: Map<String, Value>,
    at: &str,
    warnings: &mut Vec<Warning>,
) {
    let mut seen: Vec<String> = Vec::new();
    for (key, value) in written {
        let path = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
        let Some(name) = same_key(base.keys(), &key) else {
            unknown(base, silent, &key, path, &value, warnings);
            continue;
        };
        if seen.contains(&name) {
            warnings.push(Warning::Repeated { key: path.clone() });
        }
        seen.push(name.clone());
        let inner = silent.as_object().and_then(|s| s.get(&name)).unwrap_or(&Value::Null);
        match (base.get_mut(&name), value) {
            // As in Go: null leaves a key as it was.
            (_, Value::Null) | (None, _) => {}
            // An empty map in the defaults has the user's keys.
            (Some(Value::Object(fields)), Value::Object(value))
                if !(FREE.contains(&name.as_str()) || fields.is_empty() && inner.is_null()) =>
            {
                lay_map(fields, inner, value, &path, warnings);
            }
            (Some(slot), value) => *slot = value,
        }
    }
}

fn unknown(
    base: &Map<String, Value>,
    silent: &Value,
    key: &str,
    path: String,
    value: &Value,
    warnings: &mut Vec<Warning>,
) {
    let Value::Object(silent) = silent else {
        return warnings.push(Warning::UnknownKey { key: path, similar: similar(base.keys(), key) });
    };
    match same_key(silent.keys(), key) {
        None => {
            let similar = similar(base.keys().chain(silent.keys()), key);
            warnings.push(Warning::UnknownKey { key: path, similar });
        }
        // A key left at KubeEdge's default asks for nothing.
        Some(name) if value.is_null() || silent.get(&name) == Some(value) => {}
        Some(name) => match (silent.get(&name), value) {
            (Some(Value::Object(known)), Value::Object(given)) => {
                let known = Value::Object(known.clone());
                for (key, value) in given {
                    unknown(&Map::new(), &known, key, format!("{path}.{key}"), value, warnings);
                }
            }
            _ => warnings.push(Warning::NoEffect { key: path }),
        },
    }
}

/// Go matches keys in any letter case, an exact match first.
fn same_key<'a>(known: impl Iterator<Item = &'a String> + Clone, key: &str) -> Option<String> {
    let exact = known.clone().find(|name| *name == key);
    exact.or_else(|| known.clone().find(|name| name.eq_ignore_ascii_case(key))).cloned()
}

/// The known key that differs least, if it differs little.
fn similar<'a>(known: impl Iterator<Item = &'a String>, key: &str) -> Option<String> {
    let key = key.to_ascii_lowercase();
    known
        .map(|name| (distance(&name.to_ascii_lowercase(), &key), name))
        .filter(|(distance, name)| *distance <= 2.min(name.len() / 3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name.clone())
}

/// Levenshtein's distance of two short words.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// Both trees in one, for printing.
pub(super) fn union(mut base: Value, silent: &Value) -> Value {
    if let (Value::Object(fields), Value::Object(silent)) = (&mut base, silent) {
        for (key, value) in silent {
            let merged = match fields.shift_remove(key) {
                Some(known) => union(known, value),
                None => value.clone(),
            };
            fields.insert(key.clone(), merged);
        }
    }
    base
}

/// Only these dotted paths of a tree, in the tree's order.
pub(super) fn pick(tree: &Value, paths: &[&str]) -> Value {
    fn walk(tree: &Value, at: &str, paths: &[&str]) -> Option<Value> {
        if paths.contains(&at) {
            return Some(tree.clone());
        }
        let Value::Object(fields) = tree else { return None };
        let picked: Map<String, Value> = fields
            .iter()
            .filter_map(|(key, value)| {
                let path = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
                Some((key.clone(), walk(value, &path, paths)?))
            })
            .collect();
        (!picked.is_empty()).then_some(Value::Object(picked))
    }
    walk(tree, "", paths).unwrap_or_default()
}
