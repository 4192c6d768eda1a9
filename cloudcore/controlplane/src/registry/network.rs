//! The groups `networking.k8s.io` and `discovery.k8s.io`.

use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass, NetworkPolicy};
use serde_json::{Value, json};

use super::checks;
use super::descriptor::{Descriptor, STATUS};
use crate::schema::{Errors, Json, Path};
use crate::table;

/// The kinds of `networking.k8s.io/v1`, by name.
pub(super) const NETWORKING: &[Descriptor] = &[
    Descriptor {
        validate: validate_class,
        validate_update: |old, new, errors| checks::immutable(old, new, &["spec.controller"], errors),
        printer: table::INGRESS_CLASS,
        ..Descriptor::of::<IngressClass>()
    },
    Descriptor {
        short_names: &["ing"],
        subresources: &[STATUS],
        generations: true,
        prepare_create: |ingress| ingress.put("status", json!({"loadBalancer": {}})),
        validate: validate_ingress,
        printer: table::INGRESS,
        ..Descriptor::of::<Ingress>()
    },
    Descriptor {
        short_names: &["netpol"],
        generations: true,
        default: default_policy,
        validate: |policy, errors| {
            let selector = policy.pointer("/spec/podSelector").unwrap_or(&Value::Null);
            checks::selector(selector, &Path::Root.field("spec").field("podSelector"), errors);
        },
        printer: table::NETWORK_POLICY,
        ..Descriptor::of::<NetworkPolicy>()
    },
];

/// The kinds of `discovery.k8s.io/v1`.
pub(super) const DISCOVERY: &[Descriptor] = &[Descriptor {
    generations: true,
    default: default_slice,
    validate: validate_slice,
    validate_update: |old, new, errors| checks::immutable(old, new, &["addressType"], errors),
    printer: table::ENDPOINT_SLICE,
    ..Descriptor::of::<EndpointSlice>()
}];

fn validate_class(class: &Value, errors: &mut Errors) {
    let root = Path::Root;
    let spec = root.field("spec");
    let controller = class.text("/spec/controller");
    if controller.is_empty() {
        errors.required(&spec.field("controller"), "");
    } else if !controller.contains('/') {
        let detail = "must be a domain-prefixed path (such as \"acme.io/foo\")";
        errors.invalid(&spec.field("controller"), controller, detail);
    }
}

fn validate_ingress(ingress: &Value, errors: &mut Errors) {
    let root = Path::Root;
    let spec = root.field("spec");
    let rules = ingress.list("/spec/rules");
    if rules.is_empty() && !ingress.has("/spec/defaultBackend") {
        errors.invalid(&spec, json!([]), "either `defaultBackend` or `rules` must be specified");
    }
    let list = spec.field("rules");
    for (index, rule) in rules.iter().enumerate() {
        let here = list.index(index);
        let http = here.field("http");
        let paths = http.field("paths");
        if rule.has("/http") && rule.list("/http/paths").is_empty() {
            errors.required(&paths, "");
        }
        for (index, path) in rule.list("/http/paths").iter().enumerate() {
            let here = paths.index(index);
            let supported = &["Exact", "ImplementationSpecific", "Prefix"];
            match path.text("/pathType") {
                "" => errors.required(&here.field("pathType"), "pathType must be specified"),
                kind if !supported.contains(&kind) => {
                    errors.not_supported(&here.field("pathType"), kind, supported);
                }
                "ImplementationSpecific" => {}
                _ if !path.text("/path").starts_with('/') => {
                    errors.invalid(&here.field("path"), path.text("/path"), "must be an absolute path");
                }
                _ => {}
            }
        }
    }
}

fn default_policy(policy: &mut Value) {
    let egress = policy.has("/spec/egress");
    for list in ["/spec/ingress", "/spec/egress"] {
        for rule in policy.list_mut(list) {
            for port in rule.list_mut("/ports") {
                port.default_to("protocol", "TCP");
            }
        }
    }
    if let Some(spec) = policy.child("spec") {
        let types = if egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
        spec.default_to("policyTypes", types);
    }
}

fn default_slice(slice: &mut Value) {
    for port in slice.list_mut("/ports") {
        port.default_to("name", "");
        port.default_to("protocol", "TCP");
    }
}

fn validate_slice(slice: &Value, errors: &mut Errors) {
    let root = Path::Root;
    match slice.text("/addressType") {
        "" => errors.required(&root.field("addressType"), ""),
        "IPv4" | "IPv6" | "FQDN" => {}
        other => errors.not_supported(&root.field("addressType"), other, &["FQDN", "IPv4", "IPv6"]),
    }
    let endpoints = root.field("endpoints");
    for (index, endpoint) in slice.list("/endpoints").iter().enumerate() {
        let here = endpoints.index(index);
        let addresses = here.field("addresses");
        if endpoint.list("/addresses").is_empty() {
            errors.required(&addresses, "must contain at least 1 address");
        }
        if slice.text("/addressType") != "FQDN" {
            for (index, address) in endpoint.list("/addresses").iter().enumerate() {
                checks::address(address.as_str().unwrap_or_default(), &addresses.index(index), errors);
            }
        }
    }
}
