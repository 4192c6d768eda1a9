//! Going: grace, finalizers, namespaces, evictions.

use serde_json::{Value, json};

use crate::support::{Cluster, events, eventually, expect};
use crate::{MAPS, PODS, kinds, map, pod, version};

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_on_a_node_goes_when_its_agent_lets_it() {
    let cluster = Cluster::start().await;
    let created = expect(cluster.call("POST", PODS, pod("p", "edge1")), 201).await;
    let path = format!("{PODS}/p");
    let marked = expect(cluster.call("DELETE", &path, Value::Null), 200).await;
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 30);
    assert_eq!(marked["metadata"]["generation"], 2);
    let shorter = expect(cluster.call("DELETE", &path, json!({"gracePeriodSeconds": 1})), 200).await;
    assert_eq!(shorter["metadata"]["deletionGracePeriodSeconds"], 1);
    assert!(
        shorter["metadata"]["deletionTimestamp"].as_str() < marked["metadata"]["deletionTimestamp"].as_str()
    );
    let longer = expect(cluster.call("DELETE", &path, json!({"gracePeriodSeconds": 60})), 200).await;
    assert_eq!(longer, shorter);
    let wrong = json!({"gracePeriodSeconds": 0, "preconditions": {"uid": "other"}});
    expect(cluster.call("DELETE", &path, wrong), 409).await;
    let right = json!({"gracePeriodSeconds": 0, "preconditions": {"uid": created["metadata"]["uid"]}});
    assert_eq!(expect(cluster.call("DELETE", &path, right), 200).await["kind"], "Pod");
    expect(cluster.call("GET", &path, Value::Null), 404).await;

    expect(cluster.call("POST", PODS, pod("unscheduled", "")), 201).await;
    expect(cluster.call("DELETE", &format!("{PODS}/unscheduled"), Value::Null), 200).await;
    expect(cluster.call("GET", &format!("{PODS}/unscheduled"), Value::Null), 404).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn finalizers_hold_an_object_until_the_last_is_gone() {
    let cluster = Cluster::start().await;
    let mut object = map("m", json!({}));
    object["metadata"]["finalizers"] = json!(["x.io/f"]);
    let created = expect(cluster.call("POST", MAPS, object), 201).await;
    let path = format!("{MAPS}/m");
    let marked = expect(cluster.call("DELETE", &path, Value::Null), 200).await;
    assert!(marked["metadata"]["deletionTimestamp"].is_string());
    let more = json!({"metadata": {"finalizers": ["x.io/f", "y.io/g"]}});
    let refused = expect(cluster.patch("merge-patch+json", &path, more), 422).await;
    assert!(
        refused["message"]
            .as_str()
            .unwrap()
            .contains("no new finalizers can be added if the object is being deleted")
    );
    expect(cluster.patch("merge-patch+json", &path, json!({"metadata": {"finalizers": null}})), 200).await;
    expect(cluster.call("GET", &path, Value::Null), 404).await;
    let seen = events(
        &cluster.client,
        &format!("{MAPS}?watch=1&fieldSelector=metadata.name%3Dm&resourceVersion={}", version(&created)),
        2,
    )
    .await;
    // One write: an object that a stopped server left without finalizers would stay for ever.
    assert_eq!(kinds(&seen), ["MODIFIED", "DELETED"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_is_furnished_emptied_and_gone() {
    let cluster = Cluster::start().await;
    expect(cluster.call("POST", "/api/v1/namespaces", json!({"metadata": {"name": "foo"}})), 201).await;
    expect(cluster.call("GET", "/api/v1/namespaces/foo/serviceaccounts/default", Value::Null), 200).await;
    let ca =
        expect(cluster.call("GET", "/api/v1/namespaces/foo/configmaps/kube-root-ca.crt", Value::Null), 200)
            .await;
    assert!(ca["data"]["ca.crt"].as_str().unwrap().starts_with("-----BEGIN CERTIFICATE-----"));
    expect(cluster.call("DELETE", "/api/v1/namespaces/foo/serviceaccounts/default", Value::Null), 200).await;
    let back = "/api/v1/namespaces/foo/serviceaccounts?watch=1";
    assert_eq!(events(&cluster.client, back, 1).await[0]["object"]["metadata"]["name"], "default");

    let bundle = "/api/v1/namespaces/foo/configmaps/kube-root-ca.crt";
    let altered = json!({"data": {"ca.crt": "mine", "more": "x"}});
    expect(cluster.patch("merge-patch+json", bundle, altered), 200).await;
    let restored = || async {
        let (code, now) = cluster.call("GET", bundle, Value::Null).await;
        (code == 200 && now["data"] == ca["data"]).then_some(())
    };
    eventually("the bundle is put right", restored).await;
    expect(cluster.call("DELETE", bundle, Value::Null), 200).await;
    eventually("the bundle is made again", restored).await;

    let mut held = map("held", json!({}));
    held["metadata"]["finalizers"] = json!(["x.io/f"]);
    expect(cluster.call("POST", "/api/v1/namespaces/foo/configmaps", held), 201).await;
    let going = expect(cluster.call("DELETE", "/api/v1/namespaces/foo", Value::Null), 200).await;
    assert_eq!(going["status"]["phase"], "Terminating");
    let late =
        expect(cluster.call("POST", "/api/v1/namespaces/foo/configmaps", map("late", json!({}))), 403).await;
    assert_eq!(late["details"]["causes"][0]["reason"], "NamespaceTerminating");
    let conditions = eventually("the conditions", || async {
        let (_, namespace) = cluster.call("GET", "/api/v1/namespaces/foo", Value::Null).await;
        let conditions = namespace["status"]["conditions"].as_array()?.clone();
        let waits = conditions
            .iter()
            .any(|one| one["message"].as_str().unwrap().ends_with("configmaps. has 1 resource instances"));
        waits.then_some(conditions)
    })
    .await;
    let said: Vec<_> = conditions
        .iter()
        .map(|one| ["type", "status", "reason", "message"].map(|key| one[key].as_str().unwrap()))
        .collect();
    assert_eq!(
        said,
        [
            [
                "NamespaceDeletionDiscoveryFailure",
                "False",
                "ResourcesDiscovered",
                "All resources successfully discovered"
            ],
            [
                "NamespaceDeletionGroupVersionParsingFailure",
                "False",
                "ParsedGroupVersions",
                "All legacy kube types successfully parsed"
            ],
            [
                "NamespaceDeletionContentFailure",
                "False",
                "ContentDeleted",
                "All content successfully deleted, may be waiting on finalization"
            ],
            [
                "NamespaceContentRemaining",
                "True",
                "SomeResourcesRemain",
                "Some resources are remaining: configmaps. has 1 resource instances"
            ],
            [
                "NamespaceFinalizersRemaining",
                "True",
                "SomeFinalizersRemain",
                "Some content in the namespace has finalizers remaining: x.io/f in 1 resource instances"
            ],
        ]
    );
    let path = "/api/v1/namespaces/foo/configmaps/held";
    expect(cluster.patch("merge-patch+json", path, json!({"metadata": {"finalizers": []}})), 200).await;
    let gone = format!(
        "/api/v1/namespaces?watch=1&fieldSelector=metadata.name%3Dfoo&resourceVersion={}",
        version(&going)
    );
    let mut seen = events(&cluster.client, &gone, 1).await;
    while seen.last().unwrap()["type"] != "DELETED" {
        let next =
            gone.replace(&version(&going).to_string(), &version(&seen.last().unwrap()["object"]).to_string());
        seen.extend(events(&cluster.client, &next, 1).await);
    }
    expect(cluster.call("GET", "/api/v1/namespaces/foo", Value::Null), 404).await;
    let protected = expect(cluster.call("DELETE", "/api/v1/namespaces/default", Value::Null), 403).await;
    assert_eq!(
        protected["message"],
        "namespaces \"default\" is forbidden: this namespace may not be deleted"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_are_bound_once_and_evicted() {
    let cluster = Cluster::start().await;
    expect(cluster.call("POST", PODS, pod("p", "")), 201).await;
    let binding = json!({"target": {"kind": "Node", "name": "edge1"}});
    let bound = expect(cluster.call("POST", &format!("{PODS}/p/binding"), binding.clone()), 201).await;
    assert_eq!(bound["status"], "Success");
    let found = expect(cluster.call("GET", &format!("{PODS}/p"), Value::Null), 200).await;
    assert_eq!(
        (found["spec"]["nodeName"].as_str(), &found["status"]["conditions"][0]["type"]),
        (Some("edge1"), &json!("PodScheduled"))
    );
    let again = expect(cluster.call("POST", &format!("{PODS}/p/binding"), binding.clone()), 409).await;
    assert_eq!(
        again["message"],
        "Operation cannot be fulfilled on pods/binding \"p\": pod p is already assigned to node \"edge1\""
    );
    expect(cluster.call("POST", PODS, pod("q", "")), 201).await;
    let mut named = binding;
    named["metadata"] = json!({"name": "q"});
    expect(cluster.call("POST", "/api/v1/namespaces/default/bindings", named), 201).await;
    let eviction = json!({"kind": "Eviction", "apiVersion": "policy/v1", "metadata": {"name": "p"}, "deleteOptions": {"gracePeriodSeconds": 3}});
    expect(cluster.call("POST", &format!("{PODS}/p/eviction"), eviction), 201).await;
    let going = expect(cluster.call("GET", &format!("{PODS}/p"), Value::Null), 200).await;
    assert_eq!(going["metadata"]["deletionGracePeriodSeconds"], 3);
}
