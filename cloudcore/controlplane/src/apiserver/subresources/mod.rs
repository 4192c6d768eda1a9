//! Parts of objects with URLs of their own.

mod binding;
mod eviction;
mod finalize;
mod scale;
mod status;
mod token;

pub(super) use binding::binding;
pub(super) use scale::{SCALE, scale_of, scaled};

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use serde_json::{Value, json};

use super::call::Call;
use super::hooks::Operation;
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
        _ => {
            if known.body.is_some() {
                let mut asked = connection(call, known.body);
                api.ask_about_body(call, Operation::Connect, subresource, false, &mut asked).await?;
            }
            Err(Status::new(
                Reason::ServiceUnavailable,
                format!(
                    "{}/{subresource} needs a connection to the node, which this server does not offer",
                    call.target.resource.plural
                ),
            ))
        }
    }
}

/// What a client wants to be connected to, as the options that its query stands for.
fn connection(call: &Call, body: Option<(&str, &str, &str)>) -> Value {
    let (_, version, kind) = body.unwrap_or_default();
    let mut options = json!({"kind": kind, "apiVersion": version});
    for field in ["stdin", "stdout", "stderr", "tty"] {
        if call.query.flag(field) {
            options[field] = json!(true);
        }
    }
    for field in ["container", "path"] {
        if let Some(text) = call.query.get(field) {
            options[field] = json!(text);
        }
    }
    let command: Vec<&str> = call.query.all("command").collect();
    if !command.is_empty() {
        options["command"] = json!(command);
    }
    options
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
