//! `serviceaccounts/NAME/token`: a token for a pod or a person.

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use serde_json::{Value, json};

use super::text;
use crate::apiserver::Api;
use crate::apiserver::auth::ServiceAccountClaim;
use crate::apiserver::call::Call;
use crate::apiserver::http::{decode, json_value, read};
use crate::apiserver::metadata;
use crate::status::{FieldError, Status};
use crate::store::{Collection, ObjectId};

const DEFAULT_SECONDS: i64 = 3600;
const MIN_SECONDS: i64 = 600;
const YEAR: i64 = 365 * 24 * 3600;
/// What kubelets ask for in projected volumes; Kubernetes gives them a year, because old clients never read the file again.
const PROJECTED: i64 = 3607;

pub(super) async fn issue(api: &Api, call: &Call, body: Body) -> Result<Response, Status> {
    let mut request = decode(&call.headers, &read(body).await?, "TokenRequest", &call.target.resource)?;
    let account = api.store.get(&call.target.id()).ok_or_else(|| call.target.not_found())?.value();
    let asked = request["spec"]["expirationSeconds"].as_i64().unwrap_or(DEFAULT_SECONDS);
    if asked < MIN_SECONDS {
        let wrong = FieldError::invalid(
            "spec.expirationSeconds",
            &json!(asked),
            "may not specify a duration less than 10 minutes",
        );
        return Err(Status::invalid("authentication.k8s.io", "TokenRequest", &call.target.name, &[wrong]));
    }
    let seconds = if asked == PROJECTED { YEAR } else { asked.min(YEAR) };
    let audiences: Vec<String> = request["spec"]["audiences"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    let (kind, bound_name, uid) = bound_object(api, call, &request["spec"]["boundObjectRef"])?;
    let claim = ServiceAccountClaim {
        namespace: &call.target.namespace,
        name: &call.target.name,
        uid: text(&account, "/metadata/uid"),
        bound: (!kind.is_empty()).then_some((kind.as_str(), bound_name.as_str(), uid.as_str())),
        audiences: &audiences,
        seconds,
    };
    let signed = api.tokens.issue(&claim).ok_or_else(|| Status::internal("the token could not be signed"))?;
    request["kind"] = json!("TokenRequest");
    request["apiVersion"] = json!("authentication.k8s.io/v1");
    request["metadata"] = json!({"name": call.target.name, "namespace": call.target.namespace, "creationTimestamp": metadata::now()});
    request["spec"]["audiences"] = json!(signed.audiences);
    request["spec"]["expirationSeconds"] = json!(seconds);
    request["status"] = signed.status();
    Ok(json_value(StatusCode::CREATED, &request, call.accept))
}

/// Kind, name and uid of the object that the token dies with; empty when there is none.
fn bound_object(api: &Api, call: &Call, reference: &Value) -> Result<(String, String, String), Status> {
    let (kind, name, uid) = (text(reference, "/kind"), text(reference, "/name"), text(reference, "/uid"));
    let (plural, namespace) = match kind {
        "" => return Ok(Default::default()),
        "Pod" => ("pods", call.target.namespace.as_str()),
        "Secret" => ("secrets", call.target.namespace.as_str()),
        "Node" => ("nodes", ""),
        other => {
            let wrong = FieldError::not_supported(
                "spec.boundObjectRef.kind",
                &json!(other),
                &["Node", "Pod", "Secret"],
            );
            return Err(Status::invalid(
                "authentication.k8s.io",
                "TokenRequest",
                &call.target.name,
                &[wrong],
            ));
        }
    };
    let id = ObjectId::new(&Collection::new("", plural), namespace, name);
    let bound = api.store.get(&id).ok_or_else(|| Status::not_found("", plural, name))?.value();
    let found = text(&bound, "/metadata/uid");
    if !uid.is_empty() && uid != found {
        let why = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
        );
        return Err(Status::conflict("", plural, name, &why));
    }
    if kind == "Pod" && text(&bound, "/spec/serviceAccountName") != call.target.name {
        return Err(Status::bad_request(format!(
            "cannot bind token for serviceaccount \"{}\" to pod running with different serviceaccount name.",
            call.target.name
        )));
    }
    Ok((kind.to_owned(), name.to_owned(), found.to_owned()))
}
