//! Events: one store, two groups.

use serde_json::{Value, json};

use crate::support::{Cluster, events, expect};

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_the_same_object_in_both_groups() {
    let cluster = Cluster::start().await;
    let old = "/api/v1/namespaces/default/events";
    let new = "/apis/events.k8s.io/v1/namespaces/default/events";
    let about = json!({"kind": "Pod", "namespace": "default", "name": "p", "apiVersion": "v1"});
    let event = json!({
        "metadata": {"name": "e"}, "regarding": about, "reason": "Started", "note": "Container started", "type": "Normal", "action": "Start",
        "reportingController": "edged", "reportingInstance": "edge1", "eventTime": "2026-11-21T06:12:18.000001Z",
    });
    expect(cluster.call("POST", new, event), 201).await;
    let seen = expect(
        cluster.call(
            "GET",
            &format!("{old}?fieldSelector=involvedObject.name%3Dp,reason%3DStarted"),
            Value::Null,
        ),
        200,
    )
    .await;
    assert_eq!(
        (&seen["items"][0]["message"], &seen["items"][0]["involvedObject"]["name"]),
        (&json!("Container started"), &json!("p"))
    );
    let watch = events(&cluster.client, &format!("{new}?watch=1"), 1).await;
    assert_eq!(
        (&watch[0]["object"]["apiVersion"], &watch[0]["object"]["note"]),
        (&json!("events.k8s.io/v1"), &json!("Container started"))
    );
    let core = json!({"metadata": {"name": "f"}, "involvedObject": about, "reason": "Killing", "message": "Stopping", "type": "Normal", "source": {"component": "edged"}});
    expect(cluster.call("POST", old, core), 201).await;
    let read = expect(cluster.call("GET", &format!("{new}/f"), Value::Null), 200).await;
    assert_eq!(
        (&read["note"], &read["regarding"]["name"], &read["deprecatedSource"]["component"]),
        (&json!("Stopping"), &json!("p"), &json!("edged"))
    );
    // What is changed through one is changed in the other, and is the same object.
    let mut event = expect(cluster.call("GET", &format!("{old}/f"), Value::Null), 200).await;
    event["message"] = json!("Stopped");
    event["count"] = json!(4);
    let written = expect(cluster.call("PUT", &format!("{old}/f"), event), 200).await;
    let read = expect(cluster.call("GET", &format!("{new}/f"), Value::Null), 200).await;
    assert_eq!((&read["note"], &read["deprecatedCount"]), (&json!("Stopped"), &json!(4)));
    assert_eq!(
        (&read["metadata"]["uid"], &read["metadata"]["resourceVersion"]),
        (&written["metadata"]["uid"], &written["metadata"]["resourceVersion"])
    );
    let again = json!({"series": {"count": 2, "lastObservedTime": "2026-11-21T06:13:18.000001Z"}});
    expect(cluster.patch("merge-patch+json", &format!("{new}/e"), again), 200).await;
    assert_eq!(
        expect(cluster.call("GET", &format!("{old}/e"), Value::Null), 200).await["series"]["count"],
        2
    );
    expect(cluster.call("DELETE", &format!("{old}/f"), Value::Null), 200).await;
    expect(cluster.call("GET", &format!("{new}/f"), Value::Null), 404).await;
}
