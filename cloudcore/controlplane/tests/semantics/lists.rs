//! Lists: pages, revisions and forms.

use futures::{AsyncBufReadExt, StreamExt};
use serde_json::{Value, json};

use crate::support::{Cluster, expect};
use crate::{PODS, kinds, pod, version};

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_of_one_moment_and_add_up() {
    let cluster = Cluster::start().await;
    for n in 0..7 {
        expect(cluster.call("POST", PODS, pod(&format!("p{n}"), "")), 201).await;
    }
    let (mut names, mut token, mut pages, mut versions) = (Vec::new(), String::new(), 0, Vec::new());
    loop {
        let page =
            expect(cluster.call("GET", &format!("{PODS}?limit=2&continue={token}"), Value::Null), 200).await;
        names.extend(
            page["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned()),
        );
        versions.push(version(&page));
        pages += 1;
        if pages == 1 {
            assert_eq!(page["metadata"]["remainingItemCount"], 5);
            expect(cluster.call("DELETE", &format!("{PODS}/p5"), Value::Null), 200).await;
        }
        match page["metadata"]["continue"].as_str() {
            Some(next) => token = next.to_owned(),
            None => break,
        }
    }
    assert_eq!((pages, names.join(" ").as_str()), (4, "p0 p1 p2 p3 p4 p5 p6"));
    versions.dedup();
    assert_eq!(versions.len(), 1);
    expect(cluster.call("GET", &format!("{PODS}?continue=x"), Value::Null), 400).await;
    expect(cluster.call("GET", &format!("{PODS}?limit=abc"), Value::Null), 400).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_from_the_future_is_waited_for_and_then_refused() {
    let cluster = Cluster::start().await;
    let future = format!("{PODS}?resourceVersion=999999999");
    let refused = expect(cluster.call("GET", &future, Value::Null), 504).await;
    assert_eq!(
        refused["details"]["causes"],
        json!([{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}])
    );
    assert_eq!(
        (&refused["reason"], &refused["details"]["retryAfterSeconds"]),
        (&json!("Timeout"), &json!(1))
    );
    assert!(
        refused["message"].as_str().unwrap().starts_with("Too large resource version: 999999999, current: ")
    );
    expect(cluster.call("GET", &format!("{PODS}?resourceVersionMatch=Exact"), Value::Null), 422).await;
    expect(cluster.call("GET", &format!("{PODS}?resourceVersion=abc"), Value::Null), 400).await;
}

async fn as_form(cluster: &Cluster, path: &str, form: &str) -> Vec<Value> {
    let request = http::Request::builder().uri(path).header("accept", form).body(Vec::new()).unwrap();
    let lines = cluster.client.request_stream(request).await.unwrap().lines();
    lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect().await
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_and_watches_come_as_metadata_alone_or_as_tables() {
    const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
    const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
    const TABLE: &str = "application/json;as=Table;g=meta.k8s.io;v=v1,application/json";
    let cluster = Cluster::start().await;
    let start = version(&expect(cluster.call("GET", PODS, Value::Null), 200).await);
    expect(cluster.call("POST", PODS, pod("p", "n")), 201).await;
    let changed = json!({"metadata": {"labels": {"a": "b"}}});
    expect(cluster.patch("merge-patch+json", &format!("{PODS}/p"), changed), 200).await;

    let [one] = &as_form(&cluster, &format!("{PODS}/p"), METADATA).await[..] else { panic!("one document") };
    assert_eq!(
        (&one["kind"], &one["apiVersion"], &one["metadata"]["name"], one.get("spec")),
        (&json!("PartialObjectMetadata"), &json!("meta.k8s.io/v1"), &json!("p"), None)
    );
    let [list] = &as_form(&cluster, PODS, METADATA_LIST).await[..] else { panic!("one document") };
    assert_eq!(
        (&list["kind"], &list["apiVersion"]),
        (&json!("PartialObjectMetadataList"), &json!("meta.k8s.io/v1"))
    );
    assert_eq!(list["items"][0]["metadata"]["labels"], json!({"a": "b"}));
    assert_eq!(list["items"][0].get("spec"), None);
    assert!(version(list) > start);
    let watch = format!("{PODS}?watch=1&timeoutSeconds=1&resourceVersion={start}");
    let seen = as_form(&cluster, &watch, METADATA).await;
    assert_eq!(kinds(&seen), ["ADDED", "MODIFIED"]);
    for event in &seen {
        let object = &event["object"];
        assert_eq!(
            (&object["kind"], object.get("spec")),
            (&json!("PartialObjectMetadata"), None),
            "{object}"
        );
    }

    let [table] = &as_form(&cluster, PODS, TABLE).await[..] else { panic!("one document") };
    assert_eq!((&table["kind"], &table["apiVersion"]), (&json!("Table"), &json!("meta.k8s.io/v1")));
    assert_eq!(table["columnDefinitions"][0]["name"], "Name");
    assert_eq!(table["rows"][0]["cells"][0], "p");
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    let seen = as_form(&cluster, &watch, TABLE).await;
    assert_eq!(kinds(&seen), ["ADDED", "MODIFIED"]);
    for (index, event) in seen.iter().enumerate() {
        let table = &event["object"];
        assert_eq!(
            (&table["kind"], table["rows"].as_array().unwrap().len()),
            (&json!("Table"), 1),
            "{table}"
        );
        assert_eq!(
            table["columnDefinitions"].is_array(),
            index == 0,
            "only the first says what the columns are"
        );
        assert_eq!(
            table["metadata"]["resourceVersion"],
            table["rows"][0]["object"]["metadata"]["resourceVersion"]
        );
    }
    assert!(version(&seen[0]["object"]) < version(&seen[1]["object"]));
}
