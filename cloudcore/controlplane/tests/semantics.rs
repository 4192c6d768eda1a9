//! What the API promises below kubectl: lists, watches, preconditions, deletion, identities.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub)]

mod support;

use serde_json::{Value, json};
use support::{Cluster, call, events, eventually};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";

fn map(name: &str, labels: Value) -> Value {
    json!({"metadata": {"name": name, "labels": labels}, "data": {"a": "1"}})
}

fn pod(name: &str, node: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"nodeName": node, "containers": [{"name": "c", "image": "i:1"}]}})
}

fn version(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap()).collect()
}

async fn expect(answer: impl Future<Output = (u16, Value)>, code: u16) -> Value {
    let (found, body) = answer.await;
    assert_eq!(found, code, "{body}");
    body
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
    for n in 0..1100 {
        expect(cluster.patch("merge-patch+json", &path, json!({"data": {"n": n.to_string()}})), 200).await;
    }
    let seen = events(&cluster.client, &format!("{MAPS}?watch=1&resourceVersion=2"), 9).await;
    assert_eq!(
        (seen.len(), seen[0]["type"].as_str(), &seen[0]["object"]["code"]),
        (1, Some("ERROR"), &json!(410))
    );
    assert_eq!(seen[0]["object"]["reason"], "Expired");
    let exact = format!("{MAPS}?resourceVersion=2&resourceVersionMatch=Exact");
    assert_eq!(expect(cluster.call("GET", &exact, Value::Null), 410).await["reason"], "Expired");
}

