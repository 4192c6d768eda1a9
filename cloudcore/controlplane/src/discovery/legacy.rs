//! `/api`, `/apis`, `/apis/GROUP` and one resource list per group and version.

use serde_json::{Map, Value, json};

use super::groups;
use crate::registry::{Resource, Snapshot, Subresource};

/// `/api`. `address` is where clients reach the server, as `HOST:PORT`.
pub fn api_versions(address: &str) -> Value {
    json!({
        "kind": "APIVersions", "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    })
}

/// `/apis`
pub fn api_groups(snapshot: &Snapshot) -> Value {
    let groups: Vec<Value> = groups(snapshot)
        .into_iter()
        .map(|(group, versions)| Value::Object(describe(group, &versions)))
        .collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/GROUP`
pub fn api_group(snapshot: &Snapshot, group: &str) -> Option<Value> {
    let (_, versions) = groups(snapshot).into_iter().find(|(name, _)| *name == group)?;
    let mut out = Map::new();
    out.insert("kind".to_owned(), json!("APIGroup"));
    out.insert("apiVersion".to_owned(), json!("v1"));
    out.extend(describe(group, &versions));
    Some(Value::Object(out))
}

fn describe(group: &str, versions: &[&str]) -> Map<String, Value> {
    let entry = |version: &&str| json!({"groupVersion": format!("{group}/{version}"), "version": version});
    let mut out = Map::new();
    out.insert("name".to_owned(), json!(group));
    out.insert("versions".to_owned(), versions.iter().map(entry).collect());
    out.insert("preferredVersion".to_owned(), versions.first().map(entry).unwrap_or_default());
    out
}

/// `/api/v1` or `/apis/GROUP/VERSION`
pub fn resource_list(snapshot: &Snapshot, group: &str, version: &str) -> Option<Value> {
    let mut resources = Vec::new();
    let mut api_version = None;
    for resource in snapshot.resources.iter().filter(|one| one.group == group && one.version == version) {
        api_version = Some(resource.api_version());
        resources.push(entry(resource));
        resources.extend(resource.subresources.iter().map(|sub| sub_entry(resource, sub)));
    }
    let api_version = api_version?;
    Some(
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api_version, "resources": resources}),
    )
}

fn entry(resource: &Resource) -> Value {
    let mut out = json!({
        "name": resource.plural, "singularName": resource.singular, "namespaced": resource.namespaced,
        "kind": resource.kind, "verbs": resource.verbs,
    });
    if !resource.short_names.is_empty() {
        out["shortNames"] = json!(resource.short_names);
    }
    if !resource.categories.is_empty() {
        out["categories"] = json!(resource.categories);
    }
    out
}

fn sub_entry(resource: &Resource, sub: &Subresource) -> Value {
    let name = format!("{}/{}", resource.plural, sub.name);
    let mut out = json!({"name": name, "singularName": "", "namespaced": resource.namespaced});
    let (group, version, kind) = sub.body.unwrap_or(("", "", &resource.kind));
    if sub.body.is_some() && (group, version) != (&resource.group, &resource.version) {
        out["group"] = json!(group);
        out["version"] = json!(version);
    }
    out["kind"] = json!(kind);
    out["verbs"] = json!(sub.verbs);
    out
}
