//! The group `apiextensions.k8s.io`: definitions of custom resources, and what a good one looks like. `versions` has the rules for
//! each version.

mod versions;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Value, json};

use super::descriptor::{Descriptor, STATUS};
use super::names;
use crate::schema::{Errors, Json, Path};
use crate::table;

pub(super) const KINDS: &[Descriptor] = &[Descriptor {
    short_names: &["crd", "crds"],
    categories: &["api-extensions"],
    subresources: &[STATUS],
    generations: true,
    unconditional_update: false,
    default,
    validate,
    validate_update,
    printer: table::NAME_AND_CREATED_AT,
    ..Descriptor::of::<CustomResourceDefinition>()
}];

const APPROVED: &str = "api-approved.kubernetes.io";

fn default(crd: &mut Value) {
    let Some(spec) = crd.child("spec") else { return };
    if let Some(names) = spec.child("names") {
        let kind = names.text("/kind").to_owned();
        if !kind.is_empty() {
            names.default_to("singular", kind.to_lowercase());
            names.default_to("listKind", format!("{kind}List"));
        }
    }
    spec.default_to("conversion", json!({"strategy": "None"}));
}

fn validate(crd: &Value, errors: &mut Errors) {
    let root = Path::Root;
    let meta = root.field("metadata");
    let spec = root.field("spec");
    let group = crd.text("/spec/group");
    if crd.text("/metadata/name") != format!("{}.{group}", crd.text("/spec/names/plural")) {
        let detail = r#"must be spec.names.plural+"."+spec.group"#;
        errors.invalid(&meta.field("name"), crd.text("/metadata/name"), detail);
    }
    if group.is_empty() {
        errors.required(&spec.field("group"), "");
    } else {
        for wrong in names::dns_subdomain(group) {
            errors.invalid(&spec.field("group"), group, &wrong);
        }
        if !group.contains('.') {
            errors.invalid(&spec.field("group"), group, "should be a domain with at least one dot");
        }
    }
    let protected = group.ends_with(".k8s.io") || group.ends_with(".kubernetes.io");
    if protected && !crd.object("/metadata/annotations").is_some_and(|all| all.contains_key(APPROVED)) {
        let annotations = meta.field("annotations");
        let detail = "protected groups must have approval annotation \"api-approved.kubernetes.io\", see https://github.com/kubernetes/enhancements/pull/1111";
        errors.required(&annotations.key(APPROVED), detail);
    }
    match crd.text("/spec/scope") {
        "" => errors.required(&spec.field("scope"), ""),
        "Cluster" | "Namespaced" => {}
        other => errors.not_supported(&spec.field("scope"), other, &["Cluster", "Namespaced"]),
    }
    if crd.flag("/spec/preserveUnknownFields") {
        errors.invalid(&spec.field("preserveUnknownFields"), true, "must be false");
    }
    validate_names(crd, &spec.field("names"), errors);
    versions::validate(crd, &spec.field("versions"), errors);
    conversion(crd, &spec.field("conversion"), errors);
}

/// Versions differ in their `apiVersion` alone. A webhook would have to be asked with every read.
fn conversion(crd: &Value, path: &Path<'_>, errors: &mut Errors) {
    match crd.text("/spec/conversion/strategy") {
        "" => errors.required(&path.field("strategy"), ""),
        "None" if crd.has("/spec/conversion/webhook") => {
            errors.forbidden(&path.field("webhook"), "should not be set when strategy is not set to Webhook");
        }
        "None" => {}
        "Webhook" => {
            let detail = "conversion webhooks are not supported by this server: use None, and versions that differ in what they leave out";
            errors.invalid(&path.field("strategy"), "Webhook", detail);
        }
        other => errors.not_supported(&path.field("strategy"), other, &["None", "Webhook"]),
    }
}

