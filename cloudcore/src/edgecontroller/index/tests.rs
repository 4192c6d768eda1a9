use serde_json::json;

use super::*;

fn node(name: &str) -> NodeName {
    name.parse().expect("a name")
}

fn node_object(name: &str) -> Object {
    let value = json!({"metadata": {"name": name, "uid": name, "resourceVersion": "1"}});
    Object::from_api(ResourceKind::Node, "v1", "Node", value).expect("well-formed")
}

fn config_map(name: &str, revision: u64) -> Object {
    let value = json!({"metadata": {"name": name, "namespace": "d", "uid": name, "resourceVersion": revision.to_string()}});
    Object::from_api(ResourceKind::ConfigMap, "v1", "ConfigMap", value).expect("well-formed")
}

fn config_key(name: &str) -> ObjectKey {
    ObjectKey::namespaced("d", ResourceKind::ConfigMap, name)
}

fn apply_pod(index: &mut Index, name: &str, at: &str, revision: u64, config: &str) -> Vec<String> {
    let spec = json!({"nodeName": at, "volumes": [{"configMap": {"name": config}}]});
    let value = json!({
        "metadata": {"name": name, "namespace": "d", "uid": name, "resourceVersion": revision.to_string()},
        "spec": spec,
    });
    let object = Object::from_api(ResourceKind::Pod, "v1", "Pod", value).expect("well-formed");
    told(index.applied_pod(object, &spec))
}

fn told(effects: Vec<Effect>) -> Vec<String> {
    let told = effects.into_iter().map(|effect| match effect {
        Effect::Put(node, object) => format!("{node}+{}@{}", object.key.name, object.resource_version),
        Effect::Remove(node, key) => format!("{node}-{}", key.name),
        Effect::Fetch(key) => format!("fetch {}", key.name),
        Effect::ListPods(node) => format!("list {node}"),
        Effect::NodeGone(node) => format!("gone {node}"),
    });
    told.collect()
}

fn index() -> Index {
    let mut index = Index::default();
    for name in ["n1", "n2"] {
        index.applied_node(node(name), true, node_object(name));
        index.listed_pods(&node(name));
    }
    index
}

#[test]
fn a_pod_brings_what_it_uses_and_takes_it_away_again() {
    let mut index = index();
    assert_eq!(apply_pod(&mut index, "web", "n1", 5, "conf"), ["fetch conf", "n1+web@5"]);
    assert_eq!(told(index.fetched(Some(config_map("conf", 3)))), ["n1+conf@3"]);
    assert!(index.uses(&node("n1"), &config_key("conf")));
    assert!(!index.uses(&node("n2"), &config_key("conf")));
    assert_eq!(told(index.deleted_pod("d", "web", "web")), ["n1-web", "n1-conf"]);
    assert!(!index.uses(&node("n1"), &config_key("conf")));
}

#[test]
fn what_another_pod_on_the_node_still_uses_stays() {
    let mut index = index();
    apply_pod(&mut index, "a", "n1", 5, "conf");
    index.fetched(Some(config_map("conf", 3)));
    assert_eq!(apply_pod(&mut index, "b", "n1", 6, "conf"), ["n1+b@6"]);
    assert_eq!(told(index.deleted_pod("d", "a", "a")), ["n1-a"]);
    assert_eq!(told(index.deleted_pod("d", "b", "b")), ["n1-b", "n1-conf"]);
}

#[test]
fn an_update_that_keeps_a_reference_does_not_take_the_object_away_in_between() {
    let mut index = index();
    apply_pod(&mut index, "web", "n1", 5, "conf");
    index.fetched(Some(config_map("conf", 3)));
    assert_eq!(apply_pod(&mut index, "web", "n1", 6, "conf"), ["n1+web@6"]);
    assert_eq!(apply_pod(&mut index, "web", "n1", 7, "other"), ["fetch other", "n1+web@7", "n1-conf"]);
}

#[test]
fn the_newer_of_a_fetch_and_a_watch_event_wins() {
    let mut index = index();
    apply_pod(&mut index, "web", "n1", 5, "conf");
    assert_eq!(told(index.applied(config_map("conf", 9))), ["n1+conf@9"]);
    assert!(told(index.fetched(Some(config_map("conf", 8)))).is_empty());
    assert_eq!(told(index.deleted(&config_key("conf"), 12)), ["n1-conf"]);
    assert!(told(index.fetched(Some(config_map("conf", 11)))).is_empty(), "it was deleted after that read");
}

#[test]
fn pods_of_other_nodes_and_config_maps_that_nobody_uses_are_not_kept() {
    let mut index = index();
    assert!(apply_pod(&mut index, "web", "server", 5, "conf").is_empty());
    assert!(index.applied(config_map("conf", 3)).is_empty());
    assert_eq!(index.size(), (2, 0));
}

#[test]
fn a_node_that_becomes_an_edge_node_gets_the_pods_that_it_already_had() {
    let mut index = Index::default();
    assert!(told(index.applied_node(node("n1"), false, node_object("n1"))).is_empty());
    assert_eq!(
        told(index.applied_node(node("n1"), true, node_object("n1"))),
        ["list n1", "n1+edge1@1".replace("edge1", "n1").as_str()]
    );
    index.deleted_pod("d", "late", "late");
    assert!(
        apply_pod(&mut index, "late", "n1", 2, "conf").is_empty(),
        "it was deleted while the list was under way"
    );
    assert_eq!(apply_pod(&mut index, "web", "n1", 2, "conf"), ["fetch conf", "n1+web@2"]);
}

#[test]
fn a_deleted_node_takes_everything_along() {
    let mut index = index();
    apply_pod(&mut index, "web", "n1", 5, "conf");
    index.fetched(Some(config_map("conf", 3)));
    assert_eq!(told(index.deleted_node(&node("n1"))), ["n1-n1", "n1-web", "n1-conf", "gone n1"]);
    assert_eq!(index.size(), (1, 0));
}

#[test]
fn a_token_is_only_for_the_account_of_a_pod_on_the_node() {
    let mut index = index();
    apply_pod(&mut index, "web", "n1", 5, "conf");
    assert!(index.runs_as(&node("n1"), "d", "default", None));
    assert!(index.runs_as(&node("n1"), "d", "default", Some(("web", "web"))));
    assert!(!index.runs_as(&node("n1"), "d", "default", Some(("web", "other-uid"))));
    assert!(!index.runs_as(&node("n1"), "d", "admin", None));
    assert!(!index.runs_as(&node("n2"), "d", "default", None));
}
