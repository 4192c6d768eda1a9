//! `NAME/scale`: the replicas alone, as `autoscaling/v1 Scale`.

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::text;
use crate::apiserver::call::Call;
use crate::apiserver::http::{PatchBody, Representation, decode, json_value, parse_yaml, read};
use crate::apiserver::objects::Part;
use crate::apiserver::show::{include, value};
use crate::apiserver::verbs::applier;
use crate::apiserver::write::Write;
use crate::apiserver::{Api, metadata};
use crate::fieldmanager::{self, Claim};
use crate::patch::{self, PatchType};
use crate::registry::Resource;
use crate::selector::LabelSelector;
use crate::status::{FieldError, Status};
use crate::table;

pub(in crate::apiserver) const SCALE: &str = "scale";
const KIND: &str = "Scale";
const API_VERSION: &str = "autoscaling/v1";

pub(super) async fn serve(api: &Api, call: &Call, verb: &str, body: Body) -> Result<Response, Status> {
    if verb == "get" {
        let object = api.store.get(&call.target.id()).ok_or_else(|| call.target.not_found())?;
        let object = value(&call.target.resource, &object);
        return Ok(shown(call, &scale_of(&call.target.resource, &object)));
    }
    let body = read(body).await?;
    let patch = match PatchBody::of(&call.headers) {
        _ if verb == "update" => None,
        Some(PatchBody::Json) => Some(PatchType::Json),
        // A scale has no lists, so both merges do the same.
        Some(PatchBody::Merge | PatchBody::Strategic) => Some(PatchType::Merge),
        Some(PatchBody::Apply) => return apply(api, call, &body).await,
        None => {
            return Err(Status::unsupported_media_type(&[
                "application/json-patch+json",
                "application/merge-patch+json",
                "application/strategic-merge-patch+json",
                "application/apply-patch+yaml",
            ]));
        }
    };
    let sent = if patch.is_none() {
        decode(&call.headers, &body, KIND, &call.target.resource)?
    } else {
        Value::Null
    };
    let options = if verb == "patch" { "PatchOptions" } else { "UpdateOptions" };
    let how = Write::of(call, options, SCALE)?.through(SCALE);
    let resource = &call.target.resource;
    let edited = |old: &Value| {
        let scale = match patch {
            Some(kind) => patch::apply(kind, resource, &scale_of(resource, old), &body)
                .map_err(|error| error.status())?,
            None => sent.clone(),
        };
        scaled(resource, old, &scale)
    };
    let written = api.modify(&call.target, Part::Main, &how, edited).await?;
    Ok(shown(call, &scale_of(resource, &written.into_value(resource))))
}

fn shown(call: &Call, scale: &Value) -> Response {
    let table = || table::of_scale(scale, include(call), Timestamp::now());
    match call.accept.representation {
        Representation::Table => json_value(StatusCode::OK, &table(), call.accept),
        _ => json_value(StatusCode::OK, scale, call.accept),
    }
}

/// Applies a scale: the replicas of the object become the applier's, through this subresource.
async fn apply(api: &Api, call: &Call, body: &[u8]) -> Result<Response, Status> {
    let resource = &call.target.resource;
    let (manager, how) = applier(call)?;
    let scale =
        parse_yaml(body).map_err(|error| Status::bad_request(format!("error decoding YAML: {error}")))?;
    let said = |key: &str| scale[key].as_str().unwrap_or_default();
    if (said("apiVersion"), said("kind")) != (API_VERSION, KIND) {
        let (group, version) = said("apiVersion").rsplit_once('/').unwrap_or(("", said("apiVersion")));
        let kind = said("kind");
        return Err(Status::bad_request(format!("invalid object type: {group}/{version}, Kind={kind}")));
    }
    let mut config = json!({"apiVersion": resource.api_version(), "kind": resource.kind, "metadata": {"name": call.target.name}});
    preconditions(&scale, &mut config);
    if let Some(replicas) = replicas(&scale, &call.target.name)? {
        put(&mut config, paths(resource).spec, json!(replicas));
    }
    let claim = Claim {
        shape: resource.shape(),
        manager,
        api_version: &resource.api_version(),
        subresource: SCALE,
        ignored: &resource.unreached(SCALE, &config),
        now: &metadata::now(),
    };
    let force = call.query.flag("force");
    let how = how.through(SCALE);
    let applied =
        |old: &Value| fieldmanager::apply(&claim, old, &config, force).map_err(|error| error.status());
    let written = api.modify(&call.target, Part::Main, &how, applied).await?;
    Ok(shown(call, &scale_of(resource, &written.into_value(resource))))
}

