//! Server-side apply: PATCH with a configuration instead of a change.

use bytes::Bytes;
use serde_json::Value;

use super::{check_fields, decode, may_create};
use crate::apiserver::call::Call;
use crate::apiserver::http::parse_yaml;
use crate::apiserver::objects::{ATTEMPTS, Part};
use crate::apiserver::show::Shown;
use crate::apiserver::write::Write;
use crate::apiserver::{Api, metadata};
use crate::fieldmanager::{self, Claim};
use crate::status::{FieldError, Reason, Status};

/// Applies a configuration to a part of the object. Tells whether that created it, and what to warn about.
pub(super) async fn apply(
    api: &Api,
    call: &Call,
    part: Part,
    body: &Bytes,
) -> Result<(Shown, bool, Vec<String>), Status> {
    let target = &call.target;
    let (manager, how) = applier(call)?;
    let (config, warnings) = configuration(call, body)?;
    let applied = |old: &Value| -> Result<Value, Status> {
        let resource = &target.resource;
        let claim = Claim {
            shape: resource.shape(),
            manager,
            api_version: &resource.api_version(),
            subresource: part.subresource(),
            ignored: &resource.unreached(part.subresource(), &config),
            now: &metadata::now(),
        };
        let force = call.query.flag("force");
        let mut new = fieldmanager::apply(&claim, old, &config, force).map_err(|error| error.status())?;
        decode(target, &mut new)?;
        Ok(new)
    };
    let missing = || part == Part::Main && api.store.get(&target.id()).is_none();
    for _ in 0..ATTEMPTS {
        if missing() {
            may_appear(api, call, &config)?;
            match api.create(target, applied(&Value::Null)?, &how).await {
                // Somebody else was faster: then it is a change.
                Err(status) if status.reason == Reason::AlreadyExists => {}
                created => return Ok((created?, true, warnings)),
            }
        }
        match api.modify(target, part, &how, applied).await {
            // Somebody else took it away meanwhile: then it is new again.
            Err(status) if status.reason == Reason::NotFound && part == Part::Main => {}
            shown => return Ok((shown?, false, warnings)),
        }
    }
    Err(target.not_found())
}

/// Whether what is not there may be made by applying `config`.
fn may_appear(api: &Api, call: &Call, config: &Value) -> Result<(), Status> {
    let target = &call.target;
    let uid = metadata::text(config, "uid");
    if !uid.is_empty() {
        let why = format!(
            "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
        );
        let (group, plural) = (&target.resource.group, &target.resource.plural);
        return Err(Status::conflict(group, plural, &target.name, &why));
    }
    may_create(api, call)
}

/// Who applies, which has to be said, and how.
pub(in crate::apiserver) fn applier(call: &Call) -> Result<(&str, Write), Status> {
    let Some(manager) = call.query.field_manager("PatchOptions")? else {
        let wrong = FieldError::required("fieldManager", "is required for apply patch");
        return Err(Status::invalid("meta.k8s.io", "PatchOptions", "", &[wrong]));
    };
    Ok((manager, Write::applied(call)?))
}

/// The configuration in a body, with what to warn about.
fn configuration(call: &Call, body: &[u8]) -> Result<(Value, Vec<String>), Status> {
    let target = &call.target;
    let resource = &target.resource;
    let unreadable = |error| Status::bad_request(format!("error decoding YAML: {error}"));
    let mut config = parse_yaml(body).map_err(unreadable)?;
    if !config.is_object() {
        return Err(unreadable("the configuration is not a map".to_owned()));
    }
    let text = |key: &str| config[key].as_str().unwrap_or_default();
    let (version, kind) = (text("apiVersion"), text("kind"));
    if kind != resource.kind || version != resource.api_version() {
        let (group, version) = version.rsplit_once('/').unwrap_or(("", version));
        return Err(Status::bad_request(format!("invalid object type: {group}/{version}, Kind={kind}")));
    }
    if !config["metadata"]["managedFields"].is_null() {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    metadata::place(&mut config, target)?;
    let problems = fieldmanager::problems(resource.shape(), &config);
    if !problems.is_empty() {
        let problems = match problems.as_slice() {
            [only] => only.clone(),
            all => format!("errors:\n  {}", all.join("\n  ")),
        };
        let message = format!(
            "failed to create typed patch object ({}/{}; {}/{}, Kind={}): {problems}",
            target.namespace, target.name, resource.group, resource.version, resource.kind,
        );
        return Err(Status::new(Reason::Unknown, message));
    }
    let warnings = check_fields(call, &mut config, &[])?;
    Ok((config, warnings))
}
