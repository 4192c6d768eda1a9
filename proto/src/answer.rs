//! The shapes of the cloud's answers (KubeEdge's `ObjectResp` and `ErrStatus`), and how an edge reads them.
//!
//! KubeEdge recognises these shapes by the presence of capitalised keys and a literal `null`; an answer that
//! is nearly right is stored as an empty object. So they are written and read in this one place.

use kube::core::Status;
use serde_json::{Map, Value, json};

use crate::message::{Content, ContentError};

/// Builders of answers.
#[derive(Clone, Copy, Debug)]
pub struct Answer;

impl Answer {
    /// Success of a write: `{"Object":{…},"Err":null}`. As KubeEdge does it, the object loses `apiVersion` and
    /// `kind`; it must be the whole object, never null.
    pub fn object(object: &impl serde::Serialize) -> Result<Content, ContentError> {
        let mut object = serde_json::to_value(object).map_err(ContentError::Unwritable)?;
        let Some(fields) = object.as_object_mut() else {
            let reason =
                "an answer needs a whole object: null or a bare value crashes KubeEdge's edge".into();
            return Err(ContentError::Shape { path: ".Object".into(), reason });
        };
        fields.shift_remove("apiVersion");
        fields.shift_remove("kind");
        Content::json(&json!({"Object": object, "Err": null}))
    }

    /// Failure of a write: `{"Object":null,"Err":{"ErrStatus":{…}}}`.
    pub fn status(status: &Status) -> Content {
        let answer = json!({"Object": null, "Err": {"ErrStatus": err_status(status)}});
        Content::json(&answer).unwrap_or_else(|_| Content::null())
    }

    /// Failure of a query, as KubeEdge's cloud says it: `{"ErrStatus":{…}}`. KubeEdge's edge stores that as an
    /// empty object, so to such an edge say [`crate::message::Message::fail_as`] instead.
    pub fn query_status(status: &Status) -> Content {
        Content::json(&json!({"ErrStatus": err_status(status)})).unwrap_or_else(|_| Content::null())
    }
}

/// Reads an answer: the object, whether bare or in an envelope, or the failure in whichever of its shapes.
/// Text (`"OK"`, a certificate) is returned as it is.
pub fn parse(content: &Content) -> Result<Value, Box<Status>> {
    let value: Value = content.parse().map_err(|error| failure("InternalError", 500, error.to_string()))?;
    let Value::Object(mut fields) = value else { return Ok(value) };
    if let (Some(_), Some(_)) = (fields.get("Object"), fields.get("Err")) {
        let error = fields.shift_remove("Err").unwrap_or_default();
        if !error.is_null() {
            return Err(read_failure(&error));
        }
        return match fields.shift_remove("Object") {
            Some(Value::Null) | None => {
                Err(failure("InternalError", 500, "the cloud answered with neither object nor error".into()))
            }
            Some(object) => Ok(object),
        };
    }
    if is_failure(&fields) {
        return Err(read_failure(&Value::Object(fields)));
    }
    Ok(Value::Object(fields))
}

/// `{}` is what a Go error looks like in JSON; `Op` with `URL` is Go's network error.
fn is_failure(fields: &Map<String, Value>) -> bool {
    fields.is_empty()
        || fields.contains_key("ErrStatus")
        || (fields.contains_key("Op") && fields.contains_key("URL"))
}

fn read_failure(error: &Value) -> Box<Status> {
    if let Some(inner) = error.get("ErrStatus")
        && let Ok(status) = serde_json::from_value::<Status>(inner.clone())
        && (status.code != 0 || !status.reason.is_empty() || !status.message.is_empty())
    {
        return Box::new(status);
    }
    let message = match (error.get("Op"), error.get("URL")) {
        (Some(op), Some(url)) => format!("the cloud could not reach the API server: {op} {url}"),
        _ => "the cloud failed without a reason; its log has one".to_owned(),
    };
    failure("InternalError", 500, message)
}

fn failure(reason: &str, code: u16, message: String) -> Box<Status> {
    Box::new(Status::failure(&message, reason).with_code(code))
}

/// Kubernetes' Status in the order and with the always-present fields of Go, without apiVersion and kind.
fn err_status(status: &Status) -> Value {
    let mut fields = Map::new();
    let metadata = status.metadata.as_ref().and_then(|m| serde_json::to_value(m).ok());
    fields.insert("metadata".into(), metadata.unwrap_or_else(|| json!({})));
    fields.insert("status".into(), if status.is_success() { "Success" } else { "Failure" }.into());
    // An all-zero status reads as success at the other end: a failure always says something.
    let message = if status.message.is_empty() { "the request failed" } else { &status.message };
    fields.insert("message".into(), message.into());
    let reason = if status.reason.is_empty() { "InternalError" } else { &status.reason };
    fields.insert("reason".into(), reason.into());
    if let Some(details) = status.details.as_ref().and_then(|d| serde_json::to_value(d).ok()) {
        fields.insert("details".into(), details);
    }
    fields.insert("code".into(), if status.code == 0 { 500 } else { status.code }.into());
    Value::Object(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(json: &str) -> Content {
        Content::from_json_text(json.into()).unwrap()
    }

    #[test]
    fn a_written_object_has_the_exact_envelope_and_no_kind() {
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "edge1"}, "spec": {}});
        let answer = Answer::object(&node).unwrap();
        assert_eq!(answer.get(), r#"{"Object":{"metadata":{"name":"edge1"},"spec":{}},"Err":null}"#);
        assert_eq!(parse(&answer).unwrap(), json!({"metadata": {"name": "edge1"}, "spec": {}}));
        assert!(Answer::object(&Value::Null).is_err());
    }

    #[test]
    fn a_failed_write_keeps_its_reason() {
        let status = Status::failure("nodes \"edge1\" already exists", "AlreadyExists").with_code(409);
        let answer = Answer::status(&status);
        assert_eq!(
            answer.get(),
            r#"{"Object":null,"Err":{"ErrStatus":{"metadata":{},"status":"Failure","message":"nodes \"edge1\" already exists","reason":"AlreadyExists","code":409}}}"#
        );
        assert!(parse(&answer).unwrap_err().is_already_exists());
        assert!(parse(&Answer::query_status(&status)).unwrap_err().is_already_exists());
    }

    #[test]
    fn no_failure_of_gos_is_taken_for_an_empty_object() {
        for json in [
            "{}",
            r#"{"Object":{"metadata":{}},"Err":{}}"#,
            r#"{"Object":null,"Err":null}"#,
            r#"{"ErrStatus":{"metadata":{}}}"#,
            r#"{"Op":"Get","URL":"https://10.0.0.1","Err":{}}"#,
        ] {
            assert!(parse(&content(json)).is_err(), "{json}");
        }
        assert_eq!(parse(&content("\"OK\"")).unwrap(), json!("OK"));
        assert_eq!(parse(&content(r#"{"data":{"k":"v"}}"#)).unwrap(), json!({"data": {"k": "v"}}));
    }
}
