//! Lists that are sets or maps in disguise: no item twice.

use serde_json::Value;

use super::{ListType, Schema};
use crate::schema::{Errors, Path};

/// Checks the items of one list for duplicates.
pub(super) fn check(schema: &Schema, items: &[Value], path: &Path<'_>, errors: &mut Errors) {
    match &schema.list {
        ListType::Atomic => {}
        ListType::Set => {
            for (index, item) in items.iter().enumerate() {
                if items[..index].contains(item) {
                    errors.duplicate(&path.index(index), item.clone());
                }
            }
        }
        ListType::Map(keys) => {
            let defaulted = |item: &Value, key: &str| {
                let default = || schema.items.as_ref()?.property(key)?.default.as_deref().cloned();
                item.get(key).cloned().or_else(default)
            };
            let key_of = |item: &Value| -> Value {
                keys.iter().filter_map(|key| Some((key.to_string(), defaulted(item, key)?))).collect()
            };
            let all: Vec<Value> = items.iter().map(key_of).collect();
            for (index, key) in all.iter().enumerate() {
                if all[..index].contains(key) {
                    errors.duplicate(&path.index(index), key.clone());
                }
            }
        }
    }
}