#[tokio::test(flavor = "multi_thread")]
async fn bookmarks_come_when_asked_for_and_the_watch_ends_in_time() {
    let cluster = Cluster::start().await;
    let path = format!("{MAPS}?watch=true&allowWatchBookmarks=true&timeoutSeconds=2&resourceVersion=1");
    let seen = events(&cluster.client, &path, 99).await;
    assert_eq!(kinds(&seen).last(), Some(&"BOOKMARK"), "{seen:?}");
    let mark = &seen.last().unwrap()["object"];
    assert_eq!((mark["kind"].as_str(), mark.get("data")), (Some("ConfigMap"), None));
    let quiet = events(&cluster.client, &format!("{PODS}?watch=true&timeoutSeconds=1"), 99).await;
    assert!(quiet.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_streamed_list_ends_with_its_bookmark_and_goes_on_living() {
    let cluster = Cluster::start().await;
    let path = "/api/v1/namespaces?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let seen = events(&cluster.client, path, 5).await;
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
    assert_eq!(refused["details"]["causes"][0]["reason"], "ResourceVersionTooLarge");
    assert!(
        refused["message"].as_str().unwrap().starts_with("Too large resource version: 999999999, current: ")
    );
    expect(cluster.call("GET", &format!("{PODS}?resourceVersionMatch=Exact"), Value::Null), 422).await;
    expect(cluster.call("GET", &format!("{PODS}?resourceVersion=abc"), Value::Null), 400).await;
}

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
    let dry = expect(
        cluster.patch("merge-patch+json", &format!("{path}?dryRun=All"), json!({"data": {"a": "9"}})),
        200,
    )
    .await;
    assert_eq!(dry["data"]["a"], "9");
    let after = expect(cluster.call("GET", &path, Value::Null), 200).await;
    assert_eq!(after, created);
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
    expect(cluster.call("DELETE", &path, json!({"preconditions": {"resourceVersion": "1"}})), 409).await;
    let exists = expect(cluster.call("POST", MAPS, map("m", json!({}))), 409).await;
    assert_eq!(
        (exists["reason"].as_str(), exists["message"].as_str()),
        (Some("AlreadyExists"), Some("configmaps \"m\" already exists"))
    );
}

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
        3,
    )
    .await;
    assert_eq!(kinds(&seen), ["MODIFIED", "MODIFIED", "DELETED"]);
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

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_told_who_they_are_and_that_they_may_not() {
    let cluster = Cluster::start().await;
    let get = |client: kube::Client, path: &'static str| async move {
        call(&client, "GET", path, "application/json", Value::Null).await
    };
    let nobody = cluster.stranger(None);
    for open in ["/healthz", "/livez", "/readyz"] {
        assert_eq!(get(nobody.clone(), open).await, (200, json!("ok")));
    }
    assert_eq!(get(nobody.clone(), "/version").await.1["major"], "1");
    let denied = expect(get(nobody.clone(), "/api/v1/namespaces/default/pods"), 403).await;
    assert_eq!(
        denied["message"],
        "pods is forbidden: User \"system:anonymous\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\""
    );
    expect(get(nobody, "/apis"), 403).await;
    let wrong = expect(get(cluster.stranger(Some("wrong")), "/api/v1/pods"), 401).await;
    assert_eq!(wrong["message"], "Unauthorized");

    let request = json!({"spec": {"expirationSeconds": 600}});
    let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let issued = expect(cluster.call("POST", path, request), 201).await;
    let account = cluster.stranger(issued["status"]["token"].as_str());
    let denied = expect(get(account.clone(), "/api/v1/namespaces/default/pods"), 403).await;
    assert!(
        denied["message"]
            .as_str()
            .unwrap()
            .contains("User \"system:serviceaccount:default:default\" cannot list")
    );
    expect(get(account.clone(), "/apis"), 200).await;
    let question = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let me = expect(call(&account, "POST", question, "application/json", json!({})), 201).await;
    assert_eq!(me["status"]["userInfo"]["username"], "system:serviceaccount:default:default");
    let master = cluster.tls_client().await;
    expect(get(master, "/api/v1/namespaces/default/pods"), 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_may_do_what_is_bound_to_it_where_it_is_bound_and_no_longer() {
    let cluster = Cluster::start().await;
    let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let issued = expect(cluster.call("POST", path, json!({"spec": {"expirationSeconds": 600}})), 201).await;
    let account = cluster.stranger(issued["status"]["token"].as_str());
    let get = |path: &'static str| call(&account, "GET", path, "application/json", Value::Null);
    expect(get("/api/v1/namespaces/default/pods"), 403).await;

    let bindings = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings";
    let binding = json!({
        "metadata": {"name": "reads"},
        "roleRef": {"kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": "default"}],
    });
    expect(cluster.call("POST", bindings, binding), 201).await;
    expect(get("/api/v1/namespaces/default/pods"), 200).await;
    expect(get("/api/v1/namespaces/kube-system/pods"), 403).await;
    expect(get("/api/v1/pods"), 403).await;
    let secrets = expect(get("/api/v1/namespaces/default/secrets"), 403).await;
    assert!(secrets["message"].as_str().unwrap().contains("cannot list resource \"secrets\""), "{secrets}");
    let made = call(
        &account,
        "POST",
        "/api/v1/namespaces/default/configmaps",
        "application/json",
        map("a", json!({})),
    );
    expect(made, 403).await;

    let question = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let may = |verb: &'static str| {
        let spec = json!({"resourceAttributes": {"namespace": "default", "verb": verb, "resource": "pods"}});
        call(&account, "POST", question, "application/json", json!({"spec": spec}))
    };
    assert_eq!(expect(may("watch"), 201).await["status"]["allowed"], true);
    assert_eq!(expect(may("delete"), 201).await["status"]["allowed"], false);

    expect(cluster.call("DELETE", &format!("{bindings}/reads"), Value::Null), 200).await;
    expect(get("/api/v1/namespaces/default/pods"), 403).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn speaking_for_another_takes_the_right_to_and_gives_no_more_than_the_other_has() {
    let cluster = Cluster::start().await;
    let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let issued = expect(cluster.call("POST", path, json!({"spec": {"expirationSeconds": 600}})), 201).await;
    let account = cluster.stranger(issued["status"]["token"].as_str());
    let as_bob = |group: Option<&'static str>| {
        let account = account.clone();
        async move {
            let mut request = http::Request::builder()
                .uri("/api/v1/namespaces/default/pods")
                .header("impersonate-user", "bob");
            if let Some(group) = group {
                request = request.header("impersonate-group", group);
            }
            account.send(request.body(Vec::new().into()).unwrap()).await.unwrap().status().as_u16()
        }
    };
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let role = |name: &str, rule: Value| json!({"metadata": {"name": name}, "rules": [rule]});
    let bind = |name: &str, subject: Value| {
        json!({
            "metadata": {"name": name}, "roleRef": {"kind": "ClusterRole", "name": name}, "subjects": [subject],
        })
    };
    let reads = json!({"verbs": ["list"], "apiGroups": [""], "resources": ["pods"]});
    let bob = json!({"kind": "User", "name": "bob"});
    let roles = format!("{rbac}/clusterroles");
    let bindings = format!("{rbac}/clusterrolebindings");
    expect(cluster.call("POST", &roles, role("reads", reads)), 201).await;
    expect(cluster.call("POST", &bindings, bind("reads", bob)), 201).await;
    assert_eq!(as_bob(None).await, 403);

    let speaks = json!({"verbs": ["impersonate"], "apiGroups": [""], "resources": ["users"], "resourceNames": ["bob"]});
    let me = json!({"kind": "ServiceAccount", "name": "default", "namespace": "default"});
    expect(cluster.call("POST", &roles, role("speaks", speaks)), 201).await;
    expect(cluster.call("POST", &bindings, bind("speaks", me)), 201).await;
    assert_eq!(as_bob(None).await, 200);
    assert_eq!(as_bob(Some("system:masters")).await, 403);
    let denied = call(&account, "GET", "/api/v1/namespaces/default/pods", "application/json", Value::Null);
    expect(denied, 403).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn default_roles_are_mended_at_start_unless_their_owner_said_not_to() {
    let cluster = Cluster::start().await;
    let role = |name: &str| format!("/apis/rbac.authorization.k8s.io/v1/clusterroles/{name}");
    let emptied = json!({"rules": []});
    expect(cluster.patch("merge-patch+json", &role("system:aggregate-to-view"), emptied), 200).await;
    let own = json!({"rules": [], "metadata": {"annotations": {"rbac.authorization.kubernetes.io/autoupdate": "false"}}});
    expect(cluster.patch("merge-patch+json", &role("system:basic-user"), own), 200).await;
    let cluster = cluster.restart().await;
    let rules = |role: Value| role["rules"].as_array().map_or(0, Vec::len);
    assert!(rules(expect(cluster.call("GET", &role("view"), Value::Null), 200).await) > 0);
    assert_eq!(rules(expect(cluster.call("GET", &role("system:basic-user"), Value::Null), 200).await), 0);
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
    assert_eq!(expect(cluster.call("GET", &format!("{new}/f"), Value::Null), 200).await["note"], "Stopping");
}

