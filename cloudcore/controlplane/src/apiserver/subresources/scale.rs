//! `NAME/scale`: the replicas alone, as `autoscaling/v1 Scale`.

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use serde_json::{Value, json};

use crate::apiserver::Api;
use crate::apiserver::call::Call;
use crate::apiserver::http::{PatchBody, decode, json_value, read};
use crate::apiserver::objects::Part;
use crate::apiserver::write::Write;
use crate::patch::{self, PatchType};
use crate::selector::LabelSelector;
use crate::status::{FieldError, Status};

pub(super) async fn serve(api: &Api, call: &Call, verb: &str, body: Body) -> Result<Response, Status> {
    if verb == "get" {
        let object = api.store.get(&call.target.id()).ok_or_else(|| call.target.not_found())?;
        return Ok(json_value(StatusCode::OK, &scale_of(&object.value()), call.accept));
    }
    let body = read(body).await?;
    let patch = match PatchBody::of(&call.headers) {
        _ if verb == "update" => None,
        Some(PatchBody::Json) => Some(PatchType::Json),
        // A scale has no lists, so both merges do the same.
        Some(PatchBody::Merge | PatchBody::Strategic) => Some(PatchType::Merge),
        _ => {
            return Err(Status::unsupported_media_type(&[
                "application/json-patch+json",
                "application/merge-patch+json",
            ]));
        }
    };
    let sent = if patch.is_none() {
        decode(&call.headers, &body, "Scale", &call.target.resource)?
    } else {
        Value::Null
    };
    let how = Write::of(call, if verb == "patch" { "PatchOptions" } else { "UpdateOptions" }, "scale")?;
    let resource = &call.target.resource;
    let scaled = |old: &Value| {
        let scale = match patch {
            Some(kind) => {
                patch::apply(kind, resource, &scale_of(old), &body).map_err(|error| error.status())?
            }
            None => sent.clone(),
        };
        let replicas = match &scale["spec"]["replicas"] {
            Value::Null => 0,
            Value::Number(number)
                if number.as_i64().is_some_and(|number| (0..=i64::from(i32::MAX)).contains(&number)) =>
            {
                number.as_i64().unwrap_or(0)
            }
            other => {
                let wrong = FieldError::invalid("spec.replicas", other, "must be greater than or equal to 0");
                return Err(Status::invalid("autoscaling", "Scale", &call.target.name, &[wrong]));
            }
        };
        let mut new = old.clone();
        new["spec"]["replicas"] = json!(replicas);
        for key in ["resourceVersion", "uid"] {
            if let Some(text) = scale["metadata"][key].as_str().filter(|text| !text.is_empty()) {
                new["metadata"][key] = json!(text);
            }
        }
        Ok(new)
    };
    let shown = api.modify(&call.target, Part::Main, &how, scaled).await?;
    Ok(json_value(StatusCode::OK, &scale_of(&shown.into_value(resource)), call.accept))
}

fn scale_of(object: &Value) -> Value {
    let mut metadata = json!({});
    for key in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = object["metadata"].get(key) {
            metadata[key] = value.clone();
        }
    }
    json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata,
        "spec": {"replicas": object["spec"]["replicas"].as_i64().unwrap_or(0)},
        "status": {"replicas": object["status"]["replicas"].as_i64().unwrap_or(0), "selector": LabelSelector::notation(&object["spec"]["selector"])},
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
        let scale = scale_of(&deployment);
        assert_eq!(scale["status"], json!({"replicas": 0, "selector": "app=web,t in (a,b)"}));
        assert_eq!(
            scale["metadata"],
            json!({"name": "web", "namespace": "default", "uid": "u", "resourceVersion": "7"})
        );
    }
}
