//! Patches: what each kind of them means.

use serde_json::{Value, json};

use crate::support::{Cluster, expect};
use crate::{MAPS, map};

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

async fn strategic(cluster: &Cluster, patch: Value) -> Value {
    let path = format!("{DEPLOYMENTS}/d");
    expect(cluster.patch("strategic-merge-patch+json", &path, patch), 200).await
}

fn of_pods(spec: Value) -> Value {
    json!({"spec": {"template": {"spec": spec}}})
}

/// The names in a list of the pods' template.
fn names(deployment: &Value, list: &str) -> String {
    let list = deployment["spec"]["template"]["spec"][list].as_array().cloned().unwrap_or_default();
    list.iter().map(|one| one["name"].as_str().unwrap()).collect::<Vec<_>>().join(" ")
}

async fn deployment(cluster: &Cluster) -> Value {
    let made = json!({"metadata": {"name": "d", "finalizers": ["x.io/f", "x.io/g"]}, "spec": {
    "selector": {"matchLabels": {"a": "b"}},
    "template": {"metadata": {"labels": {"a": "b"}}, "spec": {
        "containers": [{"name": "a", "image": "i:1"}, {"name": "b", "image": "i:1"}],
        "volumes": [{"name": "v", "configMap": {"name": "m"}}],
        "tolerations": [{"key": "k", "operator": "Exists"}],
    }}}});
    expect(cluster.call("POST", DEPLOYMENTS, made), 201).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_json_patch_tests_for_what_is_not_there_with_null() {
    let cluster = Cluster::start().await;
    expect(cluster.call("POST", MAPS, map("m", json!({}))), 201).await;
    let path = format!("{MAPS}/m");
    let patch = |operations: Value| cluster.patch("json-patch+json", &path, operations);
    let finalizers = "/metadata/finalizers";
    // As the finalizers of kube-rs begin and end.
    let first = json!([{"op": "test", "path": finalizers, "value": null}, {"op": "add", "path": finalizers, "value": ["x.io/a"]}]);
    expect(patch(first.clone()), 200).await;
    let again = expect(patch(first), 422).await;
    assert_eq!(
        (&again["reason"], &again["message"]),
        (&json!("Invalid"), &json!("the server rejected our request due to an error in our request"))
    );
    let second = json!([{"op": "add", "path": "/metadata/finalizers/-", "value": "x.io/b"}]);
    assert_eq!(expect(patch(second), 200).await["metadata"]["finalizers"], json!(["x.io/a", "x.io/b"]));
    let wrong = json!([{"op": "test", "path": "/metadata/finalizers/0", "value": "x.io/b"}, {"op": "remove", "path": "/metadata/finalizers/0"}]);
    expect(patch(wrong), 422).await;
    let right = json!([{"op": "test", "path": "/metadata/finalizers/0", "value": "x.io/a"}, {"op": "remove", "path": "/metadata/finalizers/0"}]);
    assert_eq!(expect(patch(right), 200).await["metadata"]["finalizers"], json!(["x.io/b"]));
    expect(patch(json!([{"op": "remove", "path": "/data/nothing"}])), 422).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strategic_patch_merges_by_key_deletes_replaces_and_orders() {
    let cluster = Cluster::start().await;
    deployment(&cluster).await;
    let image = json!({"containers": [{"name": "b", "image": "i:2"}]});
    let merged = strategic(&cluster, of_pods(image)).await;
    let containers = &merged["spec"]["template"]["spec"]["containers"];
    assert_eq!((&containers[0]["image"], &containers[1]["image"]), (&json!("i:1"), &json!("i:2")));
    // Without an order, what is new comes first.
    let more = json!({"containers": [{"name": "c", "image": "i:1"}]});
    assert_eq!(names(&strategic(&cluster, of_pods(more)).await, "containers"), "c a b");
    let order = json!({"$setElementOrder/containers": [{"name": "a"}, {"name": "d"}, {"name": "b"}, {"name": "c"}],
        "containers": [{"name": "d", "image": "i:1"}]});
    assert_eq!(names(&strategic(&cluster, of_pods(order)).await, "containers"), "a d b c");
    let fewer = json!({"containers": [{"name": "d", "$patch": "delete"}, {"name": "c", "$patch": "delete"}]});
    assert_eq!(names(&strategic(&cluster, of_pods(fewer)).await, "containers"), "a b");
    let all = json!({"containers": [{"$patch": "replace"}, {"name": "z", "image": "i:9"}]});
    assert_eq!(names(&strategic(&cluster, of_pods(all)).await, "containers"), "z");
    // A list without a key is replaced as a whole.
    let tolerations = json!({"tolerations": [{"key": "other", "operator": "Exists"}]});
    let replaced = strategic(&cluster, of_pods(tolerations)).await;
    assert_eq!(
        replaced["spec"]["template"]["spec"]["tolerations"],
        json!([{"key": "other", "operator": "Exists"}])
    );
    let labels = json!({"metadata": {"labels": {"x": "1", "y": "2"}}});
    strategic(&cluster, labels).await;
    let only = json!({"metadata": {"labels": {"$patch": "replace", "z": "3"}}});
    assert_eq!(strategic(&cluster, only).await["metadata"]["labels"], json!({"z": "3"}));
    let none = json!({"metadata": {"labels": {"$patch": "delete"}}});
    let cleared = strategic(&cluster, none).await;
    assert!(cleared["metadata"]["labels"].as_object().is_none_or(serde_json::Map::is_empty), "{cleared}");
    let finalizers = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["x.io/f"]}});
    assert_eq!(strategic(&cluster, finalizers).await["metadata"]["finalizers"], json!(["x.io/g"]));
    let added =
        json!({"metadata": {"finalizers": ["x.io/h"], "$setElementOrder/finalizers": ["x.io/h", "x.io/g"]}});
    assert_eq!(strategic(&cluster, added).await["metadata"]["finalizers"], json!(["x.io/h", "x.io/g"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn retained_keys_take_the_others_of_a_union_away() {
    let cluster = Cluster::start().await;
    let made = deployment(&cluster).await;
    assert_eq!(made["spec"]["strategy"]["type"], "RollingUpdate");
    let recreate = json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}});
    assert_eq!(strategic(&cluster, recreate).await["spec"]["strategy"], json!({"type": "Recreate"}));
    let volume = json!({"volumes": [{"$retainKeys": ["name", "emptyDir"], "name": "v", "emptyDir": {}}]});
    let changed = strategic(&cluster, of_pods(volume)).await;
    assert_eq!(changed["spec"]["template"]["spec"]["volumes"], json!([{"name": "v", "emptyDir": {}}]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strategic_patch_without_its_key_or_for_a_custom_resource_is_refused() {
    let cluster = Cluster::start().await;
    deployment(&cluster).await;
    let keyless = of_pods(json!({"containers": [{"image": "s:1"}]}));
    let refused =
        expect(cluster.patch("strategic-merge-patch+json", &format!("{DEPLOYMENTS}/d"), keyless), 500).await;
    assert_eq!(refused["message"], "map: map[image:s:1] does not contain declared merge key: name");
    let crd = json!({"metadata": {"name": "things.example.com"}, "spec": {
        "group": "example.com", "scope": "Cluster", "names": {"plural": "things", "kind": "Thing"},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]}});
    expect(cluster.call("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd), 201).await;
    let things = "/apis/example.com/v1/things";
    expect(cluster.call("POST", things, json!({"metadata": {"name": "one"}})), 201).await;
    let refused =
        expect(cluster.patch("strategic-merge-patch+json", &format!("{things}/one"), json!({})), 415).await;
    let message = refused["message"].as_str().unwrap();
    assert!(
        message.contains(
            "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml"
        ),
        "{message}"
    );
}
