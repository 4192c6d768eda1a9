//! One file per verb.

mod apply;
mod create;
mod delete;
mod get;
mod list;
mod patch;
mod review;
mod update;
mod watch;

pub(super) use apply::applier;
pub(super) use create::create;
pub(super) use delete::{delete, delete_collection, deletion};
pub(super) use get::get;
pub(super) use list::{list, read_query};
pub(super) use patch::{patch, patched};
pub(super) use update::{replaced, update};
pub(super) use watch::watch;

use serde_json::{Value, json};

use super::auth::{Attributes, allowed, denial};
use super::call::Call;
use super::http::{FieldValidation, decode as document, media_type};
use super::{Api, Target};
use crate::schema::duplicate_fields;
use crate::selector::{FieldSelector, LabelSelector, Selector};
use crate::status::Status;

/// Whether the caller, who asked to change an object that is not there, may create it.
fn may_create(api: &Api, call: &Call) -> Result<(), Status> {
    let Target { resource, namespace, name, .. } = &call.target;
    let asks = Attributes::Resource {
        verb: "create",
        group: &resource.group,
        resource: &resource.plural,
        namespace,
        name,
        fields: "",
    };
    if allowed(&api.store, &call.who, asks) { Ok(()) } else { Err(denial(&call.who, asks)) }
}

/// What a list, watch or deletecollection is restricted to.
fn selector(call: &Call) -> Result<Selector, Status> {
    let bad = |error: crate::selector::SelectorError| Status::bad_request(error.to_string());
    let collection = call.target.collection.as_str();
    Ok(Selector {
        labels: LabelSelector::parse(call.query.get("labelSelector").unwrap_or_default()).map_err(bad)?,
        fields: FieldSelector::parse_with(
            call.query.get("fieldSelector").unwrap_or_default(),
            collection,
            &call.target.resource.own_fields,
        )
        .map_err(bad)?,
    })
}

/// The object in a body, of the kind that the URL is about; with what to warn about.
pub(super) fn object(call: &Call, body: &[u8]) -> Result<(Value, Vec<String>), Status> {
    let mut object = document(&call.headers, body, &call.target.resource.kind, &call.target.resource)?;
    check_kind(&call.target, &mut object)?;
    let twice =
        if media_type(&call.headers) == "application/json" { duplicate_fields(body) } else { Vec::new() };
    let warnings = check_fields(call, &mut object, &twice)?;
    Ok((object, warnings))
}

/// Kind and version may be left out; if they are there they must be right.
fn check_kind(target: &Target, object: &mut Value) -> Result<(), Status> {
    let resource = &target.resource;
    let (version, kind) = (resource.api_version(), &resource.kind);
    let found = |key: &str| object[key].as_str().filter(|text| !text.is_empty());
    match (found("apiVersion"), found("kind")) {
        (Some(other), _) if other != version => Err(Status::bad_request(format!(
            "the API version in the data ({other}) does not match the expected API version ({version})"
        ))),
        (_, Some(other)) if other != kind => Err(Status::bad_request(format!(
            "{other} in version \"{}\" cannot be handled as a {kind}: the kind in the data does not match the resource of the URL",
            resource.version
        ))),
        _ => {
            object["apiVersion"] = json!(version);
            object["kind"] = json!(kind);
            Ok(())
        }
    }
}

/// Refuses wrong types, drops what the kind does not have, and names that.
fn decode(target: &Target, object: &mut Value) -> Result<Vec<String>, Status> {
    target
        .resource
        .decode(object)
        .map_err(|error| Status::bad_request(format!("{}{error}", cannot_be(target))))
}

/// What stands before every complaint about the fields of a body.
fn cannot_be(target: &Target) -> String {
    let (kind, version) = (&target.resource.kind, &target.resource.version);
    format!("{kind} in version \"{version}\" cannot be handled as a {kind}: ")
}

/// Wrong types are refused; unknown and duplicate fields are dropped, named in a warning, or refused, as the client wants it.
fn check_fields(call: &Call, object: &mut Value, twice: &[String]) -> Result<Vec<String>, Status> {
    let unknown = decode(&call.target, object)?;
    let found = unknown.iter().map(|path| format!("unknown field \"{path}\""));
    let found: Vec<String> =
        found.chain(twice.iter().map(|path| format!("duplicate field \"{path}\""))).collect();
    match call.query.field_validation()? {
        FieldValidation::Ignore => Ok(Vec::new()),
        FieldValidation::Strict if !found.is_empty() => {
            let found = found.join(", ");
            Err(Status::bad_request(format!("{}strict decoding error: {found}", cannot_be(&call.target))))
        }
        FieldValidation::Warn | FieldValidation::Strict => Ok(found),
    }
}
