//! What a Go informer of client-go 0.35 and later sends: a streamed list and writes in protobuf, asking for protobuf and taking JSON.
//! No Go program is run here; these are its requests, byte for byte where bytes count.

use std::time::Duration;

use futures::{AsyncBufReadExt, StreamExt};
use http::{Request, Response};
use http_body_util::{BodyExt, Limited};
use kube::Client;
use kube::client::Body;
use serde_json::Value;

use crate::support::Cluster;

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const ACCEPT: &str = "application/vnd.kubernetes.protobuf,application/json";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const LIMIT: usize = 1 << 20;

/// A field of a message that has a length.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).unwrap();
    assert!(length < 128, "a length of one byte");
    [&[number << 3 | 2, length], content].concat()
}

/// `k8s\0` and `runtime.Unknown`.
fn envelope(version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let types = [field(1, version.as_bytes()), field(2, kind.as_bytes())].concat();
    [b"k8s\0".to_vec(), field(1, &types), field(2, raw)].concat()
}

fn map(metadata: &[Vec<u8>], value: &str) -> Vec<u8> {
    let entry = [field(1, b"key"), field(2, value.as_bytes())].concat();
    let raw = [field(1, &metadata.concat()), field(2, &entry)].concat();
    envelope("v1", "ConfigMap", &raw)
}

async fn send(client: &Client, method: &str, path: &str, body: Vec<u8>) -> (u16, Value) {
    let request = Request::builder().method(method).uri(path).header("accept", ACCEPT);
    let request = request.header("content-type", PROTOBUF).body(body.into()).unwrap();
    let response: Response<Body> = client.send(request).await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/json");
    let code = response.status().as_u16();
    #[allow(clippy::disallowed_methods, reason = "the body is limited")]
    let body = Limited::new(response.into_body(), LIMIT).collect().await.unwrap().to_bytes();
    (code, serde_json::from_slice(&body).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_go_informer_syncs_and_hears_of_changes_and_writes_in_protobuf() {
    let cluster = Cluster::start().await;
    let client = cluster.tls_client().await;
    let (code, made) = send(&client, "POST", MAPS, map(&[field(1, b"one")], "1")).await;
    assert_eq!((code, &made["data"]["key"]), (201, &"1".into()), "{made}");

    let path = format!(
        "{MAPS}?allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan&sendInitialEvents=true&timeout=8m1s&timeoutSeconds=481&watch=true"
    );
    let request = Request::builder().uri(path).header("accept", ACCEPT).body(Vec::new()).unwrap();
    let mut lines = client.request_stream(request).await.unwrap().lines();
    let mut next = async || -> Value {
        let line =
            tokio::time::timeout(Duration::from_secs(20), lines.next()).await.expect("the watch is silent");
        serde_json::from_str(&line.expect("the watch ended").unwrap()).unwrap()
    };
    let mut names = Vec::new();
    let synced = loop {
        let event = next().await;
        if event["type"] == "BOOKMARK" {
            break event;
        }
        assert_eq!(event["type"], "ADDED", "{event}");
        names.push(event["object"]["metadata"]["name"].as_str().unwrap().to_owned());
    };
    assert_eq!(synced["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    assert!(names.contains(&"one".to_owned()), "{names:?}");

    let version = made["metadata"]["resourceVersion"].as_str().unwrap();
    let metadata = [field(1, b"one"), field(6, version.as_bytes())];
    let (code, changed) = send(&client, "PUT", &format!("{MAPS}/one"), map(&metadata, "2")).await;
    assert_eq!((code, &changed["data"]["key"]), (200, &"2".into()), "{changed}");
    let (code, stale) = send(&client, "PUT", &format!("{MAPS}/one"), map(&metadata, "3")).await;
    assert_eq!((code, &stale["reason"]), (409, &"Conflict".into()), "{stale}");
    let uid = made["metadata"]["uid"].as_str().unwrap();
    let options = field(2, &field(1, uid.as_bytes()));
    let options = envelope("v1", "DeleteOptions", &options);
    let (code, gone) = send(&client, "DELETE", &format!("{MAPS}/one"), options).await;
    assert_eq!((code, &gone["status"]), (200, &"Success".into()), "{gone}");
    let seen = [next().await, next().await];
    assert_eq!([&seen[0]["type"], &seen[1]["type"]], ["MODIFIED", "DELETED"], "{seen:?}");
    assert_eq!(seen[0]["object"]["data"]["key"], "2");
}
