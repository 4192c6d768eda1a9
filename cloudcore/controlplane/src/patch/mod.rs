//! The three client-side patch formats: JSON patch (RFC 6902), merge patch (RFC 7386) and Kubernetes' strategic merge.
//!
//! Pure: the current object and the patch in, the patched object out. It calls `registry` for a kind's merge keys. The API
//! server calls it and then treats the result like any other update.

mod go;
mod json;
mod order;
mod strategic;

use serde_json::Value;

use crate::registry::Resource;
use crate::schema::Path;
use crate::status::{FieldError, Reason, Status};

/// How a patch is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchType {
    /// `application/json-patch+json`
    Json,
    /// `application/merge-patch+json`
    Merge,
    /// `application/strategic-merge-patch+json`
    Strategic,
}

impl PatchType {
    /// The format that a content type names.
    pub fn from_media_type(media_type: &str) -> Option<Self> {
        match media_type {
            "application/json-patch+json" => Some(Self::Json),
            "application/merge-patch+json" => Some(Self::Merge),
            "application/strategic-merge-patch+json" => Some(Self::Strategic),
            _ => None,
        }
    }
}

/// A patch that cannot be applied. `status` turns it into the answer.
#[derive(Debug, thiserror::Error)]
pub enum PatchError {
    /// The body is not JSON, or not JSON of the right shape. The client must send another one.
    #[error("{0}")]
    Malformed(String),
    /// The operations are well formed but do not fit the object: a failed test, a path that is not there.
    #[error("the server rejected our request due to an error in our request")]
    Rejected(String),
    /// More operations than the server is willing to apply.
    #[error("The allowed maximum operations in a JSON patch is {max}, got {got}")]
    TooManyOperations {
        /// The limit.
        max: usize,
        /// What was sent.
        got: usize,
    },
    /// Copies that would blow the object up.
    #[error(
        "Unable to complete the copy, the accumulated size increase of copy is {got}, exceeding the limit {max}"
    )]
    CopiesTooMuch {
        /// The limit, in bytes.
        max: usize,
        /// What the copies come to.
        got: usize,
    },
    /// Custom resources have no strategic merge.
    #[error(
        "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml"
    )]
    Unsupported,
    /// A list element has no merge key.
    #[error("map: {element} does not contain declared merge key: {key}")]
    NoMergeKey {
        /// The element, in Go's notation.
        element: String,
        /// The key that it lacks.
        key: &'static str,
    },
}

impl PatchError {
    /// The answer to the client.
    pub fn status(&self) -> Status {
        match self {
            PatchError::Malformed(text) => Status::bad_request(text.clone()),
            // No details: kubectl would print them instead of the message.
            PatchError::Rejected(_) => Status::new(Reason::Invalid, self.to_string()),
            PatchError::TooManyOperations { .. } | PatchError::CopiesTooMuch { .. } => {
                Status::new(Reason::RequestEntityTooLarge, self.to_string())
            }
            PatchError::Unsupported => Status::new(Reason::UnsupportedMediaType, self.to_string()),
            PatchError::NoMergeKey { .. } => Status::new(Reason::InternalError, self.to_string()),
        }
    }
}

/// Applies `body` to `current`.
pub fn apply(
    kind: PatchType,
    resource: &Resource,
    current: &Value,
    body: &[u8],
) -> Result<Value, PatchError> {
    match kind {
        PatchType::Json => json::apply(current, body),
        PatchType::Merge => {
            let patch = object(body)?;
            let mut patched = current.clone();
            json_patch::merge(&mut patched, &patch);
            Ok(patched)
        }
        PatchType::Strategic => {
            let (types, root) = resource.built_in_type().ok_or(PatchError::Unsupported)?;
            let Value::Object(patch) = object(body)? else { return Err(not_an_object(body)) };
            strategic::apply(types, root, current, patch)
        }
    }
}

/// The error for fields of a patch that the kind does not have (`fieldValidation=Strict`).
pub fn strict_error(body: &[u8], unknown: &[String]) -> FieldError {
    let patch = serde_json::from_slice::<Value>(body).map(|patch| go::format(&patch)).unwrap_or_default();
    let fields: Vec<String> = unknown.iter().map(|path| format!("unknown field {path:?}")).collect();
    let detail = format!("strict decoding error: {}", fields.join(", "));
    FieldError::invalid(Path::Root.field("patch"), &Value::String(patch), &detail)
}

fn object(body: &[u8]) -> Result<Value, PatchError> {
    let patch: Value = serde_json::from_slice(body)
        .map_err(|e| PatchError::Malformed(format!("error decoding patch: {e}")))?;
    if patch.is_object() { Ok(patch) } else { Err(not_an_object(body)) }
}

fn not_an_object(body: &[u8]) -> PatchError {
    let found = body.iter().find(|byte| !byte.is_ascii_whitespace()).copied().unwrap_or_default();
    let found = match found {
        b'[' => "array",
        b'"' => "string",
        b't' | b'f' => "bool",
        b'n' => "null",
        _ => "number",
    };
    PatchError::Malformed(format!(
        "error decoding patch: json: cannot unmarshal {found} into Go value of type map[string]interface {{}}"
    ))
}

#[cfg(test)]
mod tests;
