use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::registry::Registry;

fn crd(description: &str) -> Value {
    json!({"metadata": {"name": "widgets.example.com"}, "spec": {"group": "example.com", "scope": "Namespaced",
        "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object",
            "properties": {"spec": {"type": "object", "description": description}}}}}]}})
}

#[test]
fn every_served_group_version_has_a_document() {
    let registry = Registry::new();
    registry.install_crd(&crd("a"), Timestamp::UNIX_EPOCH);
    let snapshot = registry.snapshot();
    let index = index(&snapshot);
    let paths = index["paths"].as_object().unwrap();
    assert!(
        paths.contains_key("api/v1")
            && paths.contains_key("apis/apps/v1")
            && paths.contains_key("apis/example.com/v1")
    );
    for path in paths.keys() {
        let mut parts = path.trim_start_matches("apis/").trim_start_matches("api/").rsplit('/');
        let (version, group) = (parts.next().unwrap(), parts.next().unwrap_or_default());
        assert!(document(&snapshot, group, version).is_some(), "{path}");
    }
    assert!(document(&snapshot, "nope", "v1").is_none());
}

#[test]
fn a_document_has_what_kubectl_looks_for() {
    let document = document(&Registry::new().snapshot(), "apps", "v1").unwrap();
    let patch = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    assert_eq!(
        patch["x-kubernetes-group-version-kind"],
        json!({"group": "apps", "version": "v1", "kind": "Deployment"})
    );
    assert!(patch["parameters"].as_array().unwrap().iter().any(|one| one["name"] == "fieldValidation"));
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let deployment = &schemas["io.k8s.api.apps.v1.Deployment"];
    assert_eq!(deployment["x-kubernetes-group-version-kind"][0]["kind"], "Deployment");
    assert!(deployment["properties"]["spec"]["description"].is_string());
}

#[test]
fn every_reference_leads_somewhere() {
    let registry = Registry::new();
    registry.install_crd(&crd("a"), Timestamp::UNIX_EPOCH);
    for (group, version) in
        [("", "v1"), ("apps", "v1"), ("example.com", "v1"), ("apiextensions.k8s.io", "v1")]
    {
        let document = document(&registry.snapshot(), group, version).unwrap();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        let mut stack = vec![&document];
        while let Some(value) = stack.pop() {
            match value {
                Value::Object(map) => {
                    if let Some(reference) = map.get("$ref").and_then(Value::as_str) {
                        let name = reference.strip_prefix("#/components/schemas/").unwrap();
                        assert!(schemas.contains_key(name), "{reference}");
                    }
                    stack.extend(map.values());
                }
                Value::Array(items) => stack.extend(items),
                _ => {}
            }
        }
    }
}

#[test]
fn the_hash_changes_with_a_definition_and_with_nothing_else() {
    let registry = Registry::new();
    let of = || {
        let index = index(&registry.snapshot());
        let url = |path: &str| index["paths"][path]["serverRelativeURL"].as_str().unwrap().to_owned();
        (url("api/v1"), url("apis/example.com/v1"))
    };
    registry.install_crd(&crd("a"), Timestamp::UNIX_EPOCH);
    let first = of();
    registry.install_crd(&crd("a"), Timestamp::UNIX_EPOCH);
    assert_eq!(of(), first);
    registry.install_crd(&crd("b"), Timestamp::UNIX_EPOCH);
    assert_eq!(of().0, first.0);
    assert_ne!(of().1, first.1);
}
