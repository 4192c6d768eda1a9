//! Strategic merge: a merge patch that knows which lists are maps in disguise.
//!
//! Follows `k8s.io/apimachinery/pkg/util/strategicpatch` step by step, directives included: `$patch`, `$retainKeys`,
//! `$setElementOrder/<list>`, `$deleteFromPrimitiveList/<list>`.

use serde_json::{Map, Value};

use super::order::{Identity, arrange};
use super::{PatchError, go};
use crate::schema::types::{Merge, StructId, Type, Types};

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const ELEMENT_ORDER: &str = "$setElementOrder/";
const DELETE_PRIMITIVE: &str = "$deleteFromPrimitiveList/";

/// Applies `patch` to an object of the type `root`.
pub(super) fn apply(
    types: &Types,
    root: StructId,
    current: &Value,
    patch: Map<String, Value>,
) -> Result<Value, PatchError> {
    let original = current.as_object().cloned().unwrap_or_default();
    let merger = Merger { types };
    merger.map(original, patch, &Type::Struct(root)).map(Value::Object)
}

struct Merger<'t> {
    types: &'t Types,
}

fn malformed(text: impl Into<String>) -> PatchError {
    PatchError::Malformed(text.into())
}

impl Merger<'_> {
    /// Type and merge strategy of a key of something of type `ty`.
    fn lookup(&self, ty: &Type, key: &str) -> (Type, Merge) {
        match ty {
            Type::Struct(id) => match self.types.get(*id).and_then(|one| one.field(key)) {
                Some(field) => (field.ty.clone(), field.merge),
                None => (Type::Any, Merge::Default),
            },
            Type::Map(value) => ((**value).clone(), Merge::Default),
            _ => (Type::Any, Merge::Default),
        }
    }

    fn map(
        &self,
        mut original: Map<String, Value>,
        mut patch: Map<String, Value>,
        ty: &Type,
    ) -> Result<Map<String, Value>, PatchError> {
        match patch.shift_remove(PATCH) {
            None => {}
            Some(Value::String(directive)) if directive == "replace" => return Ok(patch),
            Some(Value::String(directive)) if directive == "delete" => return Ok(Map::new()),
            Some(Value::String(directive)) if directive == "merge" => {}
            Some(other) => {
                return Err(malformed(format!(
                    "unknown patch type: {} in map: {}",
                    go::format(&other),
                    go::format(&Value::Object(patch))
                )));
            }
        }
        retain_keys(&mut original, &mut patch)?;
        self.ordered_lists(&mut original, &mut patch, ty)?;
        for (key, value) in patch {
            if let Some(list) = key.strip_prefix(DELETE_PRIMITIVE) {
                delete_primitives(&mut original, list, &value);
                continue;
            }
            if value.is_null() {
                original.shift_remove(&key);
                continue;
            }
            let merged = match (original.get_mut(&key).map(Value::take), value) {
                (Some(Value::Object(before)), Value::Object(patch)) => match self.lookup(ty, &key) {
                    (_, Merge::Replace) => drop_directives(Value::Object(patch)),
                    (ty, _) => Value::Object(self.map(before, patch, &ty)?),
                },
                (Some(Value::Array(before)), Value::Array(patch)) => {
                    let (ty, merge) = self.lookup(ty, &key);
                    Value::Array(self.list(before, patch, &ty, merge)?)
                }
                (_, value) => drop_directives(value),
            };
            original.insert(key, merged);
        }
        Ok(original)
    }

    /// Lists that come with `$setElementOrder`: merged and put in order together.
    fn ordered_lists(
        &self,
        original: &mut Map<String, Value>,
        patch: &mut Map<String, Value>,
        ty: &Type,
    ) -> Result<(), PatchError> {
        let directives: Vec<String> =
            patch.keys().filter(|key| key.starts_with(ELEMENT_ORDER)).cloned().collect();
        for directive in directives {
            let Some(order) = patch.shift_remove(&directive) else { continue };
            let Value::Array(order) = order else {
                return Err(malformed(format!("invalid value for {directive}: a list is needed")));
            };
            let key = directive.trim_start_matches(ELEMENT_ORDER);
            let (ty, merge) = self.lookup(ty, key);
            let before = match original.get(key) {
                Some(Value::Array(items)) => Some(items.clone()),
                Some(_) => return Err(malformed(format!("{key} is not a list"))),
                None => None,
            };
            let change = match patch.shift_remove(key) {
                Some(Value::Array(items)) => Some(items),
                // The list is to go: order is of no matter.
                Some(Value::Null) => {
                    original.shift_remove(key);
                    continue;
                }
                Some(_) => return Err(malformed(format!("{key} in the patch is not a list"))),
                None => None,
            };
            let merged = match (before.clone(), change) {
                (None, None) => continue,
                (Some(before), None) => before,
                (None, Some(change)) => change.into_iter().filter_map(element).collect(),
                (Some(before), Some(change)) => self.list(before, change, &ty, merge)?,
            };
            let identity = if let Merge::Key(key) = merge { Identity::Key(key) } else { Identity::Value };
            let arranged = arrange(merged, &order, &before.unwrap_or_default(), identity);
            original.insert(key.to_owned(), Value::Array(arranged));
        }
        Ok(())
    }

    fn list(
        &self,
        original: Vec<Value>,
        patch: Vec<Value>,
        ty: &Type,
        merge: Merge,
    ) -> Result<Vec<Value>, PatchError> {
        match merge {
            Merge::Default | Merge::Replace => Ok(patch.into_iter().map(drop_directives).collect()),
            Merge::Set => {
                let mut merged = original.clone();
                for item in &patch {
                    if !merged.contains(item) {
                        merged.push(item.clone());
                    }
                }
                Ok(arrange(merged, &patch, &original, Identity::Value))
            }
            Merge::Key(key) => self.keyed_list(original, patch, ty, key),
        }
    }

    fn keyed_list(
        &self,
        mut original: Vec<Value>,
        patch: Vec<Value>,
        ty: &Type,
        key: &'static str,
    ) -> Result<Vec<Value>, PatchError> {
        let item_type = if let Type::List(item) = ty { (**item).clone() } else { Type::Any };
        let mut changes = Vec::new();
        let mut replace = false;
        for item in patch {
            let Value::Object(item) = item else {
                return Err(malformed(format!(
                    "a list that is merged by {key} has an element that is not a map: {}",
                    go::format(&item)
                )));
            };
            match item.get(PATCH).map(Value::as_str) {
                None => changes.push(item),
                Some(Some("replace")) => replace = true,
                Some(Some("delete")) => {
                    let wanted = merge_key(&item, key)?;
                    original.retain(|one| one.get(key) != Some(wanted));
                }
                Some(Some("merge")) => {
                    return Err(malformed("merging lists cannot yet be specified in the patch"));
                }
                Some(other) => {
                    let found = other.map_or_else(String::new, ToOwned::to_owned);
                    return Err(malformed(format!(
                        "unknown patch type: {found} in map: {}",
                        go::format(&Value::Object(item))
                    )));
                }
            }
        }
        if replace {
            return Ok(changes.into_iter().map(|item| drop_directives(Value::Object(item))).collect());
        }
        let server = original.clone();
        let order: Vec<Value> = changes.iter().cloned().map(Value::Object).collect();
        for change in changes {
            let wanted = merge_key(&change, key)?;
            match original.iter_mut().find(|one| one.get(key) == Some(wanted)) {
                Some(Value::Object(found)) => {
                    *found = self.map(std::mem::take(found), change, &item_type)?;
                }
                _ => original.push(drop_directives(Value::Object(change))),
            }
        }
        Ok(arrange(original, &order, &server, Identity::Key(key)))
    }
}