#[tokio::test(flavor = "multi_thread")]
async fn both_forms_of_discovery_name_a_new_kind_and_unchanged_ones_cost_nothing() {
    let cluster = Cluster::start().await;
    let get = async |path: &str, accept: &str, tag: &str| {
        let request =
            http::Request::builder().uri(path).header("accept", accept).header("if-none-match", tag);
        let response = cluster.client.send(request.body(Vec::new().into()).unwrap()).await.unwrap();
        let header = |name: &str| {
            response.headers().get(name).map_or(String::new(), |value| value.to_str().unwrap().to_owned())
        };
        (response.status().as_u16(), header("content-type"), header("etag"))
    };
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
    let (code, kind, tag) = get("/apis", accept, "").await;
    assert_eq!(
        (code, kind.as_str()),
        (200, "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")
    );
    assert_eq!(get("/apis", accept, &tag).await.0, 304);
    assert_eq!(get("/apis", "application/json", &tag).await.1, "application/json");
    assert_eq!(get("/api/v1/namespaces/default/pods", "text/html", "").await.0, 406);
    let crd = json!({"metadata": {"name": "things.example.com"}, "spec": {
        "group": "example.com", "scope": "Cluster", "names": {"plural": "things", "kind": "Thing"},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]}});
    let crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let created = expect(cluster.call("POST", crds, crd), 201).await;
    let established = |crd: &Value| {
        crd["status"]["conditions"]
            .as_array()
            .unwrap()
            .iter()
            .any(|one| one["type"] == "Established" && one["status"] == "True")
    };
    assert!(established(&created), "{created}");
    assert_eq!(get("/apis", accept, &tag).await.0, 200);
    assert!(
        expect(cluster.call("GET", "/openapi/v3", Value::Null), 200).await["paths"]["apis/example.com/v1"]
            .is_object()
    );
    expect(cluster.call("POST", "/apis/example.com/v1/things", json!({"metadata": {"name": "one"}})), 201)
        .await;
    let cluster = cluster.restart().await;
    expect(cluster.call("GET", "/apis/example.com/v1/things/one", Value::Null), 200).await;
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
