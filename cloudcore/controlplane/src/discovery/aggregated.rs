//! `apidiscovery.k8s.io`: everything in one document.

use std::sync::Arc;

use serde_json::{Value, json};

use super::groups;
use crate::registry::{Resource, Snapshot, Subresource};

/// The `APIGroupDiscoveryList` of `/api` (the core group alone) or `/apis` (all the others). `version` is the one that the client
/// asked for, `v2` or `v2beta1`: the bodies are the same.
pub fn aggregated(snapshot: &Snapshot, core: bool, version: &str) -> Value {
    let served = if core { vec![("", vec!["v1"])] } else { groups(snapshot) };
    let items: Vec<Value> =
        served.into_iter().map(|(group, versions)| describe(snapshot, group, &versions)).collect();
    json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": format!("apidiscovery.k8s.io/{version}"),
        "metadata": {}, "items": items,
    })
}

fn describe(snapshot: &Snapshot, group: &str, versions: &[&str]) -> Value {
    let versions: Vec<Value> = versions
        .iter()
        .map(|version| {
            let all = snapshot.resources.iter();
            let resources: Vec<Value> =
                all.filter(|one| one.group == group && one.version == *version).map(entry).collect();
            json!({"version": version, "freshness": "Current", "resources": resources})
        })
        .collect();
    let metadata = if group.is_empty() { json!({}) } else { json!({"name": group}) };
    json!({"metadata": metadata, "versions": versions})
}

fn entry(resource: &Arc<Resource>) -> Value {
    let mut out = json!({
        "resource": resource.plural,
        "responseKind": {"group": "", "version": "", "kind": resource.kind},
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": resource.singular,
        "verbs": resource.verbs,
    });
    if !resource.short_names.is_empty() {
        out["shortNames"] = json!(resource.short_names);
    }
    if !resource.categories.is_empty() {
        out["categories"] = json!(resource.categories);
    }
    if !resource.subresources.is_empty() {
        out["subresources"] = resource.subresources.iter().map(|sub| sub_entry(resource, sub)).collect();
    }
    out
}

fn sub_entry(resource: &Resource, sub: &Subresource) -> Value {
    let (mut group, mut version, kind) = sub.body.unwrap_or(("", "", &resource.kind));
    if (group, version) == (&resource.group, &resource.version) {
        (group, version) = ("", "");
    }
    json!({
        "subresource": sub.name,
        "responseKind": {"group": group, "version": version, "kind": kind},
        "verbs": sub.verbs,
    })
}
