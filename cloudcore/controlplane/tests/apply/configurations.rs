//! What is taken from an applied configuration, and what is wrong with one.

use serde_json::{Value, json};

use crate::support::Cluster;
use crate::{DEPLOYMENT, DEPLOYMENTS, MAPS, applied, apply, map, message, owners};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_an_apply_is_said_in_kubernetes_words() {
    let cluster = Cluster::start().await;
    let path = format!("{MAPS}/m");
    let refused = apply(&cluster, &path, "", map(json!({}))).await;
    assert_eq!(
        message(&refused),
        (
            422,
            "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch"
        )
    );
    let refused = cluster.patch("merge-patch+json", &format!("{path}?force=true"), json!({})).await;
    assert_eq!(
        message(&refused),
        (
            422,
            "PatchOptions.meta.k8s.io \"\" is invalid: force: Forbidden: may not be specified for non-apply patch"
        )
    );
    let mut with_entries = map(json!({}));
    with_entries["metadata"]["managedFields"] = json!([]);
    let refused = apply(&cluster, &path, "fieldManager=m", with_entries).await;
    assert_eq!(message(&refused), (400, "metadata.managedFields must be nil"));
    let refused = apply(&cluster, &path, "fieldManager=m", json!({"metadata": {"name": "m"}})).await;
    assert_eq!(message(&refused), (400, "invalid object type: /, Kind="));
    let mut unknown = map(json!({}));
    unknown["dat"] = json!({});
    let refused = apply(&cluster, &path, "fieldManager=m", unknown).await;
    assert_eq!(
        message(&refused),
        (
            500,
            "failed to create typed patch object (default/m; /v1, Kind=ConfigMap): .dat: field not declared in schema"
        )
    );
    let mut elsewhere = map(json!({}));
    elsewhere["metadata"]["uid"] = json!("x");
    let refused = apply(&cluster, &path, "fieldManager=m", elsewhere.clone()).await;
    assert_eq!(refused.0, 409);
    assert!(
        message(&refused)
            .1
            .contains("uid mismatch: the provided object specified uid x, and no existing object was found")
    );
    let dry = apply(&cluster, &path, "fieldManager=m&dryRun=All", map(json!({"a": "1"}))).await;
    assert_eq!((dry.0, owners(&dry.1).len()), (201, 1));
    assert_eq!(cluster.call("GET", &path, Value::Null).await.0, 404);
    applied(&cluster, &path, "m", map(json!({"a": "1"}))).await;
    assert_eq!(apply(&cluster, &path, "fieldManager=m", elsewhere).await.0, 409);
    let mut stale = map(json!({"a": "2"}));
    stale["metadata"]["resourceVersion"] = json!("1");
    let refused = apply(&cluster, &path, "fieldManager=m", stale).await;
    assert!(message(&refused).1.contains("the object has been modified"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn yaml_is_applied_and_lists_are_merged_by_their_keys() {
    let cluster = Cluster::start().await;
    let request = http::Request::builder()
        .method("PATCH")
        .uri(format!("{DEPLOYMENTS}/web?fieldManager=one"))
        .header("content-type", "application/apply-patch+yaml");
    let response = cluster.client.send(request.body(DEPLOYMENT.as_bytes().to_vec().into()).unwrap()).await;
    assert_eq!(response.unwrap().status(), 201);
    let path = format!("{DEPLOYMENTS}/web");
    let two = |container: Value| {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {"template": {"spec": {"containers": [container]}}}})
    };
    let side = json!({"name": "nginx", "env": [{"name": "C", "value": "3"}], "ports": [{"containerPort": 81, "name": "admin"}]});
    let both = applied(&cluster, &path, "two", two(side)).await;
    let nginx = &both["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(nginx["image"], "nginx:1.27");
    assert_eq!(nginx["env"].as_array().unwrap().len(), 3);
    assert_eq!(nginx["ports"].as_array().unwrap().len(), 2);
    let mine = owners(&both).into_iter().find(|one| one.starts_with("two")).unwrap();
    assert_eq!(
        mine,
        r#"two Apply  {"f:spec":{"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"nginx\"}":{".":{},"f:env":{"k:{\"name\":\"C\"}":{".":{},"f:name":{},"f:value":{}}},"f:name":{},"f:ports":{"k:{\"containerPort\":81,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{},"f:name":{}}}}}}}}}"#
    );
    let left = applied(&cluster, &path, "two", two(json!({"name": "nginx"}))).await;
    let nginx = &left["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(nginx["env"], json!([{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]));
    assert_eq!(nginx["ports"].as_array().unwrap().len(), 1);
    // A field that has a default gets it back when its last owner lets it go.
    let mut scaled = two(json!({"name": "nginx"}));
    scaled["spec"]["replicas"] = json!(5);
    let (_, five) = apply(&cluster, &path, "fieldManager=two&force=true", scaled).await;
    assert_eq!(five["spec"]["replicas"], 5);
    let left = applied(&cluster, &path, "two", two(json!({"name": "nginx"}))).await;
    assert_eq!(left["spec"]["replicas"], 1);
}
