//! A snapshot over the API, and a cluster that goes on from it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub)]

mod support;

use http_body_util::BodyExt;
use proto::backup::{REVISION_HEADER, SCHEMA, SNAPSHOT_PATH, STORE_FILE, schema_of};
use serde_json::{Value, json};
use support::{Cluster, call};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_goes_on_from_a_snapshot_with_its_objects_and_with_revisions_far_ahead() {
    let cluster = Cluster::start().await;
    let map = json!({"metadata": {"name": "kept"}, "data": {"a": "1"}});
    let (code, kept) = cluster.call("POST", MAPS, map).await;
    assert_eq!(code, 201, "{kept}");

    let admin = cluster.tls_client().await;
    let request = http::Request::builder().uri(SNAPSHOT_PATH).body(Vec::new().into()).unwrap();
    let response = admin.send(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let revision: u64 = response.headers()[REVISION_HEADER].to_str().unwrap().parse().unwrap();
    #[allow(clippy::disallowed_methods, reason = "our own server's answers are bounded")]
    let image = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(schema_of(&image[..]).unwrap(), Some(SCHEMA));
    let left: Vec<_> =
        std::fs::read_dir(cluster.path("data")).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().contains("snapshot")), "{left:?}");

    let (code, lost) = cluster.call("POST", MAPS, json!({"metadata": {"name": "lost"}})).await;
    assert_eq!(code, 201, "{lost}");
    let lost: u64 = lost["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
    assert!(lost > revision);

    let dir = cluster.stop().await;
    for end in ["", "-wal", "-shm"] {
        std::fs::remove_file(dir.path().join(format!("data/{STORE_FILE}{end}"))).unwrap_or_default();
    }
    std::fs::write(dir.path().join("data").join(STORE_FILE), &image).unwrap();
    let cluster = Cluster::start_in(dir).await;
    let (code, now) = cluster.call("GET", &format!("{MAPS}/kept"), Value::Null).await;
    assert_eq!((code, &now["metadata"]["uid"]), (200, &kept["metadata"]["uid"]));
    let version: u64 = now["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
    assert!(version > lost + 1_000_000);
    assert_eq!(cluster.call("GET", &format!("{MAPS}/lost"), Value::Null).await.0, 404);
    // Who had seen what is lost now is told to list again.
    let watch = support::events(&cluster.client, &format!("{MAPS}?watch=1&resourceVersion={lost}"), 1).await;
    assert_eq!(watch[0]["object"]["reason"], "Expired", "{watch:?}");
    cluster.must(&["annotate", "configmap", "kept", "seen=yes"]).await;
    cluster.stop().await.close().unwrap_or_default();
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_may_read_everything_gets_a_snapshot() {
    let cluster = Cluster::start().await;
    let (code, status) = call(&cluster.stranger(None), "GET", SNAPSHOT_PATH, "", Value::Null).await;
    assert_eq!(code, 403, "{status}");
    let (_, token) = cluster
        .call("POST", "/api/v1/namespaces/default/serviceaccounts/default/token", json!({"spec": {}}))
        .await;
    let account = cluster.stranger(token["status"]["token"].as_str());
    let (code, status) = call(&account, "GET", SNAPSHOT_PATH, "", Value::Null).await;
    assert_eq!(code, 403, "{status}");
    assert!(status["message"].as_str().unwrap().contains("cannot get path"), "{status}");
    assert_eq!(cluster.call("POST", SNAPSHOT_PATH, json!({})).await.0, 405);
    cluster.stop().await.close().unwrap_or_default();
}
