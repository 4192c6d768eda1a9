//! PATCH of one object.

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use serde_json::Value;

use super::{check_fields, check_kind, decode};
use crate::apiserver::call::Call;
use crate::apiserver::http::{FieldValidation, PatchBody, parse_yaml, read, with_warnings};
use crate::apiserver::metadata;
use crate::apiserver::objects::Part;
use crate::apiserver::show::{self, Shown};
use crate::apiserver::{Api, Target};
use crate::patch::{self, PatchType};
use crate::status::{FieldError, Reason, Status};

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
    let dry_run = call.query.dry_run("PatchOptions")?;
    let kind = match PatchBody::of(&call.headers) {
        Some(PatchBody::Apply) => return apply(api, call, part, body, dry_run).await,
        Some(PatchBody::Json) => PatchType::Json,
        Some(PatchBody::Merge) => PatchType::Merge,
        Some(PatchBody::Strategic) => PatchType::Strategic,
        None => return Err(Status::unsupported_media_type(BUILT_IN)),
    };
    if call.query.get("force").is_some() {
        let wrong = FieldError::forbidden("force", "may not be specified for non-apply patch");
        return Err(Status::invalid("meta.k8s.io", "PatchOptions", "", &[wrong]));
    }
    let mut warnings = Vec::new();
    let shown = api
        .modify(&call.target, part, dry_run, |old| {
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

/// Server-side apply without ownership: what the client sends is merged in, nothing is taken away. `managedFields` are not kept, so
/// two managers never conflict.
async fn apply(
    api: &Api,
    call: &Call,
    part: Part,
    body: &Bytes,
    dry_run: bool,
) -> Result<(Shown, bool, Vec<String>), Status> {
    if call.query.get("fieldManager").is_none() {
        let wrong = FieldError::required("fieldManager", "is required for apply patch");
        return Err(Status::invalid("meta.k8s.io", "PatchOptions", "", &[wrong]));
    }
    let mut sent =
        parse_yaml(body).map_err(|error| Status::bad_request(format!("error decoding YAML: {error}")))?;
    if sent["kind"].as_str().is_none_or(str::is_empty)
        || sent["apiVersion"].as_str().is_none_or(str::is_empty)
    {
        return Err(Status::bad_request("an apply patch must have apiVersion and kind"));
    }
    if !sent["metadata"]["managedFields"].is_null() {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    check_kind(&call.target, &mut sent)?;
    let warnings = check_fields(call, &mut sent, &[])?;
    if api.store.get(&call.target.id()).is_none() && part == Part::Main {
        let uid = metadata::text(&sent, "uid");
        if !uid.is_empty() {
            let why = format!(
                "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
            );
            return Err(Status::conflict(
                &call.target.resource.group,
                &call.target.resource.plural,
                &call.target.name,
                &why,
            ));
        }
        match api.create(&call.target, sent.clone(), dry_run).await {
            // Somebody else was faster: then it is a change.
            Err(status) if status.reason == Reason::AlreadyExists => {}
            created => return Ok((created?, true, warnings)),
        }
    }
    let built_in = call.target.resource.built_in_type().is_some();
    let kind = if built_in { PatchType::Strategic } else { PatchType::Merge };
    // Serialising a `Value` into memory cannot fail; an empty patch changes nothing.
    let merged = serde_json::to_vec(&sent).unwrap_or_else(|_| b"{}".to_vec());
    let shown = api
        .modify(&call.target, part, dry_run, |old| {
            let mut new = applied(call, kind, old, &merged)?;
            decoded(call, &mut new, &merged)?;
            Ok(new)
        })
        .await?;
    Ok((shown, false, warnings))
}
