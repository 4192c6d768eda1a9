//! Many at a time.

use serde_json::{Value, json};

use crate::MAPS;
use crate::support::Cluster;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_applies_while_others_make_or_delete_the_object_is_never_told_that_it_is_not_there() {
    let cluster = Cluster::start().await;
    let path = format!("{MAPS}/busy");
    for _ in 0..20 {
        let applied = (0..16).map(|number| {
            let config = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "busy"},
                "data": {format!("n{number}"): "x"}});
            let path = format!("{path}?fieldManager=m{number}");
            let cluster = &cluster;
            async move { cluster.patch("apply-patch+yaml", &path, config).await }
        });
        let deleted = cluster.call("DELETE", &path, Value::Null);
        let (answers, _) = tokio::join!(futures::future::join_all(applied), deleted);
        for (code, body) in answers {
            assert!(code == 200 || code == 201, "{code} {body}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_patches_without_a_version_never_hears_of_a_conflict_however_many_do() {
    let cluster = Cluster::start().await;
    let path = format!("{MAPS}/busy");
    assert_eq!(cluster.call("POST", MAPS, json!({"metadata": {"name": "busy"}})).await.0, 201);
    let patches = (0..64).map(async |number: usize| {
        for round in 0..20 {
            let change = json!({"data": {format!("n{number}"): round.to_string()}});
            let (code, body) = cluster.patch("merge-patch+json", &path, change).await;
            assert_eq!(code, 200, "{body}");
        }
    });
    futures::future::join_all(patches).await;
    let data = cluster.call("GET", &path, Value::Null).await.1["data"].as_object().cloned().unwrap();
    assert!(data.len() == 64 && data.values().all(|value| value == "19"), "{data:?}");
}
