use serde_json::{Value, json};

use super::*;
use crate::registry::Registry;

#[test]
fn the_legacy_list_names_subresources_and_their_kinds() {
    let snapshot = Registry::new().snapshot();
    let list = resource_list(&snapshot, "apps", "v1").unwrap();
    assert_eq!(list["groupVersion"], "apps/v1");
    let named = |name: &str| {
        let all = list["resources"].as_array().unwrap();
        all.iter().find(|one| one["name"] == name).cloned().unwrap_or_default()
    };
    assert_eq!(
        named("deployments"),
        json!({"name": "deployments", "singularName": "deployment", "namespaced": true, "kind": "Deployment",
            "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
            "shortNames": ["deploy"], "categories": ["all"]})
    );
    assert_eq!(
        named("deployments/scale"),
        json!({"name": "deployments/scale", "singularName": "", "namespaced": true, "group": "autoscaling", "version": "v1",
            "kind": "Scale", "verbs": ["get", "patch", "update"]})
    );
    assert!(resource_list(&snapshot, "apps", "v2").is_none());
}

#[test]
fn the_aggregated_document_has_every_group_with_its_resources() {
    let snapshot = Registry::new().snapshot();
    let core = aggregated(&snapshot, true, "v2");
    assert_eq!(core["apiVersion"], "apidiscovery.k8s.io/v2");
    assert_eq!(core["items"].as_array().unwrap().len(), 1);
    assert_eq!(core["items"][0]["metadata"], json!({}));
    let apis = aggregated(&snapshot, false, "v2beta1");
    let apps: Vec<&Value> =
        apis["items"].as_array().unwrap().iter().filter(|one| one["metadata"]["name"] == "apps").collect();
    assert_eq!(apps.len(), 1);
    let resources = apps[0]["versions"][0]["resources"].as_array().unwrap();
    let deployment = resources.iter().find(|one| one["resource"] == "deployments").unwrap();
    assert_eq!(deployment["responseKind"], json!({"group": "", "version": "", "kind": "Deployment"}));
    assert_eq!(
        deployment["subresources"][0]["responseKind"],
        json!({"group": "autoscaling", "version": "v1", "kind": "Scale"})
    );
}

#[test]
fn a_group_lists_its_versions_and_the_preferred_one() {
    let snapshot = Registry::new().snapshot();
    let groups = api_groups(&snapshot);
    let apps = groups["groups"].as_array().unwrap().iter().find(|one| one["name"] == "apps").unwrap();
    assert_eq!(apps["preferredVersion"], json!({"groupVersion": "apps/v1", "version": "v1"}));
    assert_eq!(api_group(&snapshot, "apps").unwrap()["kind"], "APIGroup");
    assert!(api_group(&snapshot, "nope").is_none());
}
