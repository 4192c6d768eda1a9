//! What is not a resource: health, version, discovery. OpenAPI is in `openapi`.

use axum::response::Response;
use http::header::{CONTENT_TYPE, ETAG, HOST, IF_NONE_MATCH, VARY};
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};
use serde_json::{Value, json};

use super::Api;
use super::auth::ISSUER;
use super::http::{Accept, Query, Representation, failure, json_value, text};
use super::openapi;
use super::serve::nothing_here;
use crate::discovery;
use crate::registry::Snapshot;
use crate::status::Status;

/// The Kubernetes release whose API this is.
pub(crate) const KUBERNETES: (&str, &str, &str) = ("1", "36", "v1.36.0");

/// Whether a path is answered here although it looks like a resource's.
pub(super) fn owns(path: &str) -> bool {
    !path.starts_with("/api/") && !path.starts_with("/apis/")
}

pub(super) fn answer(api: &Api, parts: &Parts, query: &Query) -> Result<Response, Status> {
    if parts.method != Method::GET && parts.method != Method::HEAD {
        return Err(Status::method_not_allowed());
    }
    let path = parts.uri.path().trim_end_matches('/');
    let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let snapshot = api.registry.snapshot();
    let document = match segments.as_slice() {
        [""] => Some(paths(&snapshot)),
        ["healthz" | "livez" | "readyz", check @ ..] => return Ok(health(segments[0], check, query)),
        ["version"] => Some(version()),
        [".well-known", "openid-configuration"] => Some(issuer(parts)),
        ["openid", "v1", "jwks"] => return Ok(keys(api)),
        ["api"] | ["apis"] => return Ok(groups(api, parts, Accept::negotiate(&parts.headers, query)?)),
        ["api", version] => discovery::resource_list(&snapshot, "", version),
        ["apis", group] => discovery::api_group(&snapshot, group),
        ["apis", group, version] => discovery::resource_list(&snapshot, group, version),
        ["openapi", below @ ..] => return openapi::answer(api, parts, query, below),
        _ => None,
    };
    match document {
        Some(document) => {
            Ok(json_value(StatusCode::OK, &document, Accept::negotiate(&parts.headers, query)?))
        }
        None => Ok(nothing_here()),
    }
}

/// What others need to verify service account tokens, as OpenID Connect Discovery has it.
fn issuer(parts: &Parts) -> Value {
    json!({
        "issuer": ISSUER,
        "jwks_uri": format!("https://{}/openid/v1/jwks", host(parts)),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    })
}

fn keys(api: &Api) -> Response {
    let mut response = json_value(StatusCode::OK, &api.tokens.keys(), Accept::json());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/jwk-set+json"));
    response
}

fn host(parts: &Parts) -> &str {
    let named = parts.headers.get(HOST).and_then(|host| host.to_str().ok());
    named.or(parts.uri.authority().map(http::uri::Authority::as_str)).unwrap_or("localhost")
}

/// What can be asked for without a name.
fn paths(snapshot: &Snapshot) -> Value {
    let mut paths: Vec<String> = [
        "/.well-known/openid-configuration",
        "/api",
        "/api/v1",
        "/apis",
        "/apis/",
        "/healthz",
        "/healthz/ping",
        "/healthz/store",
        "/livez",
        "/livez/ping",
        "/livez/store",
        "/openapi/v2",
        "/openapi/v3",
        "/openid/v1/jwks",
        "/readyz",
        "/readyz/ping",
        "/readyz/store",
        "/version",
    ]
    .map(str::to_owned)
    .into();
    for (group, versions) in discovery::groups(snapshot) {
        paths.push(format!("/apis/{group}"));
        paths.extend(versions.iter().map(|version| format!("/apis/{group}/{version}")));
    }
    paths.sort();
    json!({"paths": paths})
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

/// `/api` and `/apis`: the old list of names, or everything at once.
fn groups(api: &Api, parts: &Parts, accept: Accept) -> Response {
    let snapshot = api.registry.snapshot();
    let core = parts.uri.path().trim_end_matches('/') == "/api";
    let Representation::Discovery(version) = accept.representation else {
        let list = if core { discovery::api_versions(host(parts)) } else { discovery::api_groups(&snapshot) };
        return json_value(StatusCode::OK, &list, accept);
    };
    let tag = format!("\"{:x}-{}-{version}\"", snapshot.generation, if core { "api" } else { "apis" });
    let known = parts.headers.get(IF_NONE_MATCH).and_then(|tag| tag.to_str().ok()) == Some(&tag);
    let mut response = if known {
        let mut unchanged = text(StatusCode::NOT_MODIFIED, "");
        unchanged.headers_mut().remove(CONTENT_TYPE);
        unchanged
    } else {
        let mut full = json_value(StatusCode::OK, &discovery::aggregated(&snapshot, core, version), accept);
        let kind = format!("application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList");
        match HeaderValue::from_str(&kind) {
            Ok(kind) => full.headers_mut().insert(CONTENT_TYPE, kind),
            Err(error) => return failure(&Status::internal(error)),
        };
        full
    };
    let headers = response.headers_mut();
    headers.insert(VARY, HeaderValue::from_static("Accept"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(ETAG, tag);
    }
    response
}
