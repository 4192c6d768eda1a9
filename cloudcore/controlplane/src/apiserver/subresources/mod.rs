//! Parts of objects with URLs of their own.

mod binding;
mod eviction;
mod finalize;
mod scale;
mod status;
mod token;

pub(super) use binding::binding;

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use serde_json::{Value, json};

use super::call::Call;
use super::http::json_value;
use super::{Api, verbs};
use crate::status::{Reason, Status};

pub(super) async fn serve(
    api: &Api,
    call: &Call,
    subresource: &str,
    verb: &str,
    body: Body,
) -> Result<Response, Status> {
    let Some(known) = call.target.resource.subresource(subresource) else {
        return Err(Status::no_such_resource());
    };
    if !known.verbs.contains(&verb) {
        return Err(Status::method_not_allowed());
    }
    match (subresource, verb) {
        ("status" | "ephemeralcontainers" | "approval", "get") => verbs::get(api, call).await,
        ("status", _) => status::write(api, call, verb, body).await,
        ("ephemeralcontainers", _) => status::write_ephemeral(api, call, verb, body).await,
        ("approval", _) => status::decide(api, call, verb, body).await,
        ("scale", _) => scale::serve(api, call, verb, body).await,
        ("binding", _) => binding::bind(api, call, body).await,
        ("eviction", _) => eviction::evict(api, call, body).await,
        ("token", _) => token::issue(api, call, body).await,
        ("finalize", _) => finalize::replace(api, call, body).await,
        _ => Err(Status::new(
            Reason::ServiceUnavailable,
            format!(
                "{}/{subresource} needs a connection to the node, which this server does not offer",
                call.target.resource.plural
            ),
        )),
    }
}

/// A plain yes.
fn success(call: &Call) -> Response {
    let status =
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    json_value(StatusCode::CREATED, &status, call.accept)
}

/// A text in a document.
fn text<'a>(document: &'a Value, pointer: &str) -> &'a str {
    document.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}