/// What a scale says about the replicas.
fn replicas(scale: &Value, name: &str) -> Result<Option<i64>, Status> {
    match &scale["spec"]["replicas"] {
        Value::Null => Ok(None),
        number if number.as_i64().is_some_and(|number| (0..=i64::from(i32::MAX)).contains(&number)) => {
            Ok(number.as_i64())
        }
        other => {
            let wrong = FieldError::invalid("spec.replicas", other, "must be greater than or equal to 0");
            Err(Status::invalid("autoscaling", KIND, name, &[wrong]))
        }
    }
}

/// What a scale says about the object that it was made from.
fn preconditions(scale: &Value, object: &mut Value) {
    for key in ["resourceVersion", "uid"] {
        if let Some(text) = scale["metadata"][key].as_str().filter(|text| !text.is_empty()) {
            object["metadata"][key] = json!(text);
        }
    }
}

/// Where an object keeps what a scale shows, as dotted paths.
struct Paths<'r> {
    spec: &'r str,
    status: &'r str,
    /// Of the selector in text form; built-in kinds have it in another one.
    selector: Option<&'r str>,
}

fn paths(resource: &Resource) -> Paths<'_> {
    resource.scale_paths().map_or(
        Paths { spec: ".spec.replicas", status: ".status.replicas", selector: None },
        |own| Paths {
            spec: &own.spec_replicas,
            status: &own.status_replicas,
            selector: Some(own.label_selector.as_deref().unwrap_or_default()),
        },
    )
}

fn at<'o>(object: &'o Value, path: &str) -> &'o Value {
    path.split('.').filter(|name| !name.is_empty()).fold(object, |value, name| &value[name])
}

/// Puts a value at a path, through objects that are made on the way. What is no object stays as it is: validation refuses it.
fn put(object: &mut Value, path: &str, value: Value) {
    let mut here = object;
    for name in path.split('.').filter(|name| !name.is_empty()) {
        if here.is_null() {
            *here = json!({});
        }
        let Some(map) = here.as_object_mut() else { return };
        here = map.entry(name).or_insert(Value::Null);
    }
    *here = value;
}

/// The object with what a scale says.
pub(in crate::apiserver) fn scaled(
    resource: &Resource,
    object: &Value,
    scale: &Value,
) -> Result<Value, Status> {
    let replicas = replicas(scale, text(object, "/metadata/name"))?.unwrap_or(0);
    let mut new = object.clone();
    put(&mut new, paths(resource).spec, json!(replicas));
    preconditions(scale, &mut new);
    Ok(new)
}

/// What an object looks like as a scale.
pub(in crate::apiserver) fn scale_of(resource: &Resource, object: &Value) -> Value {
    let paths = paths(resource);
    let selector = match paths.selector {
        Some("") => json!(""),
        Some(path) => json!(at(object, path).as_str().unwrap_or_default()),
        None => json!(LabelSelector::notation(&object["spec"]["selector"])),
    };
    let mut metadata = json!({});
    for key in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = object["metadata"].get(key) {
            metadata[key] = value.clone();
        }
    }
    json!({
        "kind": KIND, "apiVersion": API_VERSION, "metadata": metadata,
        "spec": {"replicas": at(object, paths.spec).as_i64().unwrap_or(0)},
        "status": {"replicas": at(object, paths.status).as_i64().unwrap_or(0), "selector": selector},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_shows_the_selector_as_text() {
        let deployment = json!({
            "metadata": {"name": "web", "namespace": "default", "uid": "u", "resourceVersion": "7", "labels": {"a": "b"}},
            "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "t", "operator": "In", "values": ["a", "b"]}]}},
        });
        let registry = crate::registry::Registry::new();
        let scale = scale_of(&registry.resolve("apps", "v1", "deployments").unwrap(), &deployment);
        assert_eq!(scale["status"], json!({"replicas": 0, "selector": "app=web,t in (a,b)"}));
        assert_eq!(
            scale["metadata"],
            json!({"name": "web", "namespace": "default", "uid": "u", "resourceVersion": "7"})
        );
    }
}
