//! What the server decides in `metadata`.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::Target;
use crate::status::{Reason, Status};

/// Letters of generated names: no vowels, so no words.
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
/// With five letters behind it a name still is a DNS label.
const BASE_MAX: usize = 58;

/// Now, as Kubernetes writes times.
pub(crate) fn now() -> String {
    stamp(Timestamp::now())
}

pub(super) fn stamp(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The metadata of `object`, made if there is none.
pub(super) fn of(object: &mut Value) -> Result<&mut Map<String, Value>, Status> {
    let not_an_object = || Status::bad_request("metadata is not an object");
    let map = object.as_object_mut().ok_or_else(|| Status::bad_request("the body is not an object"))?;
    let metadata = map.entry("metadata").or_insert_with(|| json!({}));
    if metadata.is_null() {
        *metadata = json!({});
    }
    metadata.as_object_mut().ok_or_else(not_an_object)
}

pub(super) fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    object["metadata"][key].as_str().unwrap_or_default()
}

pub(super) fn finalizers(object: &Value) -> &[Value] {
    object["metadata"]["finalizers"].as_array().map_or(&[], Vec::as_slice)
}

pub(super) fn is_terminating(object: &Value) -> bool {
    !object["metadata"]["deletionTimestamp"].is_null()
}

/// Checks that body and URL agree, and fills in what the body leaves out.
pub(super) fn place(object: &mut Value, target: &Target) -> Result<(), Status> {
    let namespaced = target.resource.namespaced;
    let metadata = of(object)?;
    let namespace = metadata.get("namespace").and_then(Value::as_str).unwrap_or_default();
    if namespaced && namespace.is_empty() {
        metadata.insert("namespace".to_owned(), json!(target.namespace));
    } else if namespace != target.namespace && (namespaced || !namespace.is_empty()) {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    if !target.name.is_empty() {
        let name = metadata.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
        if name.is_empty() {
            metadata.insert("name".to_owned(), json!(target.name));
        } else if name != target.name {
            return Err(Status::bad_request(format!(
                "the name of the object ({name}) does not match the name on the URL ({})",
                target.name
            )));
        }
    }
    Ok(())
}

/// The metadata of a new object.
pub(super) fn born(object: &mut Value) -> Result<(), Status> {
    let metadata = of(object)?;
    if metadata.get("resourceVersion").and_then(Value::as_str).is_some_and(|version| !version.is_empty()) {
        return Err(Status::new(
            Reason::InternalError,
            "resourceVersion should not be set on objects to be created",
        ));
    }
    for gone in
        ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "generation", "resourceVersion"]
    {
        metadata.shift_remove(gone);
    }
    metadata.insert("uid".to_owned(), json!(uuid::Uuid::new_v4().to_string()));
    metadata.insert("creationTimestamp".to_owned(), json!(now()));
    Ok(())
}

/// A name behind `generateName`, if there is one and no name.
pub(super) fn generated_name(object: &Value) -> Option<String> {
    let base = text(object, "generateName");
    if base.is_empty() || !text(object, "name").is_empty() {
        return None;
    }
    let base: String = base.chars().take(BASE_MAX).collect();
    Some(base + &suffix())
}

/// Five random letters.
pub(super) fn suffix() -> String {
    // Every index is below the length of the alphabet.
    (0..5).map(|_| char::from(LETTERS[fastrand::usize(..LETTERS.len())])).collect()
}

/// Puts back in `new` what only the server sets.
pub(super) fn keep(old: &Value, new: &mut Value) -> Result<(), Status> {
    let metadata = of(new)?;
    let owned = ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"];
    for key in owned {
        match old["metadata"].get(key) {
            Some(value) => {
                metadata.insert(key.to_owned(), value.clone());
            }
            None => {
                metadata.shift_remove(key);
            }
        }
    }
    Ok(())
}

/// Sets a condition in the status; its time changes only with its truth.
pub(crate) fn set_condition(
    object: &mut Value,
    kind: &str,
    status: &str,
    reason: &str,
    message: &str,
    time: &str,
) {
    let mut conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let mut condition = json!({
        "type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": time,
    });
    match conditions.iter_mut().find(|one| one["type"] == kind) {
        Some(old) => {
            if old["status"] == status {
                condition["lastTransitionTime"] = old["lastTransitionTime"].take();
            }
            *old = condition;
        }
        None => conditions.push(condition),
    }
    object["status"]["conditions"] = Value::Array(conditions);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_names_are_labels_even_when_the_base_is_long() {
        let long = "a".repeat(100);
        let name = generated_name(&json!({"metadata": {"generateName": long}})).unwrap();
        assert_eq!(name.len(), 63);
        assert_eq!(generated_name(&json!({"metadata": {"generateName": "a-", "name": "b"}})), None);
    }
}
