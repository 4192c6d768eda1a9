//! What is not a resource: health, version, discovery, OpenAPI.

use axum::response::Response;
use http::request::Parts;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::Api;
use super::http::{Accept, Query, json_value, text};
use super::serve::nothing_here;
use crate::status::Status;

/// The Kubernetes release whose API this is.
pub(crate) const KUBERNETES: (&str, &str, &str) = ("1", "36", "v1.36.0");

/// Whether a path is answered here although it looks like a resource's.
pub(super) fn owns(path: &str) -> bool {
    !path.starts_with("/api/") && !path.starts_with("/apis/")
}

pub(super) fn answer(_: &Api, parts: &Parts, query: &Query) -> Result<Response, Status> {
    if parts.method != Method::GET && parts.method != Method::HEAD {
        return Err(Status::method_not_allowed());
    }
    let path = parts.uri.path().trim_end_matches('/');
    let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let document = match segments.as_slice() {
        [""] => Some(paths()),
        ["healthz" | "livez" | "readyz", check @ ..] => return Ok(health(segments[0], check, query)),
        ["version"] => Some(version()),
        _ => None,
    };
    match document {
        Some(document) => {
            Ok(json_value(StatusCode::OK, &document, Accept::negotiate(&parts.headers, query)?))
        }
        None => Ok(nothing_here()),
    }
}

fn paths() -> Value {
    json!({"paths": ["/api", "/api/v1", "/apis", "/healthz", "/livez", "/openapi/v3", "/readyz", "/version"]})
}

fn version() -> Value {
    let (major, minor, release) = KUBERNETES;
    json!({
        "major": major, "minor": minor,
        "gitVersion": format!("{release}+skerry.{}", env!("CARGO_PKG_VERSION")),
        "gitCommit": "", "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "none", "compiler": "rustc",
        "platform": format!("linux/{}", match std::env::consts::ARCH { "x86_64" => "amd64", "aarch64" => "arm64", other => other }),
    })
}

/// The process answers, so it is well: the store is opened before anything is served, and failed writes are said to their writers.
fn health(root: &str, check: &[&str], query: &Query) -> Response {
    match check {
        [] if query.has("verbose") => {
            text(StatusCode::OK, format!("[+]ping ok\n[+]store ok\n{root} check passed\n"))
        }
        [] | ["ping" | "store"] => text(StatusCode::OK, "ok"),
        _ => nothing_here(),
    }
}
