//! Writes: versions, preconditions, names, and what each part of an object takes.

use serde_json::{Value, json};

use crate::support::{Cluster, call, events, expect};
use crate::{MAPS, PODS, map, pod, version};

#[tokio::test(flavor = "multi_thread")]
async fn writes_that_change_nothing_leave_the_revision_alone() {
    let cluster = Cluster::start().await;
    let created = expect(cluster.call("POST", MAPS, map("m", json!({}))), 201).await;
    let path = format!("{MAPS}/m");
    let put = expect(cluster.call("PUT", &path, created.clone()), 200).await;
    assert_eq!(version(&put), version(&created));
    for kind in ["merge-patch+json", "strategic-merge-patch+json"] {
        let patched = expect(cluster.patch(kind, &path, json!({"data": {"a": "1"}})), 200).await;
        assert_eq!(version(&patched), version(&created), "{kind}");
    }
    let sorted = json!([{"op": "replace", "path": "/data/a", "value": "1"}]);
    let patched = expect(cluster.patch("json-patch+json", &path, sorted), 200).await;
    assert_eq!(version(&patched), version(&created));
    let config =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "n"}, "data": {"a": "1"}});
    let applied = format!("{MAPS}/n?fieldManager=me");
    let first = expect(cluster.patch("apply-patch+yaml", &applied, config.clone()), 201).await;
    let second = expect(cluster.patch("apply-patch+yaml", &applied, config), 200).await;
    assert_eq!(first, second);
    let dry = expect(
        cluster.patch("merge-patch+json", &format!("{path}?dryRun=All"), json!({"data": {"a": "9"}})),
        200,
    )
    .await;
    assert_eq!(dry["data"]["a"], "9");
    let after = expect(cluster.call("GET", &path, Value::Null), 200).await;
    assert_eq!(after, created);
    // Nobody who watches heard of any of it.
    expect(cluster.call("POST", MAPS, map("end", json!({}))), 201).await;
    let path = format!("{MAPS}?watch=1&timeoutSeconds=1&resourceVersion={}", version(&created));
    let names: Vec<_> = events(&cluster.client, &path, 9)
        .await
        .iter()
        .map(|event| format!("{} {}", event["type"], event["object"]["metadata"]["name"]))
        .collect();
    assert_eq!(names, [r#""ADDED" "n""#, r#""ADDED" "end""#]);
}

#[tokio::test(flavor = "multi_thread")]
async fn stale_versions_and_foreign_uids_are_conflicts() {
    let cluster = Cluster::start().await;
    let old = expect(cluster.call("POST", MAPS, map("m", json!({}))), 201).await;
    let path = format!("{MAPS}/m");
    let mut new = old.clone();
    new["data"]["a"] = json!("2");
    expect(cluster.call("PUT", &path, new.clone()), 200).await;
    let conflict = expect(cluster.call("PUT", &path, new), 409).await;
    assert_eq!(
        conflict["message"],
        "Operation cannot be fulfilled on configmaps \"m\": the object has been modified; please apply your changes to the latest version and try again"
    );
    let stale =
        json!({"metadata": {"resourceVersion": old["metadata"]["resourceVersion"]}, "data": {"a": "3"}});
    expect(cluster.patch("merge-patch+json", &path, stale), 409).await;
    expect(cluster.patch("merge-patch+json", &path, json!({"metadata": {"uid": "other"}})), 409).await;
    let uid = cluster.call("DELETE", &path, json!({"preconditions": {"uid": "zzz"}}));
    let message = expect(uid, 409).await["message"].as_str().unwrap().to_owned();
    assert!(message.starts_with("Operation cannot be fulfilled on ConfigMap \"m\": the UID in the precondition (zzz) does not match the UID in record ("), "{message}");
    let stale = cluster.call("DELETE", &path, json!({"preconditions": {"resourceVersion": "1"}}));
    let message = expect(stale, 409).await["message"].as_str().unwrap().to_owned();
    assert!(message.starts_with("Operation cannot be fulfilled on ConfigMap \"m\": the ResourceVersion in the precondition (1) does not match the ResourceVersion in record ("), "{message}");
    assert!(message.ends_with("). The object might have been modified"), "{message}");
    let exists = expect(cluster.call("POST", MAPS, map("m", json!({}))), 409).await;
    assert_eq!(
        (exists["reason"].as_str(), exists["message"].as_str()),
        (Some("AlreadyExists"), Some("configmaps \"m\" already exists"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn status_and_spec_are_written_apart() {
    let cluster = Cluster::start().await;
    let mut object = pod("p", "n");
    object["status"] = json!({"phase": "Running"});
    let created = expect(cluster.call("POST", PODS, object), 201).await;
    assert_eq!(created["status"]["phase"], "Pending");
    let path = format!("{PODS}/p");
    let both = json!({"spec": {"activeDeadlineSeconds": 9}, "status": {"phase": "Running"}});
    let status =
        expect(cluster.patch("strategic-merge-patch+json", &format!("{path}/status"), both.clone()), 200)
            .await;
    assert_eq!(
        (status["status"]["phase"].as_str(), status["spec"].get("activeDeadlineSeconds")),
        (Some("Running"), None)
    );
    let main = expect(
        cluster.patch("strategic-merge-patch+json", &path, json!({"status": {"phase": "Failed"}})),
        200,
    )
    .await;
    assert_eq!(main["status"]["phase"], "Running");
    assert_eq!(main["metadata"]["generation"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_said_as_kubernetes_says_it() {
    let cluster = Cluster::start().await;
    let said = |body: Value| body["message"].as_str().unwrap_or_default().to_owned();
    let get = |path: &'static str| cluster.call("GET", path, Value::Null);
    assert_eq!(
        said(expect(get("/api/v1/namespaces/default/pods/nope"), 404).await),
        "pods \"nope\" not found"
    );
    assert_eq!(
        said(expect(get("/apis/apps/v1/namespaces/default/deployments/x"), 404).await),
        "deployments.apps \"x\" not found"
    );
    assert_eq!(
        said(expect(get("/api/v1/nopes"), 404).await),
        "the server could not find the requested resource"
    );
    assert_eq!(expect(get("/nope"), 404).await, json!("404 page not found\n"));
    assert_eq!(expect(get("/apis/no.such/v1/things"), 404).await, json!("404 page not found\n"));
    assert_eq!(expect(get("/api/v1/namespaces/nons/pods"), 200).await["items"], json!([]));
    let lost = cluster.call("POST", "/api/v1/namespaces/nons/pods", pod("p", ""));
    assert_eq!(said(expect(lost, 404).await), "namespaces \"nons\" not found");
    expect(cluster.call("POST", &format!("{PODS}/p"), pod("p", "")), 405).await;
    expect(cluster.call("PUT", PODS, pod("p", "")), 405).await;
    let text = call(&cluster.client, "POST", MAPS, "text/plain", json!({})).await;
    assert_eq!(text.0, 415);
    expect(cluster.call("PUT", &format!("{MAPS}/m"), map("m", json!({}))), 404).await;
    let lease = json!({"metadata": {"name": "l"}, "spec": {"holderIdentity": "me"}});
    let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    expect(cluster.call("PUT", &format!("{leases}/l"), lease.clone()), 201).await;
    let blind = expect(cluster.call("PUT", &format!("{leases}/l"), lease), 422).await;
    assert!(
        said(blind).contains("metadata.resourceVersion: Invalid value: 0: must be specified for an update")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_generated_and_bodies_must_agree_with_their_url() {
    let cluster = Cluster::start().await;
    let generated = json!({"metadata": {"generateName": "job-"}});
    let one = expect(cluster.call("POST", MAPS, generated.clone()), 201).await;
    let two = expect(cluster.call("POST", MAPS, generated), 201).await;
    let name = |object: &Value| object["metadata"]["name"].as_str().unwrap().to_owned();
    assert!(name(&one).starts_with("job-") && name(&one).len() == 9 && name(&one) != name(&two));
    let elsewhere = json!({"metadata": {"name": "m", "namespace": "kube-system"}});
    let refused = expect(cluster.call("POST", MAPS, elsewhere), 400).await;
    assert_eq!(
        refused["message"],
        "the namespace of the provided object does not match the namespace sent on the request"
    );
    let other =
        expect(cluster.call("PUT", &format!("{MAPS}/{}", name(&one)), map("other", json!({}))), 400).await;
    assert_eq!(
        other["message"],
        format!("the name of the object (other) does not match the name on the URL ({})", name(&one))
    );
    let kind = json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "m"}});
    expect(cluster.call("POST", MAPS, kind), 400).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_huge_body_is_refused_and_the_server_goes_on() {
    let cluster = Cluster::start().await;
    let client = cluster.tls_client().await;
    let mut huge = map("m", json!({}));
    huge["data"]["a"] = json!("x".repeat(4 << 20));
    assert_eq!(call(&client, "POST", MAPS, "application/json", huge).await.0, 413);
    assert_eq!(call(&client, "GET", MAPS, "application/json", Value::Null).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_of_one_part_leaves_the_other_and_only_the_spec_counts_generations() {
    const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
    let cluster = Cluster::start().await;
    let made = json!({"metadata": {"name": "d"}, "status": {"replicas": 7}, "spec": {
        "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    let made = expect(cluster.call("POST", DEPLOYMENTS, made), 201).await;
    assert_eq!((&made["metadata"]["generation"], &made["status"]), (&json!(1), &json!({})));
    let path = format!("{DEPLOYMENTS}/d");
    let mut both = made.clone();
    both["spec"]["replicas"] = json!(5);
    both["status"] = json!({"replicas": 3, "observedGeneration": 1});
    both["metadata"]["labels"] = json!({"seen": "yes"});
    let status = expect(cluster.call("PUT", &format!("{path}/status"), both.clone()), 200).await;
    assert_eq!((&status["spec"], &status["metadata"]["generation"]), (&made["spec"], &json!(1)));
    assert_eq!(status["status"], both["status"]);
    both["metadata"]["resourceVersion"] = status["metadata"]["resourceVersion"].clone();
    both["status"] = json!({"replicas": 99});
    let main = expect(cluster.call("PUT", &path, both.clone()), 200).await;
    assert_eq!((&main["status"], &main["spec"]["replicas"]), (&status["status"], &json!(5)));
    assert_eq!(main["metadata"]["generation"], 2);
    let label = json!({"metadata": {"labels": {"only": "labels"}, "generation": 40}});
    let labelled = expect(cluster.patch("merge-patch+json", &path, label), 200).await;
    assert_eq!(labelled["metadata"]["generation"], 2);
    // Those without generations never get one.
    let map = expect(cluster.call("POST", MAPS, map("m", json!({}))), 201).await;
    assert_eq!(map["metadata"].get("generation"), None);
}
