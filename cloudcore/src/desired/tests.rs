use futures::FutureExt;
use serde_json::json;

use super::*;

fn node() -> NodeName {
    "edge1".parse().expect("a name")
}

fn object(kind: ResourceKind, name: &str, revision: u64) -> Arc<Object> {
    let value = json!({"metadata": {"name": name, "namespace": "default", "uid": name, "resourceVersion": revision.to_string()}});
    Arc::new(Object::from_api(kind, "v1", "Any", value).expect("well-formed"))
}

fn names(subscription: &Subscription) -> Vec<String> {
    let changes = subscription.changes().now_or_never().unwrap_or_default();
    let names = changes.into_iter().map(|change| match change {
        Change::Object(key, Some(object)) => format!("{}@{}", key.name, object.resource_version),
        Change::Object(key, None) => format!("-{}", key.name),
        Change::Again(key) => format!("again {}", key.name),
        Change::Synced(plane) => format!("{plane:?}"),
    });
    names.collect()
}

#[test]
fn a_subscriber_gets_what_is_there_in_the_order_an_edge_wants_it() {
    let desired = Desired::default();
    desired.put(&node(), object(ResourceKind::Pod, "web", 3));
    desired.put(&node(), object(ResourceKind::ConfigMap, "conf", 2));
    desired.put(&node(), object(ResourceKind::Node, "edge1", 1));
    desired.set_synced(Plane::Core);
    let subscription = desired.subscribe(&node());
    assert_eq!(names(&subscription), ["edge1@1", "conf@2", "web@3", "Core"]);
    assert!(names(&subscription).is_empty());
}

#[test]
fn a_slow_subscriber_sees_each_object_once_at_its_newest_version() {
    let desired = Desired::default();
    let subscription = desired.subscribe(&node());
    for revision in 1..1000 {
        desired.put(&node(), object(ResourceKind::Pod, "web", revision));
    }
    desired.put(&node(), object(ResourceKind::Pod, "db", 1));
    desired.remove(&node(), &ObjectKey::namespaced("default", ResourceKind::Pod, "db"));
    assert_eq!(names(&subscription), ["web@999", "-db"]);
}

#[test]
fn nothing_is_kept_for_a_node_that_has_nothing_and_is_not_there() {
    let desired = Desired::default();
    let key = object(ResourceKind::Pod, "web", 1).key.clone();
    let subscription = desired.subscribe(&node());
    desired.put(&node(), object(ResourceKind::Pod, "web", 1));
    desired.note_stored(&node(), &key, Some("web"));
    desired.remove(&node(), &key);
    desired.note_stored(&node(), &key, None);
    drop(subscription);
    assert!(desired.sets().nodes.is_empty());
}
