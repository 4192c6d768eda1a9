//! DELETE of one object or of a collection.

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use serde_json::{Value, json};

use super::selector;
use crate::apiserver::call::Call;
use crate::apiserver::http::{decode, json_value, read};
use crate::apiserver::objects::{Deletion, Removed};
use crate::apiserver::show::{self, Shown, value};
use crate::apiserver::{Api, Target};
use crate::status::{FieldError, Reason, Status};
use crate::store::{Key, ListQuery};

pub(in crate::apiserver) async fn delete(api: &Api, call: &Call, body: Body) -> Result<Response, Status> {
    let how = options(call, &read(body).await?)?;
    let resource = &call.target.resource;
    match api.remove(&call.target, &how).await? {
        Removed::Terminating(object) => Ok(show::one(call, StatusCode::OK, object)),
        Removed::Gone(object) if call.target.is_core("pods") || call.target.is_core("namespaces") => {
            Ok(show::one(call, StatusCode::OK, Shown::Loose(object)))
        }
        Removed::Gone(object) => {
            let mut details =
                json!({"name": call.target.name, "kind": resource.plural, "uid": object["metadata"]["uid"]});
            if !resource.group.is_empty() {
                details["group"] = json!(resource.group);
            }
            let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details});
            Ok(json_value(StatusCode::OK, &status, call.accept))
        }
    }
}

pub(in crate::apiserver) async fn delete_collection(
    api: &Api,
    call: &Call,
    body: Body,
) -> Result<Response, Status> {
    let how = options(call, &read(body).await?)?;
    let selector = selector(call)?;
    let query = ListQuery {
        collection: &call.target.collection,
        namespace: call.within(),
        at: None,
        after: None,
        limit: 0,
    };
    let page = api
        .store
        .list(&query, |object| selector.matches_document(&object.index, || object.value()))
        .map_err(|gone| Status::expired(gone.to_string()))?;
    let mut items = Vec::new();
    for (key, object) in page.objects {
        match api.remove(&at(&call.target, &key), &how).await {
            Ok(_) => items.push(value(&call.target.resource, &object)),
            Err(status) if status.reason == Reason::NotFound => {}
            Err(status) => return Err(status),
        }
    }
    let list = json!({
        "kind": call.target.resource.list_kind, "apiVersion": call.target.resource.api_version(),
        "metadata": {"resourceVersion": api.store.revision().to_string()}, "items": items,
    });
    Ok(json_value(StatusCode::OK, &list, call.accept))
}

fn at(target: &Target, key: &Key) -> Target {
    Target { namespace: key.namespace.to_string(), ..target.named(&key.name) }
}

/// `DeleteOptions` from the body or, without one, from the query.
fn options(call: &Call, body: &[u8]) -> Result<Deletion, Status> {
    let given = if body.is_empty() {
        Value::Null
    } else {
        decode(&call.headers, body, "DeleteOptions", &call.target.resource)?
    };
    deletion(call, &given)
}

/// The same from a parsed document.
pub(in crate::apiserver) fn deletion(call: &Call, given: &Value) -> Result<Deletion, Status> {
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let policy = text(&given["propagationPolicy"]).or(call.query.get("propagationPolicy").map(str::to_owned));
    if let Some(policy) = policy
        && !["Background", "Foreground", "Orphan"].contains(&policy.as_str())
    {
        let wrong = FieldError::not_supported(
            "propagationPolicy",
            &json!(policy),
            &["Background", "Foreground", "Orphan"],
        );
        return Err(Status::invalid("meta.k8s.io", "DeleteOptions", "", &[wrong]));
    }
    let grace_seconds = match &given["gracePeriodSeconds"] {
        Value::Null => call.query.number("gracePeriodSeconds")?,
        Value::Number(number) if number.is_i64() => number.as_i64(),
        other => {
            return Err(Status::bad_request(format!(
                "DeleteOptions in version \"v1\" cannot be handled as a DeleteOptions: gracePeriodSeconds: {other} is not a whole number"
            )));
        }
    };
    let dry_run = match &given["dryRun"] {
        Value::Array(all) if all.iter().any(|one| one == "All") => true,
        _ => call.query.dry_run("DeleteOptions")?,
    };
    Ok(Deletion {
        grace_seconds,
        uid: text(&given["preconditions"]["uid"]),
        resource_version: text(&given["preconditions"]["resourceVersion"]),
        dry_run,
    })
}