fn validate_names(crd: &Value, path: &Path<'_>, errors: &mut Errors) {
    let name = |field: &str| {
        crd.pointer("/spec/names").and_then(|all| all.get(field)).and_then(Value::as_str).unwrap_or_default()
    };
    for field in ["plural", "singular"] {
        if name(field).is_empty() {
            errors.required(&path.field(field), "");
            continue;
        }
        for wrong in names::dns_1035_label(name(field)) {
            errors.invalid(&path.field(field), name(field), &wrong);
        }
    }
    for field in ["kind", "listKind"] {
        if name(field).is_empty() {
            errors.required(&path.field(field), "");
            continue;
        }
        for wrong in names::dns_1035_label(&name(field).to_lowercase()) {
            let detail = format!("may have mixed case, but should otherwise match: {wrong}");
            errors.invalid(&path.field(field), name(field), &detail);
        }
    }
    if !name("kind").is_empty() && name("kind") == name("listKind") {
        errors.invalid(&path.field("listKind"), name("listKind"), "kind and listKind may not be the same");
    }
    for list in ["shortNames", "categories"] {
        let all = path.field(list);
        let given = crd.pointer("/spec/names").and_then(|names| names.get(list)).and_then(Value::as_array);
        for (index, short) in given.into_iter().flatten().enumerate() {
            let short = short.as_str().unwrap_or_default();
            for wrong in names::dns_1035_label(short) {
                errors.invalid(&all.index(index), short, &wrong);
            }
        }
    }
}

fn validate_update(old: &Value, new: &Value, errors: &mut Errors) {
    let root = Path::Root;
    let spec = root.field("spec");
    let established = old
        .list("/status/conditions")
        .iter()
        .any(|one| one.text("/type") == "Established" && one.text("/status") == "True");
    let names = spec.field("names");
    // Objects are stored under the first two, and clients know the others once the kind is served.
    for (path, pointer, always) in [
        (spec.field("group"), "/spec/group", true),
        (names.field("plural"), "/spec/names/plural", true),
        (spec.field("scope"), "/spec/scope", false),
        (names.field("kind"), "/spec/names/kind", false),
    ] {
        if (always || established) && old.text(pointer) != new.text(pointer) {
            errors.invalid(&path, new.text(pointer), "field is immutable");
        }
    }
    let status = root.field("status");
    let stored = status.field("storedVersions");
    for (index, version) in new.list("/status/storedVersions").iter().enumerate() {
        let known = new.list("/spec/versions").iter().any(|one| one.get("name") == Some(version));
        if !known {
            errors.invalid(&stored.index(index), version.clone(), "missing from spec.versions; v1 was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in v1 and removes v1 from status.storedVersions".replace("v1", version.as_str().unwrap_or_default()).as_str());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crd(version: Value) -> Value {
        let mut crd = json!({"metadata": {"name": "widgets.example.com"}, "spec": {"group": "example.com", "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget"}, "versions": [version]}});
        default(&mut crd);
        crd
    }

    fn wrong(crd: &Value) -> Vec<String> {
        let mut errors = Errors::default();
        validate(crd, &mut errors);
        errors.into_vec().iter().map(ToString::to_string).collect()
    }

    fn good() -> Value {
        json!({"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}})
    }

    #[test]
    fn names_are_filled_in() {
        let crd = crd(good());
        assert_eq!(crd["spec"]["names"]["singular"], "widget");
        assert_eq!(crd["spec"]["names"]["listKind"], "WidgetList");
        assert!(wrong(&crd).is_empty(), "{:?}", wrong(&crd));
    }

    #[test]
    fn a_bad_definition_is_refused_with_kubernetes_words() {
        let mut other = crd(good());
        other["metadata"]["name"] = json!("gadgets.example.com");
        assert_eq!(
            wrong(&other),
            [
                r#"metadata.name: Invalid value: "gadgets.example.com": must be spec.names.plural+"."+spec.group"#
            ]
        );
        let bare = crd(json!({"name": "v1", "served": true, "storage": true}));
        assert_eq!(
            wrong(&bare),
            ["spec.versions[0].schema.openAPIV3Schema: Required value: schemas are required"]
        );
        let mut unstored = good();
        unstored["storage"] = json!(false);
        assert_eq!(
            wrong(&crd(unstored)),
            [
                "spec.versions: Invalid value: [\"v1\"]: must have exactly one version marked as storage version"
            ]
        );
    }
}
