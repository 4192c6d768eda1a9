//! Requests for certificates: who asked, what may not be asked for, and who may say yes.
//!
//! Source: Kubernetes v1.36 `plugin/pkg/admission/certificates` (approval, signing, subjectrestriction).

use serde_json::{Value, json};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

use super::super::auth::{Attributes, Identity, allowed};
use super::super::metadata;
use super::super::objects::Part;
use super::{Api, Target, forbidden};
use crate::registry::{requested_certificate, validate_certificate_conditions};
use crate::schema::Json;
use crate::status::Status;

const GROUP: &str = "certificates.k8s.io";
const FOR_CLIENTS: &str = "kubernetes.io/kube-apiserver-client";
const MASTERS: &str = "system:masters";

fn is_request(target: &Target) -> bool {
    target.resource.group == GROUP && target.resource.plural == "certificatesigningrequests"
}

/// Writes into a new request who asked. Nobody gets all rights this way.
pub(super) fn create(target: &Target, request: &mut Value) -> Result<(), Status> {
    if !is_request(target) {
        return Ok(());
    }
    if request.text("/spec/signerName") == FOR_CLIENTS && asks_for_all_rights(request) {
        let why = format!("use of {FOR_CLIENTS} signer with {MASTERS} group is not allowed");
        return Err(forbidden(target, request, &why));
    }
    let who = target.who.as_deref().cloned().unwrap_or_default();
    let Some(Value::Object(spec)) = request.get_mut("spec") else { return Ok(()) };
    for field in ["username", "uid", "groups", "extra"] {
        spec.shift_remove(field);
    }
    spec.insert("username".to_owned(), json!(who.user));
    if !who.uid.is_empty() {
        spec.insert("uid".to_owned(), json!(who.uid));
    }
    spec.insert("groups".to_owned(), json!(who.groups));
    if !who.extra.is_empty() {
        spec.insert("extra".to_owned(), json!(who.extra));
    }
    Ok(())
}

fn asks_for_all_rights(request: &Value) -> bool {
    // What cannot be read is for validation to refuse.
    let Ok(der) = requested_certificate(request) else { return false };
    let Ok((_, parsed)) = X509CertificationRequest::from_der(&der) else { return false };
    let mut groups = parsed.certification_request_info.subject.iter_organization();
    groups.any(|group| group.as_str() == Ok(MASTERS))
}

/// Whether the caller may decide about a request, or sign it, and whether the conditions can become so.
pub(super) fn restrict(
    api: &Api,
    target: &Target,
    part: Part,
    old: &Value,
    new: &Value,
) -> Result<(), Status> {
    if !is_request(target) {
        return Ok(());
    }
    let (verb, doing) = match part {
        Part::Approval => ("approve", "approve"),
        Part::Status if old.text("/status/certificate") != new.text("/status/certificate") => {
            ("sign", "sign")
        }
        Part::Status => ("", ""),
        _ => return Ok(()),
    };
    let signer = old.text("/spec/signerName");
    let who = target.who.as_deref().filter(|who| !who.is_master());
    if !verb.is_empty() && who.is_some_and(|who| !may(api, who, verb, signer)) {
        let why = format!("user not permitted to {doing} requests with signerName \"{signer}\"");
        return Err(forbidden(target, old, &why));
    }
    let wrong = validate_certificate_conditions(old, new, part == Part::Approval).into_vec();
    if wrong.is_empty() {
        return Ok(());
    }
    Err(Status::invalid(GROUP, &target.resource.kind, &target.name, &wrong))
}

fn may(api: &Api, who: &Identity, verb: &str, signer: &str) -> bool {
    let asks = |name: &str| {
        let resource = "signers";
        let what = Attributes::Resource { verb, group: GROUP, resource, namespace: "", name, fields: "" };
        allowed(&api.store, who, what)
    };
    let domain = signer.split('/').next().unwrap_or_default();
    asks(signer) || asks(&format!("{domain}/*"))
}

/// What a decision changes: the conditions alone, each with the time when it came.
pub(in crate::apiserver) fn decide(old: &Value, new: &mut Value) {
    let mut conditions = new.list("/status/conditions").to_vec();
    let before = old.list("/status/conditions");
    for condition in &mut conditions {
        let known = before.iter().any(|one| one.get("type") == condition.get("type"));
        condition.default_to("lastUpdateTime", json!(metadata::now()));
        if !known {
            condition.default_to("lastTransitionTime", json!(metadata::now()));
        }
    }
    let mut status = old.get("status").cloned().unwrap_or_else(|| json!({}));
    status.put("conditions", json!(conditions));
    new.put("status", status);
}
