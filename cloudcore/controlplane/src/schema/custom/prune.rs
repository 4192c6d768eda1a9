//! Pruning: fields that the schema does not know are dropped, and named.

use serde_json::{Map, Value};

use super::{Additional, Schema};
use crate::schema::Path;

/// Every object has these, whatever its schema says.
pub(super) const META: [&str; 3] = ["apiVersion", "kind", "metadata"];

impl Schema {
    /// Removes unknown fields of a whole object; returns their paths.
    pub fn prune(&self, object: &mut Value) -> Vec<String> {
        let mut unknown = Vec::new();
        prune(object, Some(self), true, &Path::Root, &mut unknown);
        unknown
    }
}

fn prune(value: &mut Value, schema: Option<&Schema>, root: bool, path: &Path<'_>, unknown: &mut Vec<String>) {
    match value {
        Value::Object(map) => prune_map(map, schema, root, path, unknown),
        Value::Array(items) => {
            let below = schema.and_then(|schema| schema.items.as_deref());
            if below.is_none() && schema.is_some_and(|schema| schema.preserve_unknown) {
                return;
            }
            for (index, item) in items.iter_mut().enumerate() {
                prune(item, below, false, &path.index(index), unknown);
            }
        }
        _ => {}
    }
}

fn prune_map(
    map: &mut Map<String, Value>,
    schema: Option<&Schema>,
    root: bool,
    path: &Path<'_>,
    unknown: &mut Vec<String>,
) {
    let is_resource = root || schema.is_some_and(|schema| schema.embedded);
    let mut gone = Vec::new();
    for (key, value) in map.iter_mut() {
        if is_resource && META.contains(&key.as_str()) {
            continue;
        }
        let here = path.field(key);
        let Some(schema) = schema else {
            unknown.push(here.to_string());
            gone.push(key.clone());
            continue;
        };
        if let Some(property) = schema.property(key) {
            prune(value, Some(property), false, &here, unknown);
        } else if let Some(additional) = schema.additional.as_deref() {
            match additional {
                Additional::Schema(schema) => prune(value, Some(schema), false, &here, unknown),
                Additional::Any if schema.preserve_unknown => {}
                Additional::Any => prune(value, None, false, &here, unknown),
            }
        } else if !schema.preserve_unknown {
            unknown.push(here.to_string());
            gone.push(key.clone());
        }
    }
    for key in gone {
        map.shift_remove(&key);
    }
}