fn merge_key<'a>(item: &'a Map<String, Value>, key: &'static str) -> Result<&'a Value, PatchError> {
    item.get(key)
        .ok_or_else(|| PatchError::NoMergeKey { element: go::format(&Value::Object(item.clone())), key })
}

/// `$retainKeys`: what is not listed goes. The patch may only set what it lists.
fn retain_keys(original: &mut Map<String, Value>, patch: &mut Map<String, Value>) -> Result<(), PatchError> {
    let Some(keys) = patch.shift_remove(RETAIN_KEYS) else { return Ok(()) };
    let Value::Array(keys) = keys else { return Err(malformed("invalid patch format of retainKeys")) };
    let listed = |key: &str| keys.iter().any(|one| one == key);
    let directive = |key: &str| key.starts_with(DELETE_PRIMITIVE) || key.starts_with(ELEMENT_ORDER);
    if patch.iter().any(|(key, value)| !value.is_null() && !directive(key) && !listed(key)) {
        return Err(malformed("invalid patch format of retainKeys"));
    }
    original.retain(|key, _| listed(key));
    Ok(())
}

fn delete_primitives(original: &mut Map<String, Value>, list: &str, gone: &Value) {
    if let (Some(Value::Array(items)), Value::Array(gone)) = (original.get_mut(list), gone) {
        items.retain(|item| !gone.contains(item));
    }
}

/// What a patch puts where nothing was: without its directives and nulls.
fn drop_directives(value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.into_iter()
                .filter(|(key, value)| !value.is_null() && !is_directive(key))
                .map(|(key, value)| (key, drop_directives(value)))
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.into_iter().filter_map(element).collect()),
        other => other,
    }
}

/// An element of a new list; one that is only there to say `$patch` is none.
fn element(item: Value) -> Option<Value> {
    match item.get(PATCH) {
        Some(_) => None,
        None => Some(drop_directives(item)),
    }
}

fn is_directive(key: &str) -> bool {
    key == PATCH || key == RETAIN_KEYS || key.starts_with(ELEMENT_ORDER) || key.starts_with(DELETE_PRIMITIVE)
}
