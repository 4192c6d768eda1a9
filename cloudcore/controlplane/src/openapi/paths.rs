//! The paths of a resource. kubectl looks here for a kind's URL and for the `fieldValidation` parameter.

use serde_json::{Map, Value, json};

use crate::registry::Resource;

/// The `x-kubernetes-group-version-kind` of a resource.
pub(super) fn kind(resource: &Resource) -> Value {
    json!({"group": resource.group, "version": resource.version, "kind": resource.kind})
}

pub(super) fn add(resource: &Resource, paths: &mut Map<String, Value>) {
    let root = if resource.group.is_empty() {
        format!("/api/{}", resource.version)
    } else {
        format!("/apis/{}/{}", resource.group, resource.version)
    };
    let (space, namespace) =
        if resource.namespaced { ("/namespaces/{namespace}", true) } else { ("", false) };
    let collection = format!("{root}{space}/{}", resource.plural);
    let item = format!("{collection}/{{name}}");
    let mut on_collection =
        operations(resource, &[("get", "list"), ("post", "create"), ("delete", "deletecollection")]);
    let mut on_item =
        operations(resource, &[("get", "get"), ("put", "update"), ("patch", "patch"), ("delete", "delete")]);
    let mut parameters = Vec::new();
    if namespace {
        parameters.push(path_parameter("namespace"));
        if resource.verbs.contains(&"list") {
            let all = operations(resource, &[("get", "list")]);
            paths.insert(format!("{root}/{}", resource.plural), Value::Object(all));
        }
        on_collection.insert("parameters".to_owned(), json!(parameters));
    }
    paths.insert(collection, Value::Object(on_collection));
    if on_item.is_empty() {
        return;
    }
    parameters.push(path_parameter("name"));
    on_item.insert("parameters".to_owned(), json!(parameters));
    paths.insert(item, Value::Object(on_item));
}

/// The operations whose verbs the resource has.
fn operations(resource: &Resource, wanted: &[(&str, &str)]) -> Map<String, Value> {
    let served = wanted.iter().filter(|(_, verb)| resource.verbs.contains(verb));
    served.map(|(method, verb)| ((*method).to_owned(), operation(resource, method, verb))).collect()
}

fn operation(resource: &Resource, method: &str, verb: &str) -> Value {
    let action = match verb {
        "create" => "post",
        "update" => "put",
        other => other,
    };
    let mut operation = json!({
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": kind(resource),
        "responses": {"200": {"description": "OK"}},
    });
    if matches!(method, "post" | "put" | "patch") {
        operation["parameters"] =
            ["dryRun", "fieldManager", "fieldValidation"].into_iter().map(query_parameter).collect();
    }
    operation
}

fn query_parameter(name: &str) -> Value {
    json!({"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": true}})
}

fn path_parameter(name: &str) -> Value {
    json!({"name": name, "in": "path", "required": true, "schema": {"type": "string", "uniqueItems": true}})
}
