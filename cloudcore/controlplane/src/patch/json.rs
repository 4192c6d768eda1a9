//! RFC 6902, with the one liberty that Kubernetes' library takes.

use json_patch::{Patch, PatchOperation};
use serde_json::Value;

use super::PatchError;

/// As many as Kubernetes accepts.
const MOST_OPERATIONS: usize = 10_000;
/// What all copies of a patch may add together, in bytes: each could double the object.
const MOST_COPIED: usize = 3 << 20;

pub(super) fn apply(current: &Value, body: &[u8]) -> Result<Value, PatchError> {
    let patch: Patch = serde_json::from_slice(body)
        .map_err(|e| PatchError::Malformed(format!("error decoding patch: {e}")))?;
    if patch.0.len() > MOST_OPERATIONS {
        return Err(PatchError::TooManyOperations { max: MOST_OPERATIONS, got: patch.0.len() });
    }
    let mut patched = current.clone();
    let mut copied = 0;
    for operation in &patch.0 {
        // A test for null passes where there is nothing: finalizer helpers count on it.
        if let PatchOperation::Test(test) = operation
            && test.value.is_null()
            && test.path.resolve(&patched).is_err()
        {
            continue;
        }
        if let PatchOperation::Copy(copy) = operation
            && let Ok(value) = copy.from.resolve(&patched)
        {
            copied += size(value);
            if copied > MOST_COPIED {
                return Err(PatchError::CopiesTooMuch { max: MOST_COPIED, got: copied });
            }
        }
        json_patch::patch(&mut patched, std::slice::from_ref(operation))
            .map_err(|e| PatchError::Rejected(e.to_string()))?;
    }
    if patched.is_object() {
        Ok(patched)
    } else {
        Err(PatchError::Rejected("the result is not an object".to_owned()))
    }
}

/// About as many bytes as the value takes in memory.
fn size(value: &Value) -> usize {
    const NODE: usize = 32;
    match value {
        Value::String(text) => NODE + text.len(),
        Value::Array(items) => NODE + items.iter().map(size).sum::<usize>(),
        Value::Object(map) => NODE + map.iter().map(|(key, one)| NODE + key.len() + size(one)).sum::<usize>(),
        _ => NODE,
    }
}
