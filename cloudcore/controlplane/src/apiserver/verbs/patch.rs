//! PATCH of one object.

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use serde_json::Value;

use super::apply::apply;
use super::{check_kind, decode};
use crate::apiserver::call::Call;
use crate::apiserver::http::{FieldValidation, PatchBody, read, with_warnings};
use crate::apiserver::objects::Part;
use crate::apiserver::show::{self, Shown};
use crate::apiserver::write::Write;
use crate::apiserver::{Api, Target};
use crate::patch::{self, PatchType};
use crate::status::{FieldError, Status};

const BUILT_IN: &[&str] = &[
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];

pub(in crate::apiserver) async fn patch(api: &Api, call: &Call, body: Body) -> Result<Response, Status> {
    let body = read(body).await?;
    let (shown, created, warnings) = patched(api, call, Part::Main, &body).await?;
    let code = if created { StatusCode::CREATED } else { StatusCode::OK };
    Ok(with_warnings(show::one(call, code, shown), &warnings))
}

/// Applies a patch to a part of the object. Tells whether that created it, and what to warn about.
pub(in crate::apiserver) async fn patched(
    api: &Api,
    call: &Call,
    part: Part,
    body: &Bytes,
) -> Result<(Shown, bool, Vec<String>), Status> {
    let kind = match PatchBody::of(&call.headers) {
        Some(PatchBody::Apply) => return apply(api, call, part, body).await,
        Some(PatchBody::Json) => PatchType::Json,
        Some(PatchBody::Merge) => PatchType::Merge,
        Some(PatchBody::Strategic) => PatchType::Strategic,
        None => return Err(Status::unsupported_media_type(BUILT_IN)),
    };
    if call.query.get("force").is_some() {
        let wrong = FieldError::forbidden("force", "may not be specified for non-apply patch");
        return Err(Status::invalid("meta.k8s.io", "PatchOptions", "", &[wrong]));
    }
    let how = Write::of(call, "PatchOptions", part.subresource())?;
    let mut warnings = Vec::new();
    let shown = api
        .modify(&call.target, part, &how, |old| {
            let mut new = applied(call, kind, old, body)?;
            warnings = decoded(call, &mut new, body)?;
            Ok(new)
        })
        .await?;
    Ok((shown, false, warnings))
}

fn applied(call: &Call, kind: PatchType, old: &Value, body: &[u8]) -> Result<Value, Status> {
    patch::apply(kind, &call.target.resource, old, body).map_err(|error| error.status())
}

/// The result of a patch must be an object of the kind. Unknown fields are refused with 422 here: the patch is wrong, not the body.
fn decoded(call: &Call, object: &mut Value, body: &[u8]) -> Result<Vec<String>, Status> {
    let Target { resource, name, .. } = &call.target;
    check_kind(&call.target, object)?;
    let unknown = decode(&call.target, object)?;
    match call.query.field_validation()? {
        FieldValidation::Strict if !unknown.is_empty() => {
            let wrong = patch::strict_error(body, &unknown);
            Err(Status::invalid(&resource.group, &resource.kind, name, &[wrong]))
        }
        FieldValidation::Warn => Ok(unknown.iter().map(|path| format!("unknown field \"{path}\"")).collect()),
        _ => Ok(Vec::new()),
    }
}
