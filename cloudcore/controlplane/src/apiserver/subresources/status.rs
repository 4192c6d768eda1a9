//! Writes that reach one part of the object only: `status`, `ephemeralcontainers` of pods, and `approval` of requests for
//! certificates.

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use serde_json::Value;

use crate::apiserver::Api;
use crate::apiserver::call::Call;
use crate::apiserver::http::{read, with_warnings};
use crate::apiserver::objects::Part;
use crate::apiserver::{show, verbs};
use crate::status::Status;

pub(super) async fn write(api: &Api, call: &Call, verb: &str, body: Body) -> Result<Response, Status> {
    part(api, call, Part::Status, verb, body).await
}

/// Debug containers come on top of a running pod.
pub(super) async fn write_ephemeral(
    api: &Api,
    call: &Call,
    verb: &str,
    body: Body,
) -> Result<Response, Status> {
    part(api, call, Part::EphemeralContainers, verb, body).await
}

/// Grants a certificate, or denies it.
pub(super) async fn decide(api: &Api, call: &Call, verb: &str, body: Body) -> Result<Response, Status> {
    part(api, call, Part::Approval, verb, body).await
}

async fn part(api: &Api, call: &Call, part: Part, verb: &str, body: Body) -> Result<Response, Status> {
    let body = read(body).await?;
    let (shown, warnings) = if verb == "patch" {
        let (shown, _, warnings) = verbs::patched(api, call, part, &body).await?;
        (shown, warnings)
    } else {
        let (object, warnings): (Value, _) = verbs::object(call, &body)?;
        (verbs::replaced(api, call, part, object).await?, warnings)
    };
    Ok(with_warnings(show::one(call, StatusCode::OK, shown), &warnings))
}
