//! Who owns which fields after which write.

use serde_json::{Value, json};

use crate::support::{Cluster, call};
use crate::{MAPS, applied, apply, map, message, owners};

#[tokio::test(flavor = "multi_thread")]
async fn every_write_says_who_made_it() {
    let cluster = Cluster::start().await;
    let (_, created) =
        cluster.call("POST", &format!("{MAPS}?fieldManager=one"), map(json!({"a": "1", "b": "1"}))).await;
    assert_eq!(owners(&created), [r#"one Update  {"f:data":{".":{},"f:a":{},"f:b":{}}}"#]);
    let path = format!("{MAPS}/m");
    let (_, patched) = cluster
        .patch("merge-patch+json", &format!("{path}?fieldManager=two"), json!({"data": {"b": "2"}}))
        .await;
    let moved = [r#"one Update  {"f:data":{".":{},"f:a":{}}}"#, r#"two Update  {"f:data":{"f:b":{}}}"#];
    assert_eq!(owners(&patched), moved);
    // Who does not give a name is known by the program.
    let request = http::Request::builder()
        .method("PUT")
        .uri(&path)
        .header("content-type", "application/json")
        .header("user-agent", "robot/1.0 (linux)");
    let body = map(json!({"a": "1"})).to_string().into_bytes();
    cluster.client.send(request.body(body.into()).unwrap()).await.unwrap();
    let (_, put) = cluster.call("GET", &path, Value::Null).await;
    assert_eq!(owners(&put), [r#"one Update  {"f:data":{".":{},"f:a":{}}}"#]);
    let request = http::Request::builder()
        .method("PUT")
        .uri(&path)
        .header("content-type", "application/json")
        .header("user-agent", "robot/1.0 (linux)");
    let body = map(json!({"a": "3"})).to_string().into_bytes();
    cluster.client.send(request.body(body.into()).unwrap()).await.unwrap();
    let (_, put) = cluster.call("GET", &path, Value::Null).await;
    assert_eq!(owners(&put), [r#"one Update  {"f:data":{}}"#, r#"robot Update  {"f:data":{"f:a":{}}}"#]);
    let (_, same) = cluster.call("PUT", &format!("{path}?fieldManager=three"), put.clone()).await;
    assert_eq!(same, put, "a change of nothing is none");
    for forgotten in [json!([]), json!([{}])] {
        let body = json!({"metadata": {"managedFields": forgotten}});
        let (_, reset) = cluster.patch("merge-patch+json", &path, body).await;
        assert_eq!(reset["metadata"].get("managedFields"), None);
    }
    let long = "x".repeat(129);
    let refused = cluster.call("PUT", &format!("{path}?fieldManager={long}"), map(json!({}))).await;
    assert_eq!(
        message(&refused),
        (
            422,
            "UpdateOptions.meta.k8s.io \"\" is invalid: fieldManager: Too long: may not be more than 128 bytes"
        )
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn appliers_conflict_share_and_let_go() {
    let cluster = Cluster::start().await;
    let path = format!("{MAPS}/m");
    let (code, first) = apply(&cluster, &path, "fieldManager=m1", map(json!({"a": "1", "b": "1"}))).await;
    assert_eq!((code, owners(&first)), (201, vec![r#"m1 Apply  {"f:data":{"f:a":{},"f:b":{}}}"#.to_owned()]));
    let again = applied(&cluster, &path, "m1", map(json!({"a": "1", "b": "1"}))).await;
    assert_eq!(again, first, "the same again is no write");
    let refused = apply(&cluster, &path, "fieldManager=m2", map(json!({"a": "2"}))).await;
    assert_eq!(message(&refused), (409, "Apply failed with 1 conflict: conflict with \"m1\": .data.a"));
    assert_eq!(refused.1["reason"], "Conflict");
    assert_eq!(
        refused.1["details"]["causes"],
        json!([{"reason": "FieldManagerConflict", "message": "conflict with \"m1\"", "field": ".data.a"}])
    );
    let (_, taken) = apply(&cluster, &path, "fieldManager=m2&force=true", map(json!({"a": "2"}))).await;
    assert_eq!(owners(&taken), [r#"m1 Apply  {"f:data":{"f:b":{}}}"#, r#"m2 Apply  {"f:data":{"f:a":{}}}"#]);
    let shared = applied(&cluster, &path, "m3", map(json!({"b": "1"}))).await;
    assert_eq!(owners(&shared).len(), 3);
    let left = applied(&cluster, &path, "m1", map(json!({}))).await;
    assert_eq!(left["data"], json!({"a": "2", "b": "1"}), "m3 still wants b");
    let left = applied(&cluster, &path, "m3", map(json!({}))).await;
    assert_eq!(left["data"], json!({"a": "2"}));
    // A stranger's change takes the field; then the applier conflicts with it.
    let change = json!({"data": {"a": "9", "z": "9"}});
    cluster.patch("merge-patch+json", &format!("{path}?fieldManager=up"), change).await;
    let refused = apply(&cluster, &path, "fieldManager=m2", map(json!({"a": "2", "z": "1"}))).await;
    assert_eq!(
        message(&refused),
        (409, "Apply failed with 2 conflicts: conflicts with \"up\" using v1:\n- .data.a\n- .data.z")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn ownership_is_kept_over_a_restart_and_a_json_patch_moves_it() {
    let cluster = Cluster::start().await;
    let path = format!("{MAPS}/m");
    applied(&cluster, &path, "one", map(json!({"a": "1"}))).await;
    let cluster = cluster.restart().await;
    let (_, there) = cluster.call("GET", &path, Value::Null).await;
    let mut entries = there["metadata"]["managedFields"].clone();
    entries[0]["manager"] = json!("heir");
    let patch = json!([
        {"op": "replace", "path": "/metadata/managedFields", "value": entries},
        {"op": "replace", "path": "/metadata/resourceVersion", "value": there["metadata"]["resourceVersion"]},
    ]);
    let (code, moved) = call(&cluster.client, "PATCH", &path, "application/json-patch+json", patch).await;
    assert_eq!(
        (code, owners(&moved)),
        (200, vec![r#"heir Apply  {"f:data":{"f:a":{}}}"#.to_owned()]),
        "{moved}"
    );
    let gone = applied(&cluster, &path, "heir", map(json!({}))).await;
    assert_eq!(gone.get("data"), None);
}
