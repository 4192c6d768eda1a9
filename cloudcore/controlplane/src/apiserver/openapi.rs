//! `/openapi`: documents that are large, seldom asked for and cached by their clients.

use axum::response::Response;
use http::header::{ACCEPT, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};

use super::Api;
use super::http::{Accept, Query, json_bytes, json_value, text};
use super::serve::nothing_here;
use crate::openapi;
use crate::openapi::v2::{self, Form};
use crate::registry::Snapshot;
use crate::status::Status;

/// What kubectl asks for; the at sign is its own.
const PROTOBUF: &[&str] = &[
    "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
    "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
];
const PROTOBUF_ANSWER: HeaderValue =
    HeaderValue::from_static("application/com.github.proto-openapi.spec.v2.v1.0+protobuf");

/// Answers a path below `/openapi`.
pub(super) fn answer(api: &Api, parts: &Parts, query: &Query, below: &[&str]) -> Result<Response, Status> {
    let snapshot = api.registry.snapshot();
    match below {
        ["v2"] => version_2(&snapshot, parts, query),
        ["v3"] => {
            let accept = Accept::negotiate(&parts.headers, query)?;
            Ok(json_value(StatusCode::OK, &openapi::index(&snapshot), accept))
        }
        ["v3", "api", version] => version_3(&snapshot, parts, query, ("", version)),
        ["v3", "apis", group, version] => version_3(&snapshot, parts, query, (group, version)),
        _ => Ok(nothing_here()),
    }
}

fn version_3(
    snapshot: &Snapshot,
    parts: &Parts,
    query: &Query,
    (group, version): (&str, &str),
) -> Result<Response, Status> {
    let accept = Accept::negotiate(&parts.headers, query)?;
    let tag = format!("\"{}\"", openapi::hash(snapshot, group, version));
    if is_known(&parts.headers, &tag) {
        return Ok(tagged(unchanged(), &tag));
    }
    let document = openapi::document(snapshot, group, version);
    Ok(document.map_or_else(nothing_here, |found| tagged(json_value(StatusCode::OK, &found, accept), &tag)))
}

fn version_2(snapshot: &Snapshot, parts: &Parts, query: &Query) -> Result<Response, Status> {
    let form = form(&parts.headers, query)?;
    let tag = format!("\"{}-{form:?}\"", openapi::hash_v2(snapshot));
    if is_known(&parts.headers, &tag) {
        return Ok(tagged(unchanged(), &tag));
    }
    let mut response = json_bytes(StatusCode::OK, v2::document(snapshot, form));
    if form == Form::Protobuf {
        response.headers_mut().insert(CONTENT_TYPE, PROTOBUF_ANSWER);
    }
    Ok(tagged(response, &tag))
}

fn form(headers: &HeaderMap, query: &Query) -> Result<Form, Status> {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut names =
        accepted.flat_map(|value| value.split(',')).map(|one| one.split(';').next().unwrap_or(one).trim());
    if names.any(|name| PROTOBUF.contains(&name)) {
        return Ok(Form::Protobuf);
    }
    Accept::negotiate(headers, query).map(|_| Form::Json)
}

fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let known = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    known.flat_map(|value| value.split(',')).any(|one| one.trim() == tag)
}

fn unchanged() -> Response {
    let mut response = text(StatusCode::NOT_MODIFIED, "");
    response.headers_mut().remove(CONTENT_TYPE);
    response
}

fn tagged(mut response: Response, tag: &str) -> Response {
    let headers = response.headers_mut();
    headers.insert(VARY, HeaderValue::from_static("Accept"));
    if let Ok(tag) = HeaderValue::from_str(tag) {
        headers.insert(ETAG, tag);
    }
    response
}
