//! Answers.

use axum::body::Body;
use axum::response::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WARNING};
use http::{HeaderValue, StatusCode};
use serde_json::Value;

use super::Accept;
use crate::status::Status;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const YAML: HeaderValue = HeaderValue::from_static("application/yaml");
const PRIVATE: HeaderValue = HeaderValue::from_static("no-cache, private");
/// Warnings that one answer may carry, and how long each may be: proxies refuse large headers.
const WARNINGS: usize = 32;
const WARNING_LENGTH: usize = 256;

fn plain(code: StatusCode, kind: HeaderValue, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, kind);
    headers.insert(CACHE_CONTROL, PRIVATE);
    response
}

/// A document that is JSON already.
pub(in crate::apiserver) fn json_bytes(code: StatusCode, body: impl Into<Body>) -> Response {
    plain(code, JSON, body)
}

/// A document in the form that was negotiated.
pub(in crate::apiserver) fn json_value(code: StatusCode, value: &Value, accept: Accept) -> Response {
    if accept.yaml {
        return yaml(code, value);
    }
    let mut body = if accept.pretty { serde_json::to_vec_pretty(value) } else { serde_json::to_vec(value) }
        // Serialising a `Value` into memory cannot fail; an empty body keeps this total.
        .unwrap_or_default();
    body.push(b'\n');
    json_bytes(code, body)
}

/// The same as YAML.
fn yaml(code: StatusCode, value: &Value) -> Response {
    match serde_saphyr::to_string(value) {
        Ok(text) => plain(code, YAML, text),
        Err(error) => failure(&Status::internal(error)),
    }
}

pub(in crate::apiserver) fn text(code: StatusCode, body: impl Into<String>) -> Response {
    plain(code, HeaderValue::from_static("text/plain; charset=utf-8"), body.into())
}

/// A failure. Always JSON: every client reads it.
pub(in crate::apiserver) fn failure(status: &Status) -> Response {
    let mut response = json_value(status.code(), &status.to_value(), Accept::json());
    let seconds = status.details.retry_after_seconds;
    if seconds > 0 {
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    response
}

/// What kubectl prints as `Warning: ...`.
pub(in crate::apiserver) fn with_warnings(mut response: Response, warnings: &[String]) -> Response {
    for warning in warnings.iter().take(WARNINGS) {
        let text: String =
            warning.chars().filter(|letter| !letter.is_control()).take(WARNING_LENGTH).collect();
        let quoted = format!("299 - \"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
        if let Ok(value) = HeaderValue::from_str(&quoted) {
            response.headers_mut().append(WARNING, value);
        }
    }
    response
}
