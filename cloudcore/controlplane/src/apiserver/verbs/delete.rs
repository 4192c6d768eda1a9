//! DELETE of one object or of a collection.

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use serde_json::{Value, json};

use super::selector;
use crate::apiserver::call::Call;
use crate::apiserver::deletion::{Deletion, Propagation, Removed};
use crate::apiserver::http::{decode, json_value, read, with_warnings};
use crate::apiserver::show::{self, Shown, value};
use crate::apiserver::{Api, Target};
use crate::registry::Dependents;
use crate::status::{FieldError, Reason, Status};
use crate::store::{Key, ListQuery};

pub(in crate::apiserver) async fn delete(api: &Api, call: &Call, body: Body) -> Result<Response, Status> {
    let given = options(call, &read(body).await?)?;
    let resource = &call.target.resource;
    let response = match api.remove(&call.target, &given.how).await? {
        Removed::Terminating(object) => {
            let code = if given.orphan == Some(false) { StatusCode::ACCEPTED } else { StatusCode::OK };
            show::one(call, code, object)
        }
        Removed::Gone(object) if call.target.is_core("pods") || call.target.is_core("namespaces") => {
            show::one(call, StatusCode::OK, Shown::Loose(object))
        }
        Removed::Gone(object) => {
            let mut details =
                json!({"name": call.target.name, "kind": resource.plural, "uid": object["metadata"]["uid"]});
            if !resource.group.is_empty() {
                details["group"] = json!(resource.group);
            }
            let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details});
            json_value(StatusCode::OK, &status, call.accept)
        }
    };
    Ok(with_warnings(response, &warnings(call, &given)))
}

pub(in crate::apiserver) async fn delete_collection(
    api: &Api,
    call: &Call,
    body: Body,
) -> Result<Response, Status> {
    let given = options(call, &read(body).await?)?;
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
        match api.remove(&at(&call.target, &key), &given.how).await {
            Ok(_) => items.push(value(&call.target.resource, &object)),
            Err(status) if status.reason == Reason::NotFound => {}
            Err(status) => return Err(status),
        }
    }
    let list = json!({
        "kind": call.target.resource.list_kind, "apiVersion": call.target.resource.api_version(),
        "metadata": {"resourceVersion": api.store.revision().to_string()}, "items": items,
    });
    Ok(with_warnings(json_value(StatusCode::OK, &list, call.accept), &warnings(call, &given)))
}

fn at(target: &Target, key: &Key) -> Target {
    Target { namespace: key.namespace.to_string(), ..target.named(&key.name) }
}

/// `DeleteOptions` as given.
pub(in crate::apiserver) struct Given {
    /// What they mean.
    pub(in crate::apiserver) how: Deletion,
    /// The old way to say what becomes of what the object owns.
    orphan: Option<bool>,
}

/// The pods of jobs stay by default, which surprises those who do not say what they want.
fn warnings(call: &Call, given: &Given) -> Vec<String> {
    let resource = &call.target.resource;
    if given.how.propagation.is_some() || resource.dependents() != Dependents::Orphan {
        return Vec::new();
    }
    vec![
        "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning"
            .to_owned(),
    ]
}

/// `DeleteOptions` from the body or, without one, from the query.
fn options(call: &Call, body: &[u8]) -> Result<Given, Status> {
    let given = if body.is_empty() {
        Value::Null
    } else {
        decode(&call.headers, body, "DeleteOptions", &call.target.resource)?
    };
    deletion(call, &given)
}

/// The same from a parsed document.
pub(in crate::apiserver) fn deletion(call: &Call, given: &Value) -> Result<Given, Status> {
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let (propagation, orphan) = propagation(
        text(&given["propagationPolicy"]).or(call.query.get("propagationPolicy").map(str::to_owned)),
        given["orphanDependents"].as_bool().or(call.query.get("orphanDependents").map(|text| text == "true")),
    )?;
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
    let how = Deletion {
        grace_seconds,
        uid: text(&given["preconditions"]["uid"]),
        resource_version: text(&given["preconditions"]["resourceVersion"]),
        propagation,
        dry_run,
        options: said(given, grace_seconds, propagation, dry_run),
        is_settled: false,
    };
    Ok(Given { how, orphan })
}

/// The options as those see them who are asked about the deletion.
fn said(given: &Value, grace: Option<i64>, propagation: Option<Propagation>, dry_run: bool) -> Value {
    let mut said = json!({});
    for (field, value) in [
        ("gracePeriodSeconds", grace.map(Value::from)),
        ("preconditions", given.get("preconditions").filter(|one| one.is_object()).cloned()),
        ("propagationPolicy", propagation.map(|one| json!(format!("{one:?}")))),
        ("dryRun", dry_run.then(|| json!(["All"]))),
    ] {
        if let Some(value) = value {
            said[field] = value;
        }
    }
    said
}

/// What is to become of what the object owns, said in the new way or in the old one, never in both.
fn propagation(
    policy: Option<String>,
    orphan: Option<bool>,
) -> Result<(Option<Propagation>, Option<bool>), Status> {
    const POLICIES: &[&str] = &["Foreground", "Background", "Orphan", "nil"];
    let mut wrong = Vec::new();
    let asked = policy.as_deref().and_then(Propagation::parse);
    if let Some(policy) = &policy {
        if orphan.is_some() {
            let why = "orphanDependents and deletionPropagation cannot be both set";
            wrong.push(FieldError::invalid("propagationPolicy", &json!(policy), why));
        }
        if asked.is_none() {
            wrong.push(FieldError::not_supported("propagationPolicy", &json!(policy), POLICIES));
        }
    }
    if !wrong.is_empty() {
        return Err(Status::invalid("meta.k8s.io", "DeleteOptions", "", &wrong));
    }
    let before = orphan.map(|orphan| if orphan { Propagation::Orphan } else { Propagation::Background });
    Ok((asked.or(before), orphan))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fate_of_dependents_is_said_in_one_of_two_ways() {
        let says = |policy: Option<&str>, orphan| propagation(policy.map(str::to_owned), orphan);
        assert_eq!(says(None, Some(false)).unwrap().0, Some(Propagation::Background));
        assert_eq!(says(None, Some(true)).unwrap().0, Some(Propagation::Orphan));
        assert_eq!(says(Some("Foreground"), None).unwrap().0, Some(Propagation::Foreground));
        assert_eq!(
            says(Some("Orphan"), Some(true)).unwrap_err().message,
            "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Invalid value: \"Orphan\": orphanDependents and deletionPropagation cannot be both set"
        );
        assert_eq!(
            says(Some("Never"), None).unwrap_err().message,
            "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Unsupported value: \"Never\": supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\""
        );
    }
}
