//! Admission policies and their bindings: what is left out, and what a good one looks like.

use serde_json::{Value, json};

use super::{
    FAILURE_POLICIES, MATCH_POLICIES, POLICY_NAMES, conditions, default_match, expression, names, one_of,
    rules, selectors,
};
use crate::schema::{Errors, Json, Path};

const REASONS: &[&str] = &["Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized"];
const ACTIONS: &[&str] = &["Audit", "Deny", "Warn"];
const RULES: &[&str] = &["/resourceRules", "/excludeResourceRules"];

pub(super) fn default(policy: &mut Value) {
    let Some(spec) = policy.child("spec") else { return };
    spec.default_to("failurePolicy", "Fail");
    if let Some(matcher) = spec.get_mut("matchConstraints") {
        default_match(matcher, RULES);
    }
}

/// A policy is compiled as it is written, so what is stored was seen. Types are not checked.
pub(super) fn observe(policy: &mut Value) {
    let Some(generation) = policy.int("/metadata/generation") else { return };
    let Some(status) = policy.child("status") else { return };
    status.put("observedGeneration", generation);
    status.default_to("typeChecking", json!({}));
}

pub(super) fn default_binding(binding: &mut Value) {
    if let Some(matcher) = binding.pointer_mut("/spec/matchResources") {
        default_match(matcher, RULES);
    }
}

pub(super) fn validate(policy: &Value, errors: &mut Errors) {
    let root = Path::Root;
    let path = root.field("spec");
    let Some(spec) = policy.get("spec") else { return errors.required(&path, "") };
    one_of(spec, "failurePolicy", FAILURE_POLICIES, &path, errors);
    let known: Vec<&'static str> =
        POLICY_NAMES.iter().copied().filter(|name| *name != "params" || spec.has("/paramKind")).collect();
    if spec.has("/paramKind") {
        let here = path.field("paramKind");
        for field in ["apiVersion", "kind"] {
            if spec.text(&format!("/paramKind/{field}")).is_empty() {
                errors.required(&here.field(field), "");
            }
        }
    }
    match spec.get("matchConstraints") {
        None | Some(Value::Null) => errors.required(&path.field("matchConstraints"), ""),
        Some(matcher) => {
            let here = path.field("matchConstraints");
            if matcher.list("/resourceRules").is_empty() {
                errors.required(&here.field("resourceRules"), "");
            }
            matching(matcher, &here, errors);
        }
    }
    // Conditions are asked before there are variables.
    let before: Vec<&'static str> = known.iter().copied().filter(|name| *name != "variables").collect();
    conditions(spec, &before, &path, errors);
    let list = path.field("variables");
    let mut defined = Vec::new();
    for (at, variable) in spec.list("/variables").iter().enumerate() {
        let (here, name) = (list.index(at), variable.text("/name"));
        if !is_identifier(name) {
            errors.invalid(&here.field("name"), name, "name is not a valid CEL identifier");
        }
        if spec.list("/variables")[..at].iter().any(|other| other.text("/name") == name) {
            errors.duplicate(&here.field("name"), name);
        }
        expression(variable.text("/expression"), (&known, &defined), &here.field("expression"), errors);
        defined.push(name);
    }
    let (validations, notes) = (spec.list("/validations"), spec.list("/auditAnnotations"));
    if validations.is_empty() && notes.is_empty() {
        let detail = "validations or auditAnnotations must be non-empty";
        errors.required(&path.field("validations"), detail);
    }
    let list = path.field("validations");
    for (at, one) in validations.iter().enumerate() {
        let here = list.index(at);
        expression(one.text("/expression"), (&known, &defined), &here.field("expression"), errors);
        if one.text("/message").contains(['\n', '\r']) {
            let detail = "message must not contain line breaks";
            errors.invalid(&here.field("message"), one.text("/message"), detail);
        }
        if one.text("/message").is_empty() && one.text("/expression").trim().contains('\n') {
            errors.required(
                &here.field("message"),
                "message must be specified if expression contains line breaks",
            );
        }
        if one.has("/messageExpression") {
            let (made, here) = (one.text("/messageExpression"), here.field("messageExpression"));
            expression(made, (&known, &defined), &here, errors);
        }
        one_of(one, "reason", REASONS, &here, errors);
    }
    let list = path.field("auditAnnotations");
    for (at, one) in notes.iter().enumerate() {
        let (here, key) = (list.index(at), one.text("/key"));
        for wrong in names::qualified_name(&format!("{}/{key}", policy.text("/metadata/name"))) {
            errors.invalid(&here.field("key"), key, &wrong);
        }
        if notes[..at].iter().any(|other| other.text("/key") == key) {
            errors.duplicate(&here.field("key"), key);
        }
        let (value, here) = (one.text("/valueExpression"), here.field("valueExpression"));
        expression(value, (&known, &defined), &here, errors);
    }
}

pub(super) fn validate_binding(binding: &Value, errors: &mut Errors) {
    let root = Path::Root;
    let path = root.field("spec");
    let Some(spec) = binding.get("spec") else { return errors.required(&path, "") };
    if spec.text("/policyName").is_empty() {
        errors.required(&path.field("policyName"), "");
    }
    let actions = path.field("validationActions");
    let given: Vec<&str> = spec.list("/validationActions").iter().filter_map(Value::as_str).collect();
    if given.is_empty() {
        errors.required(&actions, "at least one validation action is required");
    }
    for (at, action) in given.iter().enumerate() {
        if !ACTIONS.contains(action) {
            errors.not_supported(&actions.index(at), *action, ACTIONS);
        }
        if given[..at].contains(action) {
            errors.duplicate(&actions.index(at), *action);
        }
    }
    if given.contains(&"Deny") && given.contains(&"Warn") {
        let detail = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)";
        errors.invalid(&actions, json!(given), detail);
    }
    if let Some(given) = spec.get("paramRef").filter(|given| given.is_object()) {
        let here = path.field("paramRef");
        match (given.text("/name").is_empty(), given.has("/selector")) {
            (true, false) => errors.required(&here, "one of name or selector must be specified"),
            (false, true) => {
                errors.forbidden(&here.field("name"), "name and selector are mutually exclusive")
            }
            _ => {}
        }
        match given.text("/parameterNotFoundAction") {
            "" => errors.required(&here.field("parameterNotFoundAction"), ""),
            "Allow" | "Deny" => {}
            other => {
                errors.not_supported(&here.field("parameterNotFoundAction"), other, &["Allow", "Deny"]);
            }
        }
    }
    if let Some(matcher) = spec.get("matchResources") {
        matching(matcher, &path.field("matchResources"), errors);
    }
}

fn matching(matcher: &Value, path: &Path<'_>, errors: &mut Errors) {
    one_of(matcher, "matchPolicy", MATCH_POLICIES, path, errors);
    selectors(matcher, path, errors);
    for field in ["resourceRules", "excludeResourceRules"] {
        rules(matcher.list(&format!("/{field}")), &path.field(field), errors);
    }
}

fn is_identifier(name: &str) -> bool {
    name.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
