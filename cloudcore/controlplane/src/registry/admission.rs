//! The group `admissionregistration.k8s.io`: who is asked about writes, and by which expressions they are judged.
//!
//! Source: Kubernetes v1.36 `pkg/apis/admissionregistration/validation`.

mod policies;
mod webhooks;

use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
    ValidatingWebhookConfiguration,
};
use serde_json::{Value, json};

use super::descriptor::{Descriptor, STATUS};
use super::{checks, names};
use crate::schema::custom::Condition;
use crate::schema::{Errors, Json, Path};
use crate::table;

/// The API group.
pub(crate) const GROUP: &str = "admissionregistration.k8s.io";

/// What the conditions of webhooks may speak of.
pub(crate) const WEBHOOK_NAMES: &[&str] = &["object", "oldObject", "request"];
/// What the expressions of policies may speak of.
pub(crate) const POLICY_NAMES: &[&str] =
    &["object", "oldObject", "request", "params", "namespaceObject", "variables"];

/// The kinds of `admissionregistration.k8s.io/v1`, by name.
pub(super) const KINDS: &[Descriptor] = &[
    Descriptor {
        categories: &["api-extensions"],
        generations: true,
        unconditional_update: false,
        default: webhooks::default,
        validate: webhooks::validate,
        printer: table::WEBHOOKS,
        ..Descriptor::of::<MutatingWebhookConfiguration>()
    },
    Descriptor {
        categories: &["api-extensions"],
        subresources: &[STATUS],
        generations: true,
        unconditional_update: false,
        default: policies::default,
        validate: policies::validate,
        to_stored: policies::observe,
        printer: table::ADMISSION_POLICY,
        ..Descriptor::of::<ValidatingAdmissionPolicy>()
    },
    Descriptor {
        categories: &["api-extensions"],
        generations: true,
        unconditional_update: false,
        default: policies::default_binding,
        validate: policies::validate_binding,
        printer: table::ADMISSION_BINDING,
        ..Descriptor::of::<ValidatingAdmissionPolicyBinding>()
    },
    Descriptor {
        categories: &["api-extensions"],
        generations: true,
        unconditional_update: false,
        default: webhooks::default,
        validate: webhooks::validate,
        printer: table::WEBHOOKS,
        ..Descriptor::of::<ValidatingWebhookConfiguration>()
    },
];

const OPERATIONS: &[&str] = &["*", "CREATE", "UPDATE", "DELETE", "CONNECT"];
const FAILURE_POLICIES: &[&str] = &["Fail", "Ignore"];
const MATCH_POLICIES: &[&str] = &["Equivalent", "Exact"];
const SCOPES: &[&str] = &["*", "Cluster", "Namespaced"];
/// Conditions that a webhook or policy may have.
const CONDITIONS: usize = 64;

/// What is left out of a matcher takes everything.
fn default_match(matcher: &mut Value, rules: &[&str]) {
    matcher.default_to("matchPolicy", "Equivalent");
    for selector in ["namespaceSelector", "objectSelector"] {
        matcher.default_to(selector, json!({}));
    }
    for list in rules {
        for rule in matcher.list_mut(list) {
            rule.default_to("scope", "*");
        }
    }
}

fn one_of(object: &Value, field: &str, known: &[&str], path: &Path<'_>, errors: &mut Errors) {
    if let Some(value) = object.get(field).and_then(Value::as_str)
        && !known.contains(&value)
    {
        errors.not_supported(&path.field(field), value, known);
    }
}

/// Rules: which operations on which resources.
fn rules(rules: &[Value], path: &Path<'_>, errors: &mut Errors) {
    for (at, rule) in rules.iter().enumerate() {
        let here = path.index(at);
        for (field, known) in [
            ("operations", Some(OPERATIONS)),
            ("apiGroups", None),
            ("apiVersions", None),
            ("resources", None),
        ] {
            let (place, given) = (here.field(field), rule.list(&format!("/{field}")));
            if given.is_empty() {
                errors.required(&place, "");
            }
            if given.len() > 1 && given.iter().any(|one| one == "*") {
                let detail = "if '*' is present, must not specify other ";
                errors.invalid(&place, json!(given), &format!("{detail}{}", plural(field)));
            }
            for (at, one) in given.iter().enumerate() {
                let text = one.as_str().unwrap_or_default();
                if known.is_some_and(|known| !known.contains(&text)) {
                    errors.not_supported(&place.index(at), text, OPERATIONS);
                }
                if field != "apiGroups" && text.is_empty() {
                    errors.required(&place.index(at), "");
                }
            }
        }
        one_of(rule, "scope", SCOPES, &here, errors);
    }
}

fn plural(field: &str) -> &str {
    match field {
        "operations" => "operations",
        "apiGroups" => "API groups",
        "apiVersions" => "API versions",
        _ => "resources",
    }
}

fn selectors(object: &Value, path: &Path<'_>, errors: &mut Errors) {
    for field in ["namespaceSelector", "objectSelector"] {
        if let Some(selector) = object.get(field) {
            checks::selector(selector, &path.field(field), errors);
        }
    }
}

/// `matchConditions`: named expressions.
fn conditions(object: &Value, known: &[&'static str], path: &Path<'_>, errors: &mut Errors) {
    let (list, given) = (path.field("matchConditions"), object.list("/matchConditions"));
    if given.len() > CONDITIONS {
        errors.too_many(&list, given.len(), CONDITIONS);
        return;
    }
    for (at, one) in given.iter().enumerate() {
        let here = list.index(at);
        let name = one.text("/name");
        if name.is_empty() {
            errors.required(&here.field("name"), "");
        } else {
            for wrong in names::qualified_name(name) {
                errors.invalid(&here.field("name"), name, &wrong);
            }
        }
        if given[..at].iter().any(|other| other.text("/name") == name) {
            errors.duplicate(&here.field("name"), name);
        }
        expression(one.text("/expression"), (known, &[]), &here.field("expression"), errors);
    }
}

/// What an expression may speak of: documents, and what those before it defined.
type Known<'k> = (&'k [&'static str], &'k [&'k str]);

fn expression(source: &str, (known, defined): Known<'_>, path: &Path<'_>, errors: &mut Errors) {
    if source.trim().is_empty() {
        errors.required(path, "");
    } else if let Some(wrong) = Condition::wrong(source, known, defined) {
        errors.invalid(path, source, &format!("compilation failed: {wrong}"));
    }
}
