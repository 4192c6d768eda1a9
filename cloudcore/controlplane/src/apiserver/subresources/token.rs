//! `serviceaccounts/NAME/token`: a token for a pod or a person.

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};

use super::text;
use crate::apiserver::Api;
use crate::apiserver::auth::{Bound, ISSUER, Named, ServiceAccountClaim};
use crate::apiserver::call::Call;
use crate::apiserver::hooks::Operation;
use crate::apiserver::http::{decode, json_value, read};
use crate::apiserver::metadata;
use crate::status::{FieldError, Status};
use crate::store::{Collection, ObjectId};

const DEFAULT_SECONDS: i64 = 3600;
const MIN_SECONDS: i64 = 600;
const MAX_SECONDS: i64 = 1 << 32;
const YEAR: i64 = 365 * 24 * 3600;
/// What kubelets ask for in projected volumes. Kubernetes makes the token good for a year, because old clients never read the file
/// again, and says that it ends in an hour, so that kubelets renew it.
const PROJECTED: i64 = 3607;

pub(super) async fn issue(api: &Api, call: &Call, body: Body) -> Result<Response, Status> {
    let mut request = decode(&call.headers, &read(body).await?, "TokenRequest", &call.target.resource)?;
    let dry_run = call.query.dry_run("CreateOptions")?;
    api.ask_about_body(call, Operation::Create, "token", dry_run, &mut request).await?;
    let account = api.store.get(&call.target.id()).ok_or_else(|| call.target.not_found())?.value();
    let asked = request["spec"]["expirationSeconds"].as_i64().unwrap_or(DEFAULT_SECONDS);
    check_duration(&call.target.name, asked)?;
    let listed = request["spec"]["audiences"].as_array().map(Vec::as_slice).unwrap_or_default();
    let audiences: Vec<String> = listed.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    let bound = bound_object(api, call, &request["spec"]["boundObjectRef"])?;
    if let Some(node) = call.who.node() {
        for_node(call, node, bound.as_ref())?;
    }
    let ours = audiences.is_empty() || audiences == [ISSUER];
    let extended = asked == PROJECTED && ours && matches!(bound, Some(Bound::Pod(..)));
    let claim = ServiceAccountClaim {
        namespace: &call.target.namespace,
        name: &call.target.name,
        uid: text(&account, "/metadata/uid"),
        bound,
        audiences: &audiences,
        seconds: if extended { YEAR } else { asked },
        warn_after: extended.then_some(asked),
    };
    let signed = api.tokens.issue(&claim).ok_or_else(|| Status::internal("the token could not be signed"))?;
    let ends = Timestamp::now() + asked.seconds();
    request["kind"] = json!("TokenRequest");
    request["apiVersion"] = json!("authentication.k8s.io/v1");
    request["metadata"] = json!({"name": call.target.name, "namespace": call.target.namespace, "creationTimestamp": metadata::now()});
    request["spec"]["audiences"] = json!(signed.audiences);
    request["spec"]["expirationSeconds"] = json!(asked);
    request["status"] = json!({"token": signed.token, "expirationTimestamp": metadata::stamp(ends)});
    Ok(json_value(StatusCode::CREATED, &request, call.accept))
}

fn check_duration(account: &str, seconds: i64) -> Result<(), Status> {
    let why = match seconds {
        ..MIN_SECONDS => "may not specify a duration less than 10 minutes",
        MIN_SECONDS..=MAX_SECONDS => return Ok(()),
        _ => "may not specify a duration larger than 2^32 seconds",
    };
    let wrong = FieldError::invalid("spec.expirationSeconds", &json!(seconds), why);
    Err(Status::invalid("authentication.k8s.io", "TokenRequest", account, &[wrong]))
}

/// The object that the token dies with.
fn bound_object(api: &Api, call: &Call, reference: &Value) -> Result<Option<Bound>, Status> {
    let (kind, name, uid) = (text(reference, "/kind"), text(reference, "/name"), text(reference, "/uid"));
    let (plural, namespace) = match kind {
        "" if reference.is_null() => return Ok(None),
        "Pod" => ("pods", call.target.namespace.as_str()),
        "Secret" => ("secrets", call.target.namespace.as_str()),
        "Node" => ("nodes", ""),
        other => {
            let version = text(reference, "/apiVersion");
            let why = format!("cannot bind token to object of type /{version}, Kind={other}");
            return Err(Status::bad_request(why));
        }
    };
    let object = |plural: &str, namespace: &str, name: &str| {
        Some(api.store.get(&ObjectId::new(&Collection::new("", plural), namespace, name))?.value())
    };
    let bound = object(plural, namespace, name).ok_or_else(|| Status::not_found("", plural, name))?;
    let named = |object: &Value| Named {
        name: text(object, "/metadata/name").to_owned(),
        uid: text(object, "/metadata/uid").to_owned(),
    };
    let found = named(&bound);
    if !uid.is_empty() && uid != found.uid {
        let why = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
        );
        return Err(Status::conflict("", kind, name, &why));
    }
    match kind {
        "Secret" => Ok(Some(Bound::Secret(found))),
        "Node" => Ok(Some(Bound::Node(found))),
        _ if text(&bound, "/spec/serviceAccountName") != call.target.name => {
            Err(Status::bad_request(format!(
                "cannot bind token for serviceaccount \"{}\" to pod running with different serviceaccount name.",
                call.target.name
            )))
        }
        _ => {
            let node = text(&bound, "/spec/nodeName");
            let known = object("nodes", "", node).map(|node| named(&node));
            let node = (!node.is_empty())
                .then(|| known.unwrap_or_else(|| Named { name: node.to_owned(), uid: String::new() }));
            Ok(Some(Bound::Pod(found, node)))
        }
    }
}

/// A node gets tokens for its own pods only.
fn for_node(call: &Call, node: &str, bound: Option<&Bound>) -> Result<(), Status> {
    let why = match bound {
        Some(Bound::Pod(_, Some(at))) if at.name == node => return Ok(()),
        Some(Bound::Pod(..)) => "node requested token bound to a pod scheduled on a different node",
        _ => "node requested token not bound to a pod",
    };
    Err(Status::forbidden("", "serviceaccounts", &call.target.name, why))
}
