use jiff::Timestamp;
use prost::Message;
use serde_json::{Value, json};

use super::*;
use crate::registry::Registry;

fn registry() -> Registry {
    let registry = Registry::new();
    let crd = json!({"metadata": {"name": "widgets.example.com"}, "spec": {"group": "example.com", "scope": "Namespaced",
        "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object", "properties": {
            "spec": {"type": "object", "required": ["a", "b"], "properties": {
                "a": {"type": "string", "nullable": true}, "b": {"type": "integer", "minimum": 1},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                "port": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]}}}}}}}]}});
    registry.install_crd(&crd, Timestamp::UNIX_EPOCH);
    registry
}

fn parsed(registry: &Registry) -> Value {
    serde_json::from_slice(&document(&registry.snapshot(), Form::Json)).unwrap()
}

#[test]
fn every_reference_leads_somewhere_and_nothing_is_said_that_version_2_cannot_say() {
    let document = parsed(&registry());
    let definitions = document["definitions"].as_object().unwrap();
    let mut stack: Vec<&Value> = definitions.values().collect();
    while let Some(schema) = stack.pop() {
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            assert!(
                definitions.contains_key(reference.strip_prefix("#/definitions/").unwrap()),
                "{reference}"
            );
            assert!(schema.get("type").is_none(), "{schema}");
        }
        for keyword in ["allOf", "oneOf", "anyOf", "nullable"] {
            assert!(schema.get(keyword).is_none(), "{schema}");
        }
        stack.extend(schema.get("items"));
        stack.extend(schema.get("additionalProperties"));
        stack.extend(
            schema.get("properties").and_then(Value::as_object).into_iter().flat_map(|all| all.values()),
        );
    }
}

#[test]
fn kinds_merge_keys_and_parameters_are_there_for_kubectl() {
    let document = parsed(&registry());
    let definitions = &document["definitions"];
    let deployment = &definitions["io.k8s.api.apps.v1.Deployment"];
    assert_eq!(
        deployment["x-kubernetes-group-version-kind"],
        json!([{"group": "apps", "version": "v1", "kind": "Deployment"}])
    );
    // It is first met inside stateful sets.
    assert!(
        definitions["io.k8s.api.core.v1.PersistentVolumeClaim"]["x-kubernetes-group-version-kind"].is_array()
    );
    let containers = &definitions["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
    assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
    assert_eq!(containers["x-kubernetes-patch-strategy"], "merge");
    let patch = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    let names: Vec<_> =
        patch["parameters"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"dryRun") && names.contains(&"fieldValidation"), "{names:?}");
    assert_eq!(patch["parameters"][0]["type"], "string");
}

#[test]
fn a_custom_kind_is_never_stricter_for_old_clients_than_it_is() {
    let document = parsed(&registry());
    let spec = &document["definitions"]["com.example.v1.Widget"]["properties"]["spec"];
    assert_eq!(spec["required"], json!(["b"]));
    assert!(spec["properties"]["a"].get("type").is_none());
    assert!(spec["properties"]["free"].get("type").is_none());
    assert!(spec["properties"]["port"].get("type").is_none());
    assert_eq!(spec["properties"]["b"]["type"], "integer");
}

#[test]
fn both_forms_hold_the_same_definitions_and_paths() {
    let registry = registry();
    let json = parsed(&registry);
    let bytes = document(&registry.snapshot(), Form::Protobuf);
    let message = wire::Document::decode(bytes.as_slice()).unwrap();
    assert_eq!(message.swagger, "2.0");
    let names: Vec<&String> =
        message.definitions.as_ref().unwrap().additional_properties.iter().map(|one| &one.name).collect();
    assert_eq!(names, json["definitions"].as_object().unwrap().keys().collect::<Vec<_>>());
    let paths: Vec<&String> = message.paths.as_ref().unwrap().path.iter().map(|one| &one.name).collect();
    assert_eq!(paths, json["paths"].as_object().unwrap().keys().collect::<Vec<_>>());
    let pod = message.definitions.unwrap().additional_properties;
    let pod = pod.iter().find(|one| one.name == "io.k8s.api.core.v1.Pod").unwrap().value.clone().unwrap();
    assert_eq!(
        pod.vendor_extension[0].value.as_ref().unwrap().yaml,
        r#"[{"group":"","kind":"Pod","version":"v1"}]"#
            .replace(r#""kind":"Pod","version":"v1""#, r#""version":"v1","kind":"Pod""#)
    );
}
