//! What loses its owners goes; what has others stays; owners wait when they are asked to. With real kubectl against the real API.

mod support;

use std::time::Duration;

use controllers::Settings;
use serde_json::{Value, json};
use support::Managed;
use support::cluster::{call, eventually, expect};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn map(name: &str, owners: &[Value]) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "ownerReferences": owners}})
}

fn owner_of(object: &Value) -> Value {
    json!({
        "apiVersion": object["apiVersion"], "kind": object["kind"], "name": object["metadata"]["name"],
        "uid": object["metadata"]["uid"], "blockOwnerDeletion": true,
    })
}

async fn make(managed: &Managed, path: &str, object: Value) -> Value {
    expect(managed.cluster.call("POST", path, object), 201).await
}

async fn gone(managed: &Managed, path: &str) {
    managed.until(path, "gone", |document| document["code"] == 404).await;
}

async fn there(managed: &Managed, path: &str) -> Value {
    expect(managed.cluster.call("GET", path, Value::Null), 200).await
}

/// Waits until the collector has dealt with everything before: an object whose owner never was is gone.
async fn settled(managed: &Managed) {
    let nobody = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "nobody", "uid": "00000000-0000-0000-0000-000000000000"});
    let probe =
        make(managed, MAPS, json!({"metadata": {"generateName": "probe-", "ownerReferences": [nobody]}}))
            .await;
    gone(managed, &format!("{MAPS}/{}", probe["metadata"]["name"].as_str().unwrap())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dependents_follow_their_owner_and_those_with_another_owner_stay() {
    let managed = Managed::start().await;
    let (a, b) = (make(&managed, MAPS, map("a", &[])).await, make(&managed, MAPS, map("b", &[])).await);
    let child = make(&managed, MAPS, map("child", &[owner_of(&a)])).await;
    make(&managed, MAPS, map("grandchild", &[owner_of(&child)])).await;
    make(&managed, MAPS, map("shared", &[owner_of(&a), owner_of(&b)])).await;
    managed.cluster.must(&["delete", "configmap", "a"]).await;
    gone(&managed, &format!("{MAPS}/child")).await;
    gone(&managed, &format!("{MAPS}/grandchild")).await;
    let shared = managed
        .until(&format!("{MAPS}/shared"), "left with one owner", |shared| {
            shared["metadata"]["ownerReferences"].as_array().is_some_and(|owners| owners.len() == 1)
        })
        .await;
    assert_eq!(shared["metadata"]["ownerReferences"][0]["name"], "b");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_with_another_uid_is_no_owner_and_one_that_never_was_neither() {
    let managed = Managed::start().await;
    let real = make(&managed, MAPS, map("real", &[])).await;
    let mut stranger = owner_of(&real);
    stranger["uid"] = json!("11111111-1111-1111-1111-111111111111");
    make(&managed, MAPS, map("child", &[stranger])).await;
    gone(&managed, &format!("{MAPS}/child")).await;
    there(&managed, &format!("{MAPS}/real")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cascade_foreground_waits_for_what_blocks_and_kubectl_waits_too() {
    let managed = Managed::start().await;
    let owner = make(&managed, MAPS, map("owner", &[])).await;
    let mut held = map("held", &[owner_of(&owner)]);
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    make(&managed, MAPS, held).await;
    let mut free = owner_of(&owner);
    free["blockOwnerDeletion"] = json!(false);
    make(&managed, MAPS, map("free", &[free])).await;
    let args = ["delete", "configmap", "owner", "--cascade=foreground"];
    let mut delete = managed.cluster.command(support::cluster::KUBECTL, &args);
    let mut delete = delete.stdout(std::process::Stdio::piped()).spawn().unwrap();
    managed
        .until(&format!("{MAPS}/held"), "on its way", |held| !held["metadata"]["deletionTimestamp"].is_null())
        .await;
    gone(&managed, &format!("{MAPS}/free")).await;
    settled(&managed).await;
    let owner = there(&managed, &format!("{MAPS}/owner")).await;
    assert_eq!(owner["metadata"]["finalizers"], json!(["foregroundDeletion"]));
    assert_eq!(delete.try_wait().unwrap(), None);
    let release = json!({"metadata": {"finalizers": null}});
    expect(managed.cluster.patch("merge-patch+json", &format!("{MAPS}/held"), release), 200).await;
    let said =
        tokio::time::timeout(Duration::from_secs(30), delete.wait_with_output()).await.unwrap().unwrap();
    assert!(said.status.success(), "{said:?}");
    assert_eq!(String::from_utf8_lossy(&said.stdout), "configmap \"owner\" deleted\n");
    gone(&managed, &format!("{MAPS}/owner")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cascade_orphan_leaves_dependents_without_owner() {
    let managed = Managed::start().await;
    let owner = make(&managed, MAPS, map("owner", &[])).await;
    for name in ["one", "two"] {
        make(&managed, MAPS, map(name, &[owner_of(&owner)])).await;
    }
    let said = managed.cluster.must(&["delete", "configmap", "owner", "--cascade=orphan"]).await;
    assert_eq!(said, "configmap \"owner\" deleted\n");
    settled(&managed).await;
    for name in ["one", "two"] {
        let child = there(&managed, &format!("{MAPS}/{name}")).await;
        assert_eq!(child["metadata"].get("ownerReferences"), None, "{child}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_leave_their_pods_unless_told_otherwise_and_say_so() {
    let managed = Managed::start().await;
    let jobs = "/apis/batch/v1/namespaces/default/jobs";
    let pods = "/api/v1/namespaces/default/pods";
    for (name, query, stays) in [
        ("quiet", "", true),
        ("old", "?orphanDependents=false", false),
        ("new", "?propagationPolicy=Foreground", false),
    ] {
        let container = json!({"name": "c", "image": "i"});
        let job = json!({
            "metadata": {"name": name},
            "spec": {"suspend": true, "template": {"spec": {"restartPolicy": "Never", "containers": [container]}}},
        });
        let job = make(&managed, jobs, job).await;
        let pod = json!({
            "metadata": {"name": name, "ownerReferences": [owner_of(&job)]}, "spec": {"containers": [container]},
        });
        make(&managed, pods, pod).await;
        let request = http::Request::builder().method("DELETE").uri(format!("{jobs}/{name}{query}"));
        let answer = managed.cluster.client.send(request.body(Vec::new().into()).unwrap()).await.unwrap();
        let warning = answer.headers().get("warning").map(|text| text.to_str().unwrap().to_owned());
        assert_eq!(warning.is_some_and(|text| text.contains("child pods are preserved by default")), stays);
        gone(&managed, &format!("{jobs}/{name}")).await;
        if stays {
            settled(&managed).await;
            let pod = there(&managed, &format!("{pods}/{name}")).await;
            assert_eq!(pod["metadata"].get("ownerReferences"), None);
        } else {
            gone(&managed, &format!("{pods}/{name}")).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_in_another_namespace_is_none_and_an_event_says_so() {
    let managed = Managed::start().await;
    let owner = make(&managed, "/api/v1/namespaces/kube-public/configmaps", map("owner", &[])).await;
    let child = make(&managed, MAPS, map("child", &[owner_of(&owner)])).await;
    gone(&managed, &format!("{MAPS}/child")).await;
    let path = "/api/v1/namespaces/default/events?fieldSelector=reason%3DOwnerRefInvalidNamespace";
    let events = managed.until(path, "told", |events| !events["items"].as_array().unwrap().is_empty()).await;
    let (event, uid) = (&events["items"][0], owner["metadata"]["uid"].as_str().unwrap());
    assert_eq!(
        event["message"],
        format!(
            "ownerRef [v1/ConfigMap, namespace: default, name: owner, uid: {uid}] does not exist in namespace \"default\""
        )
    );
    assert_eq!(
        (&event["involvedObject"]["uid"], &event["source"]["component"]),
        (&child["metadata"]["uid"], &json!("garbage-collector-controller"))
    );
    there(&managed, "/api/v1/namespaces/kube-public/configmaps/owner").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custom_resources_own_and_are_owned_and_come_and_go_with_their_definition() {
    let managed = Managed::start().await;
    let crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let crd = json!({"metadata": {"name": "things.example.com"}, "spec": {
        "group": "example.com", "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]}});
    let things = "/apis/example.com/v1/namespaces/default/things";
    // Twice: a definition that comes back is watched again.
    for round in ["first", "second"] {
        make(&managed, crds, crd.clone()).await;
        let thing = make(&managed, things, json!({"metadata": {"name": "owner"}})).await;
        let map_of_thing = make(&managed, MAPS, map("of-thing", &[owner_of(&thing)])).await;
        make(
            &managed,
            things,
            json!({"metadata": {"name": "of-map", "ownerReferences": [owner_of(&map_of_thing)]}}),
        )
        .await;
        managed.cluster.must(&["delete", "thing", "owner"]).await;
        gone(&managed, &format!("{MAPS}/of-thing")).await;
        gone(&managed, &format!("{things}/of-map")).await;

        let thing = make(&managed, things, json!({"metadata": {"name": round}})).await;
        make(&managed, MAPS, map("of-thing", &[owner_of(&thing)])).await;
        managed.cluster.must(&["delete", "crd", "things.example.com"]).await;
        gone(&managed, &format!("{MAPS}/of-thing")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_collector_finds_what_happened_while_there_was_none() {
    let mut managed = Managed::start().await;
    let owners = [make(&managed, MAPS, map("a", &[])).await, make(&managed, MAPS, map("b", &[])).await];
    let waiting = make(&managed, MAPS, map("c", &[])).await;
    for number in 0..20 {
        make(&managed, MAPS, map(&format!("of-a-{number}"), &[owner_of(&owners[0])])).await;
        make(&managed, MAPS, map(&format!("of-b-{number}"), &[owner_of(&owners[1])])).await;
        make(&managed, MAPS, map(&format!("of-c-{number}"), &[owner_of(&waiting)])).await;
    }
    let ended = std::mem::replace(&mut managed.tasks, tasks::TaskSet::new("none"));
    assert!(ended.shutdown(Duration::from_secs(10)).await.is_clean());
    managed.cluster.must(&["delete", "configmap", "a"]).await;
    managed.cluster.must(&["delete", "configmap", "b", "--cascade=orphan", "--wait=false"]).await;
    managed.cluster.must(&["delete", "configmap", "c", "--cascade=foreground", "--wait=false"]).await;
    assert_eq!(there(&managed, &format!("{MAPS}/b")).await["metadata"]["finalizers"], json!(["orphan"]));
    managed.restart_controllers(Settings::default()).await;
    for owner in ["b", "c"] {
        gone(&managed, &format!("{MAPS}/{owner}")).await;
    }
    let list = eventually("only orphans are left", || async {
        let (_, list) = managed.cluster.call("GET", MAPS, Value::Null).await;
        let items = list["items"].as_array().unwrap().clone();
        let of = |prefix: &str| {
            items.iter().filter(|item| item["metadata"]["name"].as_str().unwrap().starts_with(prefix)).count()
        };
        (of("of-a-") == 0 && of("of-c-") == 0).then(|| items.clone())
    })
    .await;
    let orphans: Vec<_> =
        list.iter().filter(|item| item["metadata"]["name"].as_str().unwrap().starts_with("of-b-")).collect();
    assert_eq!(orphans.len(), 20);
    assert!(orphans.iter().all(|orphan| orphan["metadata"].get("ownerReferences").is_none()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slices_and_revisions_are_collected_like_all_others() {
    let managed = Managed::start().await;
    let owner = make(&managed, MAPS, map("owner", &[])).await;
    let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    let slice = json!({"metadata": {"name": "s", "ownerReferences": [owner_of(&owner)]}, "addressType": "IPv4", "endpoints": []});
    make(&managed, slices, slice).await;
    let revisions = "/apis/apps/v1/namespaces/default/controllerrevisions";
    let revision =
        json!({"metadata": {"name": "r", "ownerReferences": [owner_of(&owner)]}, "revision": 1, "data": {}});
    make(&managed, revisions, revision).await;
    let (code, list) = call(
        &managed.cluster.client,
        "DELETE",
        &format!("{MAPS}?fieldSelector=metadata.name%3Downer"),
        "application/json",
        json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Foreground"}),
    )
    .await;
    assert_eq!((code, list["items"].as_array().unwrap().len()), (200, 1));
    gone(&managed, &format!("{slices}/s")).await;
    gone(&managed, &format!("{revisions}/r")).await;
    gone(&managed, &format!("{MAPS}/owner")).await;
}
