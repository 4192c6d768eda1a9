//! Writing `status`: only when it changed, and only over the state that the controller has seen.

use k8s_openapi::NamespaceResourceScope;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::cache::Cached;
use crate::error::Error;

/// Replaces the status of `object`, if `new` differs from `old`; what the API has then.
///
/// # Errors
/// A conflict if the object has changed since it was read, so that no count is made from an old state.
pub(crate) async fn write<K, S>(
    client: &Client,
    object: &K,
    old: &Option<S>,
    new: &S,
) -> Result<Option<K>, Error>
where
    K: Cached + Resource<Scope = NamespaceResourceScope>,
    S: Serialize,
{
    let (old, new) = (as_json(old)?, as_json(new)?);
    let change = difference(&old, &new);
    if change.is_empty() {
        return Ok(None);
    }
    let patch = json!({
        "metadata": {"uid": object.uid(), "resourceVersion": object.resource_version()},
        "status": change,
    });
    let api = Api::<K>::namespaced(client.clone(), &object.namespace().unwrap_or_default());
    let written = api.patch_status(&object.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await;
    written.map(Some).map_err(Error::api("write a status"))
}

fn as_json(status: &impl Serialize) -> Result<Map<String, Value>, Error> {
    match serde_json::to_value(status) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Ok(Map::new()),
        Err(error) => Err(Error::Object(format!("the status is not a document: {error}"))),
    }
}

/// The merge patch that makes `old` into `new`: fields that are gone become null, lists are replaced whole.
fn difference(old: &Map<String, Value>, new: &Map<String, Value>) -> Map<String, Value> {
    let mut change = Map::new();
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        change.insert(key.clone(), Value::Null);
    }
    for (key, value) in new {
        match (old.get(key), value) {
            (Some(before), after) if before == after => {}
            (Some(Value::Object(before)), Value::Object(after)) => {
                change.insert(key.clone(), Value::Object(difference(before, after)));
            }
            _ => {
                change.insert(key.clone(), value.clone());
            }
        }
    }
    change
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(old: Value, new: Value) -> Value {
        Value::Object(difference(old.as_object().unwrap(), new.as_object().unwrap()))
    }

    #[test]
    fn a_status_patch_names_what_changed_and_nulls_what_went() {
        assert_eq!(change(json!({"a": 1, "b": [1]}), json!({"a": 1, "b": [1]})), json!({}));
        assert_eq!(
            change(json!({"a": 1, "u": {"x": ["1"], "y": []}}), json!({"b": 2, "u": {"x": []}})),
            json!({"a": null, "b": 2, "u": {"y": null, "x": []}})
        );
    }
}
