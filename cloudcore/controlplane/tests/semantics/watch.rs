//! Watches: what they show, from where on, and how they end.

use std::pin::Pin;
use std::time::Duration;

use futures::{AsyncBufRead, AsyncBufReadExt, StreamExt};
use serde_json::{Value, json};

use crate::support::{Cluster, events, expect};
use crate::{MAPS, PODS, kinds, map, version};

type Lines = futures::io::Lines<Pin<Box<dyn AsyncBufRead + Send>>>;

/// A watch that stays open.
async fn stream(cluster: &Cluster, path: &str) -> Lines {
    let request = http::Request::builder().uri(path).body(Vec::new()).unwrap();
    let stream: Pin<Box<dyn AsyncBufRead + Send>> =
        Box::pin(cluster.client.request_stream(request).await.unwrap());
    stream.lines()
}

async fn next(lines: &mut Lines) -> Value {
    let line =
        tokio::time::timeout(Duration::from_secs(30), lines.next()).await.expect("the watch is silent");
    serde_json::from_str(&line.expect("the watch has ended").unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_with_a_selector_sees_objects_come_into_and_go_out_of_it() {
    let cluster = Cluster::start().await;
    let list = expect(cluster.call("GET", MAPS, Value::Null), 200).await;
    let start = version(&list);
    expect(cluster.call("POST", MAPS, map("m", json!({"on": "yes"}))), 201).await;
    expect(cluster.patch("merge-patch+json", &format!("{MAPS}/m"), json!({"data": {"a": "2"}})), 200).await;
    expect(
        cluster.patch(
            "merge-patch+json",
            &format!("{MAPS}/m"),
            json!({"metadata": {"labels": {"on": "no"}}}),
        ),
        200,
    )
    .await;
    expect(cluster.patch("merge-patch+json", &format!("{MAPS}/m"), json!({"data": {"a": "3"}})), 200).await;
    expect(
        cluster.patch(
            "merge-patch+json",
            &format!("{MAPS}/m"),
            json!({"metadata": {"labels": {"on": "yes"}}}),
        ),
        200,
    )
    .await;
    expect(cluster.call("DELETE", &format!("{MAPS}/m"), Value::Null), 200).await;
    let path = format!("{MAPS}?watch=true&labelSelector=on%3Dyes&resourceVersion={start}");
    let seen = events(&cluster.client, &path, 5).await;
    assert_eq!(kinds(&seen), ["ADDED", "MODIFIED", "DELETED", "ADDED", "DELETED"]);
    assert_eq!(seen[2]["object"]["metadata"]["labels"]["on"], "yes", "as it was last seen");
    let versions: Vec<u64> = seen.iter().map(|event| version(&event["object"])).collect();
    assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
    assert_eq!(seen[0]["object"]["kind"], "ConfigMap");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_from_before_the_history_gets_410_inside_the_stream() {
    let cluster = Cluster::start().await;
    let path = format!("{MAPS}/busy");
    expect(cluster.call("POST", MAPS, map("busy", json!({}))), 201).await;
    let page = expect(cluster.call("GET", &format!("{MAPS}?limit=1"), Value::Null), 200).await;
    let token = page["metadata"]["continue"].as_str().unwrap().to_owned();
    for n in 0..1100 {
        expect(cluster.patch("merge-patch+json", &path, json!({"data": {"n": n.to_string()}})), 200).await;
    }
    let seen = events(&cluster.client, &format!("{MAPS}?watch=1&resourceVersion=1"), 9).await;
    assert_eq!(
        (seen.len(), seen[0]["type"].as_str(), &seen[0]["object"]["code"]),
        (1, Some("ERROR"), &json!(410))
    );
    assert_eq!(seen[0]["object"]["reason"], "Expired");
    let message = seen[0]["object"]["message"].as_str().unwrap();
    assert!(message.starts_with("too old resource version: 1 ("), "{message}");
    let exact = format!("{MAPS}?resourceVersion=2&resourceVersionMatch=Exact");
    assert_eq!(expect(cluster.call("GET", &exact, Value::Null), 410).await["reason"], "Expired");
    let rest = format!("{MAPS}?limit=1&continue={token}");
    let expired = expect(cluster.call("GET", &rest, Value::Null), 410).await;
    let message = expired["message"].as_str().unwrap();
    assert!(
        message.starts_with(
            "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter"
        ),
        "{message}"
    );
    // The answer has a token of its own, for who takes the rest as it is now.
    let now = expired["metadata"]["continue"].as_str().unwrap();
    let rest = expect(cluster.call("GET", &format!("{MAPS}?limit=9&continue={now}"), Value::Null), 200).await;
    let last = page["items"][0]["metadata"]["name"].as_str();
    let names: Vec<_> =
        rest["items"].as_array().unwrap().iter().map(|one| one["metadata"]["name"].as_str()).collect();
    assert!(!names.is_empty() && !names.contains(&last), "{names:?} after {last:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bookmarks_come_when_asked_for_and_the_watch_ends_in_time() {
    let cluster = Cluster::start().await;
    let path = format!("{MAPS}?watch=true&allowWatchBookmarks=true&timeoutSeconds=3&resourceVersion=");
    let list = expect(cluster.call("GET", MAPS, Value::Null), 200).await;
    expect(cluster.call("POST", MAPS, map("m", json!({}))), 201).await;
    let seen = events(&cluster.client, &format!("{path}{}", version(&list)), 99).await;
    assert_eq!(kinds(&seen), ["ADDED", "BOOKMARK"], "{seen:?}");
    let mark = &seen[1]["object"];
    assert!(version(mark) >= version(&seen[0]["object"]), "{seen:?}");
    assert_eq!(
        mark["metadata"].as_object().unwrap().len(),
        1,
        "a bookmark has its revision and nothing else"
    );
    assert_eq!((mark["kind"].as_str(), mark.get("data")), (Some("ConfigMap"), None));
    let quiet = events(&cluster.client, &format!("{PODS}?watch=true&timeoutSeconds=1"), 99).await;
    assert!(quiet.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_streamed_list_ends_with_its_bookmark_and_goes_on_living() {
    let cluster = Cluster::start().await;
    let path = "/api/v1/namespaces?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut lines = stream(&cluster, path).await;
    let mut seen = Vec::new();
    while seen.len() < 5 {
        seen.push(next(&mut lines).await);
    }
    expect(cluster.call("POST", "/api/v1/namespaces", json!({"metadata": {"name": "late"}})), 201).await;
    let live = next(&mut lines).await;
    assert_eq!((&live["type"], &live["object"]["metadata"]["name"]), (&json!("ADDED"), &json!("late")));
    assert_eq!(kinds(&seen), ["ADDED", "ADDED", "ADDED", "ADDED", "BOOKMARK"]);
    assert_eq!(seen[4]["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    let without = cluster.call("GET", "/api/v1/namespaces?watch=true&sendInitialEvents=true", Value::Null);
    let refused = expect(without, 422).await;
    assert!(
        refused["message"]
            .as_str()
            .unwrap()
            .contains("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_server_has_everything_and_watches_resume() {
    let cluster = Cluster::start().await;
    let first = expect(cluster.call("POST", MAPS, map("m", json!({}))), 201).await;
    expect(cluster.patch("merge-patch+json", &format!("{MAPS}/m"), json!({"data": {"a": "2"}})), 200).await;
    let before = expect(cluster.call("GET", &format!("{MAPS}/m"), Value::Null), 200).await;
    // An open watch must not keep the server from ending.
    let request = http::Request::builder().uri(format!("{MAPS}?watch=1")).body(Vec::new()).unwrap();
    let _open = cluster.tls_client().await.request_stream(request).await.unwrap();
    let cluster = cluster.restart().await;
    assert_eq!(expect(cluster.call("GET", &format!("{MAPS}/m"), Value::Null), 200).await, before);
    let path = format!("{MAPS}?watch=1&resourceVersion={}", version(&first));
    assert_eq!(kinds(&events(&cluster.client, &path, 1).await), ["MODIFIED"]);
}
