//! Webhook configurations: what is left out, and what a good one looks like.

use serde_json::{Value, json};
use url::Url;

use super::{
    FAILURE_POLICIES, MATCH_POLICIES, WEBHOOK_NAMES, conditions, default_match, names, one_of, rules,
    selectors,
};
use crate::schema::{Errors, Json, Path};

const SIDE_EFFECTS: &[&str] = &["None", "NoneOnDryRun"];
const FORMAT: &str = "desired format: https://host[/path]";

pub(super) fn default(configuration: &mut Value) {
    let mutating = configuration.text("/kind") == "MutatingWebhookConfiguration";
    for webhook in configuration.list_mut("/webhooks") {
        webhook.default_to("failurePolicy", "Fail");
        webhook.default_to("timeoutSeconds", 10);
        default_match(webhook, &["/rules"]);
        if mutating {
            webhook.default_to("reinvocationPolicy", "Never");
        }
        if let Some(service) = webhook.pointer_mut("/clientConfig/service") {
            service.default_to("port", 443);
        }
    }
}

pub(super) fn validate(configuration: &Value, errors: &mut Errors) {
    let root = Path::Root;
    let list = root.field("webhooks");
    let webhooks = configuration.list("/webhooks");
    for (at, webhook) in webhooks.iter().enumerate() {
        let here = list.index(at);
        let name = webhook.text("/name");
        if webhooks[..at].iter().any(|other| other.text("/name") == name) {
            errors.duplicate(&here.field("name"), name);
        }
        name_of(name, &here.field("name"), errors);
        versions(webhook, &here, errors);
        one_of(webhook, "failurePolicy", FAILURE_POLICIES, &here, errors);
        one_of(webhook, "matchPolicy", MATCH_POLICIES, &here, errors);
        one_of(webhook, "reinvocationPolicy", &["IfNeeded", "Never"], &here, errors);
        match webhook.text("/sideEffects") {
            "" => errors.required(&here.field("sideEffects"), "must specify one of None, NoneOnDryRun"),
            known if SIDE_EFFECTS.contains(&known) => {}
            other => errors.not_supported(&here.field("sideEffects"), other, SIDE_EFFECTS),
        }
        if let Some(seconds) = webhook.int("/timeoutSeconds").filter(|seconds| !(1..=30).contains(seconds)) {
            let detail = "the timeout value must be between 1 and 30 seconds";
            errors.invalid(&here.field("timeoutSeconds"), seconds, detail);
        }
        selectors(webhook, &here, errors);
        rules(webhook.list("/rules"), &here.field("rules"), errors);
        client(webhook, &here.field("clientConfig"), errors);
        conditions(webhook, WEBHOOK_NAMES, &here, errors);
    }
}

fn name_of(name: &str, path: &Path<'_>, errors: &mut Errors) {
    if name.is_empty() {
        return errors.required(path, "");
    }
    for wrong in names::dns_subdomain(name) {
        errors.invalid(path, name, &wrong);
    }
    if name.split('.').count() < 3 {
        errors.invalid(path, name, "should be a domain with at least three segments separated by dots");
    }
}

/// This server speaks version 1 only.
fn versions(webhook: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (place, given) = (path.field("admissionReviewVersions"), webhook.list("/admissionReviewVersions"));
    if given.is_empty() {
        errors.required(&place, "must specify one of v1, v1beta1");
    } else if !given.iter().any(|one| one == "v1") {
        errors.invalid(&place, json!(given), "must include at least one of v1");
    }
}

fn client(webhook: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (url, service) = (webhook.text("/clientConfig/url"), webhook.pointer("/clientConfig/service"));
    match (webhook.has("/clientConfig/url"), service) {
        (true, None | Some(Value::Null)) => url_of(url, &path.field("url"), errors),
        (false, Some(service)) if service.is_object() => {
            let here = path.field("service");
            for field in ["name", "namespace"] {
                if service.text(&format!("/{field}")).is_empty() {
                    errors.required(&here.field(field), &format!("service {field} is required"));
                }
            }
            if let Some(port) = service.int("/port").filter(|port| !(1..=65535).contains(port)) {
                errors.invalid(
                    &here.field("port"),
                    port,
                    "port is not valid: must be between 1 and 65535, inclusive",
                );
            }
            let target = service.text("/path");
            if !target.is_empty() && !target.starts_with('/') {
                errors.invalid(&here.field("path"), target, "must start with a '/'");
            }
        }
        _ => errors.required(path, "exactly one of url or service is required"),
    }
}

fn url_of(text: &str, path: &Path<'_>, errors: &mut Errors) {
    let url = match Url::parse(text) {
        Ok(url) => url,
        Err(error) => {
            let detail = format!("url must be a valid URL: {error}; {FORMAT}");
            return errors.required(path, &detail);
        }
    };
    let mut wrong = |found: &str, detail: &str| errors.invalid(path, found, &format!("{detail}; {FORMAT}"));
    if url.scheme() != "https" {
        wrong(url.scheme(), "'https' is the only allowed URL scheme");
    }
    if url.host_str().unwrap_or_default().is_empty() {
        wrong("", "host must be specified");
    }
    if !url.username().is_empty() || url.password().is_some() {
        wrong(url.username(), "user information is not permitted in the URL");
    }
    if let Some(fragment) = url.fragment() {
        wrong(fragment, "fragments are not permitted in the URL");
    }
    if let Some(query) = url.query() {
        wrong(query, "query parameters are not permitted in the URL");
    }
}
