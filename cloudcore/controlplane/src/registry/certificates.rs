//! The group `certificates.k8s.io`: requests for certificates.
//!
//! Source: Kubernetes v1.36 `pkg/apis/certificates/validation`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use serde_json::{Value, json};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::FromDer;

use super::descriptor::{Descriptor, EDIT, STATUS, Subresource};
use crate::schema::{Errors, Json, Path};
use crate::table;

/// Whether a request is granted: the conditions alone.
const APPROVAL: Subresource = Subresource { name: "approval", body: None, verbs: EDIT };
/// In seconds.
const SHORTEST: i64 = 600;
const USAGES: &[&str] = &[
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];
/// The conditions that say what becomes of a request; none is ever taken back.
const FINAL: &[&str] = &["Approved", "Denied", "Failed"];

/// The kinds of `certificates.k8s.io/v1`.
pub(super) const KINDS: &[Descriptor] = &[Descriptor {
    short_names: &["csr"],
    subresources: &[APPROVAL, STATUS],
    prepare_create: |request| request.put("status", json!({})),
    prepare_update: |old, new| new.put("spec", old.get("spec").cloned().unwrap_or_default()),
    validate,
    printer: table::CERTIFICATE_REQUEST,
    ..Descriptor::of::<CertificateSigningRequest>()
}];

/// The DER of the request in an object's `spec.request`.
///
/// # Errors
/// If it is none, in Kubernetes' words.
pub(crate) fn requested(object: &Value) -> Result<Vec<u8>, String> {
    let pem = STANDARD.decode(object.text("/spec/request")).unwrap_or_default();
    let wrong = || "PEM block type must be CERTIFICATE REQUEST".to_owned();
    let (_, block) = parse_x509_pem(&pem).map_err(|_| wrong())?;
    if block.label != "CERTIFICATE REQUEST" {
        return Err(wrong());
    }
    let (_, request) =
        X509CertificationRequest::from_der(&block.contents).map_err(|error| error.to_string())?;
    request.verify_signature().map_err(|error| error.to_string())?;
    Ok(block.contents)
}

fn validate(request: &Value, errors: &mut Errors) {
    let root = Path::Root;
    let spec = root.field("spec");
    if let Err(why) = requested(request) {
        errors.invalid(&spec.field("request"), request.text("/spec/request"), &why);
    }
    let usages = spec.field("usages");
    let asked = request.list("/spec/usages");
    if asked.is_empty() {
        errors.required(&usages, "");
    }
    for (at, usage) in asked.iter().enumerate() {
        if !usage.as_str().is_some_and(|usage| USAGES.contains(&usage)) {
            errors.not_supported(&usages.index(at), usage.clone(), USAGES);
        }
        if asked[..at].contains(usage) {
            errors.duplicate(&usages.index(at), usage.clone());
        }
    }
    signer(request.text("/spec/signerName"), &spec.field("signerName"), errors);
    if let Some(seconds) = request.int("/spec/expirationSeconds").filter(|seconds| *seconds < SHORTEST) {
        let detail = "may not specify a duration less than 600 seconds (10 minutes)";
        errors.invalid(&spec.field("expirationSeconds"), seconds, detail);
    }
}

fn signer(name: &str, path: &Path<'_>, errors: &mut Errors) {
    if name.is_empty() {
        return errors.required(path, "");
    }
    if name == "kubernetes.io/legacy-unknown" {
        return errors.invalid(path, name, "the legacy signerName is not allowed via this API version");
    }
    match name.split_once('/') {
        Some((domain, rest)) if !rest.is_empty() && !rest.contains('/') => {
            if !domain.contains('.') {
                let detail = "should be a domain with at least two segments separated by dots";
                errors.invalid(path, name, detail);
            }
        }
        _ => {
            let detail = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
            errors.invalid(path, name, detail);
        }
    }
}

/// What is wrong with new conditions. Those that decide come through `approval` only, and all that are there stay.
pub(crate) fn validate_conditions(old: &Value, new: &Value, approval: bool) -> Errors {
    let (mut errors, root) = (Errors::default(), Path::Root);
    let status = root.field("status");
    let path = status.field("conditions");
    let of = |object: &Value, kind: &str| {
        object.list("/status/conditions").iter().find(|one| one.text("/type") == kind).cloned()
    };
    for (at, condition) in new.list("/status/conditions").iter().enumerate() {
        let place = path.index(at);
        let kind = condition.text("/type");
        if kind.is_empty() {
            errors.required(&place.field("type"), "");
        }
        match condition.text("/status") {
            "" => errors.required(&place.field("status"), ""),
            "True" => {}
            other if FINAL.contains(&kind) => {
                errors.not_supported(&place.field("status"), other, &["True"]);
            }
            _ => {}
        }
    }
    for kind in FINAL {
        let decides = *kind != "Failed";
        match (of(old, kind), of(new, kind)) {
            (Some(_), None) => {
                errors.forbidden(&path, &format!("updates may not remove a condition of type \"{kind}\""));
            }
            (None, Some(_)) if decides && !approval => {
                errors.forbidden(&path, &format!("updates may not add a condition of type \"{kind}\""));
            }
            (Some(before), Some(after)) if decides && !approval && before != after => {
                errors.forbidden(&path, &format!("updates may not modify a condition of type \"{kind}\""));
            }
            _ => {}
        }
    }
    if of(new, "Approved").is_some() && of(new, "Denied").is_some() {
        errors.invalid(&path, "Denied", "Approved and Denied conditions are mutually exclusive");
    }
    let (before, after) = (old.text("/status/certificate"), new.text("/status/certificate"));
    if !before.is_empty() && before != after {
        let detail = "updates may not modify existing certificate content";
        errors.forbidden(&status.field("certificate"), detail);
    }
    errors
}
