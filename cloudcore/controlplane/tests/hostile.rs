//! Clients that take more than their share: what they get instead, and that the others still get theirs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub)]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::{AsyncBufReadExt, StreamExt};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};
use support::{Cluster, call};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PATIENCE: Duration = Duration::from_secs(30);

fn watch_of(start: &str) -> http::Request<Vec<u8>> {
    http::Request::builder().uri(format!("{MAPS}?watch=true&{start}")).body(Vec::new()).unwrap()
}

fn map(name: &str, size: usize) -> Value {
    json!({"metadata": {"name": name}, "data": {"a": "x".repeat(size)}})
}

fn revision_of(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_watches_is_answered_with_429_and_a_time_to_come_back() {
    let cluster = Cluster::start().await;
    let mut open = Vec::new();
    let refused = loop {
        let request = watch_of("resourceVersion=1").map(Into::into);
        let response = cluster.client.send(request).await.unwrap();
        if response.status() != 200 {
            break response;
        }
        open.push(response);
        assert!(open.len() < 10_000, "nobody stops the flood");
    };
    assert!(open.len() >= 1000, "{} watches are too few for an honest client", open.len());
    assert_eq!((refused.status().as_u16(), refused.headers()["retry-after"].to_str().unwrap()), (429, "1"));
    let (code, status) = cluster.call("GET", &format!("{MAPS}?watch=true"), Value::Null).await;
    assert_eq!(
        (code, &status["kind"], &status["reason"]),
        (429, &json!("Status"), &json!("TooManyRequests"))
    );

    // Others watch, and the same client still reads and writes.
    let admin = cluster.tls_client().await;
    assert_eq!(cluster.call("POST", MAPS, map("a", 1)).await.0, 201);
    let seen = support::events(&admin, &format!("{MAPS}?watch=true&fieldSelector=metadata.name=a"), 1).await;
    assert_eq!(seen[0]["type"], "ADDED");
    drop(open);
    assert_eq!(cluster.client.send(watch_of("").map(Into::into)).await.unwrap().status(), 200);
    cluster.stop().await.close().unwrap_or_default();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_that_does_not_read_holds_nobody_up_and_is_told_to_list_again() {
    let cluster = Cluster::start().await;
    let (_, first) = cluster.call("POST", MAPS, map("big", 30_000)).await;
    let start = revision_of(&first);
    let admin = cluster.tls_client().await;
    let mut lines =
        admin.request_stream(watch_of(&format!("resourceVersion={start}"))).await.unwrap().lines();
    // Far more than sockets and the history hold together.
    let mut last = start;
    for n in 0..1500 {
        let mut next = map("big", 30_000);
        next["data"]["n"] = json!(n.to_string());
        next["metadata"]["resourceVersion"] = json!(last.to_string());
        let (code, written) = cluster.call("PUT", &format!("{MAPS}/big"), next).await;
        assert_eq!(code, 200, "{written}");
        last = revision_of(&written);
    }
    let mut seen = start;
    let end = loop {
        let line = tokio::time::timeout(PATIENCE, lines.next()).await;
        let line = line
            .unwrap_or_else(|_| panic!("the watch is silent at {seen} on its way from {start} to {last}"));
        let event: Value =
            serde_json::from_str(&line.expect("the watch ends without a word").unwrap()).unwrap();
        if event["type"] == "ERROR" {
            break event;
        }
        let revision = revision_of(&event["object"]);
        assert!(revision > seen, "{revision} after {seen}");
        seen = revision;
    };
    assert_eq!((&end["object"]["code"], &end["object"]["reason"]), (&json!(410), &json!("Expired")));
    assert!(seen < last, "everything was kept for a watcher that did not read");
    let (_, list) = cluster.call("GET", MAPS, Value::Null).await;
    let path = format!("{MAPS}?watch=true&timeoutSeconds=1&resourceVersion={}", revision_of(&list));
    let again = support::events(&admin, &path, 1);
    assert_eq!(again.await, Vec::<Value>::new());
    cluster.stop().await.close().unwrap_or_default();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_of_a_large_collection_begins_with_each_object_once_and_then_says_so() {
    let cluster = Cluster::start().await;
    let create = (0..200).map(|n| {
        let client = cluster.client.clone();
        async move { call(&client, "POST", MAPS, "application/json", map(&format!("m{n:03}"), 5000)).await }
    });
    for (code, status) in futures::future::join_all(create).await {
        assert_eq!(code, 201, "{status}");
    }
    let path = format!(
        "{MAPS}?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    );
    let (_, list) = cluster.call("GET", MAPS, Value::Null).await;
    let there = list["items"].as_array().unwrap();
    let mut events = support::events(&cluster.tls_client().await, &path, there.len() + 1).await;
    let mark = events.pop().unwrap();
    assert_eq!((&mark["type"], revision_of(&mark["object"])), (&json!("BOOKMARK"), revision_of(&list)));
    assert_eq!(mark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    for (event, object) in events.iter().zip(there) {
        assert_eq!((&event["type"], &event["object"]["metadata"]), (&json!("ADDED"), &object["metadata"]));
    }
    cluster.stop().await.close().unwrap_or_default();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_connections_from_one_address_leaves_room_for_the_others() {
    const FLOOD: usize = 1700;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, soft.max(8192).min(hard), hard).unwrap();
    let cluster = Cluster::start().await;
    let server: SocketAddr = cluster.server.trim_start_matches("https://").parse().unwrap();
    let mut flood = Vec::new();
    for _ in 0..FLOOD {
        flood.push(TcpStream::connect(server).await.unwrap());
    }
    // The last ones are too many and are closed at once, the others may still begin to speak.
    let mut byte = [0];
    let read =
        tokio::time::timeout(PATIENCE, flood.last_mut().unwrap().read(&mut byte)).await.expect("not closed");
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");

    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let stream = socket.connect(server).await.unwrap();
    let mut honest = tls(&cluster).connect("localhost".try_into().unwrap(), stream).await.unwrap();
    honest.write_all(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = vec![0; 15];
    tokio::time::timeout(PATIENCE, honest.read_exact(&mut answer)).await.expect("no answer").unwrap();
    assert_eq!(String::from_utf8_lossy(&answer), "HTTP/1.1 200 OK");
    drop(flood);
    cluster.stop().await.close().unwrap_or_default();
}

fn tls(cluster: &Cluster) -> tokio_rustls::TlsConnector {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(cluster.ca()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Arc::new(config.unwrap().with_root_certificates(roots).with_no_client_auth()).into()
}
