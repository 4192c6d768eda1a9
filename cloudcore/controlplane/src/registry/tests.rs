use serde_json::{Value, json};

use super::*;

fn resource(group: &str, plural: &str) -> Arc<Resource> {
    Registry::new().resolve(group, "v1", plural).unwrap()
}

fn deployment(replicas: i64) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {"replicas": replicas,
        "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "x"}]}}}})
}

#[test]
fn every_descriptor_finds_its_type() {
    let registry = Registry::new();
    assert_eq!(registry.snapshot().resources.len(), descriptors().count());
}

#[test]
fn a_resource_is_found_by_its_url_and_by_its_kind() {
    let registry = Registry::new();
    let pods = registry.resolve("", "v1", "pods").unwrap();
    assert_eq!((pods.kind.as_str(), pods.list_kind.as_str(), pods.namespaced), ("Pod", "PodList", true));
    assert!(registry.resolve("", "v1", "deployments").is_none());
    assert_eq!(registry.resolve_kind("apps", "v1", "Deployment").unwrap().plural, "deployments");
}

#[test]
fn what_a_client_says_about_the_status_of_a_new_deployment_is_ignored() {
    let deployments = resource("apps", "deployments");
    let mut object = deployment(1);
    object["status"] = json!({"replicas": 7});
    deployments.prepare_create(&mut object);
    deployments.default(&mut object);
    assert_eq!(object["status"], json!({}));
    assert_eq!(object["metadata"]["generation"], 1);
    assert!(deployments.validate_create(&object).is_empty());
}

#[test]
fn the_generation_counts_changes_of_the_spec_and_nothing_else() {
    let deployments = resource("apps", "deployments");
    let mut old = deployment(1);
    deployments.prepare_create(&mut old);
    deployments.default(&mut old);

    let generation = |mut new: Value| {
        deployments.prepare_update(&old, &mut new);
        new["metadata"]["generation"].clone()
    };
    assert_eq!(generation(deployment(1)), 1, "the same manifest again, without its defaults");
    assert_eq!(generation(deployment(2)), 2);
    let mut labelled = old.clone();
    labelled["metadata"]["labels"] = json!({"x": "y"});
    assert_eq!(generation(labelled), 1);

    let mut status = old.clone();
    status["status"] = json!({"replicas": 1});
    status["spec"]["replicas"] = json!(9);
    deployments.prepare_status_update(&old, &mut status);
    assert_eq!(status["metadata"]["generation"], 1);
    assert_eq!((&status["spec"], &status["status"]), (&old["spec"], &json!({"replicas": 1})));
}

#[test]
fn a_plain_update_keeps_the_status() {
    let pods = resource("", "pods");
    let mut old = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "x"}]}});
    pods.prepare_create(&mut old);
    old["status"]["phase"] = json!("Running");
    let mut new = old.clone();
    new["status"] = json!({"phase": "Failed"});
    pods.prepare_update(&old, &mut new);
    assert_eq!(new["status"]["phase"], "Running");
}

#[test]
fn a_node_registers_with_its_status_and_everything_it_has_is_allocatable() {
    let nodes = resource("", "nodes");
    let mut node = json!({"metadata": {"name": "n"}, "status": {"capacity": {"cpu": "2"}}});
    nodes.prepare_create(&mut node);
    nodes.default(&mut node);
    assert_eq!(node["status"]["allocatable"], json!({"cpu": "2"}));
    assert!(node["metadata"].get("generation").is_none());
    let mut later = node.clone();
    later["status"] = json!({"capacity": {"cpu": "4"}});
    nodes.prepare_status_update(&node, &mut later);
    assert_eq!(later["status"]["allocatable"], json!({"cpu": "4"}));
}

#[test]
fn a_lease_is_never_overwritten_blindly() {
    let leases = resource("coordination.k8s.io", "leases");
    let lease = json!({"metadata": {"name": "l"}, "spec": {}});
    let wrong = leases.validate_update(&lease, &lease);
    assert_eq!(
        wrong[0].to_string(),
        "metadata.resourceVersion: Invalid value: 0: must be specified for an update"
    );
    let mut versioned = lease.clone();
    versioned["metadata"]["resourceVersion"] = json!("7");
    assert!(leases.validate_update(&lease, &versioned).is_empty());
}

#[test]
fn every_kind_survives_an_empty_object_in_every_step() {
    for resource in &Registry::new().snapshot().resources {
        for object in
            [json!({}), json!({"metadata": {}, "spec": {}, "status": {}}), json!({"spec": [], "metadata": 3})]
        {
            let mut new = object.clone();
            let _ = resource.decode(&mut new);
            resource.prepare_create(&mut new);
            resource.default(&mut new);
            resource.validate_create(&new);
            let mut update = object.clone();
            resource.prepare_update(&new, &mut update);
            resource.validate_update(&new, &update);
            resource.prepare_status_update(&new, &mut update);
            resource.validate_status_update(&new, &update);
            resource.to_stored(&mut update);
            resource.from_stored(&mut update);
        }
    }
}

#[test]
fn another_process_at_the_same_address_never_serves_what_looks_unchanged() {
    let tag = || Registry::new().snapshot().generation;
    assert_ne!(tag(), tag());
}
