//! Endpoints and EndpointSlices say who answers for a service, whatever happens to pods, services and the controllers.

mod support;

use controllers::Settings;
use serde_json::{Value, json};
use support::Managed;
use support::cluster::expect;

const PODS: &str = "/api/v1/namespaces/default/pods";
const SERVICES: &str = "/api/v1/namespaces/default/services";
const ENDPOINTS: &str = "/api/v1/namespaces/default/endpoints";
const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
const MERGE: &str = "merge-patch+json";

async fn create(managed: &Managed, path: &str, object: Value) -> Value {
    expect(managed.cluster.call("POST", path, object), 201).await
}

async fn service(managed: &Managed, name: &str, spec: Value) {
    let mut all = json!({"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]});
    all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    create(managed, SERVICES, json!({"metadata": {"name": name}, "spec": all})).await;
}

/// A pod that runs and is ready, with its port `http`; its address.
async fn pod(managed: &Managed, name: &str, port: u16, more: Value) -> String {
    let mut spec = json!({
        "nodeName": "edge",
        "containers": [{"name": "c", "image": "i", "ports": [{"name": "http", "containerPort": port}]}],
    });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    create(managed, PODS, json!({"metadata": {"name": name, "labels": {"app": "web"}}, "spec": spec})).await;
    let path = format!("{PODS}/{name}");
    let running = managed.until(&path, "running", |pod| pod["status"]["phase"] == "Running").await;
    running["status"]["podIP"].as_str().unwrap().to_owned()
}

async fn unready(managed: &Managed, name: &str) {
    let status = json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}});
    managed.cluster.patch("strategic-merge-patch+json", &format!("{PODS}/{name}/status"), status).await;
}

/// Addresses in all subsets, sorted.
fn addresses(endpoints: &Value, list: &str) -> Vec<String> {
    let subsets = endpoints["subsets"].as_array().into_iter().flatten();
    let all = subsets.flat_map(|subset| subset[list].as_array().into_iter().flatten());
    let mut all: Vec<String> = all.map(|one| one["ip"].as_str().unwrap().to_owned()).collect();
    all.sort();
    all
}

fn sorted(mut all: Vec<String>) -> Vec<String> {
    all.sort();
    all
}

async fn until_ready(managed: &Managed, name: &str, ready: &[&String]) -> Value {
    let ready = sorted(ready.iter().map(|one| (*one).clone()).collect());
    managed
        .until(&format!("{ENDPOINTS}/{name}"), "as ready", |endpoints| {
            endpoints["metadata"]["uid"].is_string() && addresses(endpoints, "addresses") == ready
        })
        .await
}

fn slices_of(name: &str) -> String {
    format!("{SLICES}?labelSelector=kubernetes.io%2Fservice-name%3D{name}")
}

/// The endpoints of all slices in a list.
fn all_endpoints(list: &Value) -> Vec<&Value> {
    let slices = list["items"].as_array().into_iter().flatten();
    slices.flat_map(|slice| slice["endpoints"].as_array().into_iter().flatten()).collect()
}

/// Waits until the slices hold as many endpoints, with so many of them ready.
async fn until_slices(managed: &Managed, name: &str, ready: usize, others: usize) -> Value {
    managed
        .until(&slices_of(name), "as many endpoints", |list| {
            let all = all_endpoints(list);
            let found = all.iter().filter(|one| one["conditions"]["ready"] == true).count();
            !list["items"].as_array().is_none_or(Vec::is_empty)
                && (found, all.len()) == (ready, ready + others)
        })
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_ready_pods_answer_and_one_that_is_not_ready_does_not() {
    let managed = Managed::start().await;
    let _edge = managed.ready_node("edge").await;
    let labels = json!({"tier": "front"});
    service(&managed, "web", json!({})).await;
    managed.cluster.patch(MERGE, &format!("{SERVICES}/web"), json!({"metadata": {"labels": labels}})).await;
    let (a, b) = (pod(&managed, "a", 8080, json!({})).await, pod(&managed, "b", 8080, json!({})).await);
    let c = pod(&managed, "c", 8080, json!({})).await;
    unready(&managed, "c").await;
    until_ready(&managed, "web", &[&a, &b]).await;
    let list = until_slices(&managed, "web", 2, 1).await;
    // They follow one pod after the other.
    let there = |endpoints: &Value| addresses(endpoints, "notReadyAddresses") == [c.clone()];
    let endpoints =
        managed.until(&format!("{ENDPOINTS}/web"), "the third is there, but not ready", there).await;
    let subset = &endpoints["subsets"][0];
    assert_eq!(subset["ports"], json!([{"port": 8080, "protocol": "TCP"}]));
    let first = subset["addresses"].as_array().unwrap().iter().find(|one| one["ip"] == a.as_str()).unwrap();
    let target =
        json!({"kind": "Pod", "namespace": "default", "name": "a", "uid": first["targetRef"]["uid"]});
    assert_eq!((&first["nodeName"], &first["targetRef"]), (&json!("edge"), &target));
    let meta = &endpoints["metadata"];
    assert_eq!(
        meta["labels"],
        json!({"tier": "front", "endpoints.kubernetes.io/managed-by": "endpoint-controller"})
    );

    let slice = &list["items"][0];
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    let name = slice["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("web-") && name.len() == "web-12345".len(), "{name}");
    assert_eq!(
        slice["metadata"]["labels"],
        json!({
            "tier": "front", "kubernetes.io/service-name": "web",
            "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
        })
    );
    let owner = &slice["metadata"]["ownerReferences"][0];
    assert_eq!(
        (&owner["kind"], &owner["name"], &owner["controller"]),
        (&json!("Service"), &json!("web"), &json!(true))
    );
    assert_eq!(
        (&slice["addressType"], &slice["ports"]),
        (&json!("IPv4"), &json!([{"name": "", "port": 8080, "protocol": "TCP"}]))
    );
    let one = all_endpoints(&list).into_iter().find(|one| one["addresses"][0] == a.as_str()).unwrap().clone();
    assert_eq!(one["conditions"], json!({"ready": true, "serving": true, "terminating": false}));
    assert_eq!((&one["nodeName"], &one["targetRef"]), (&json!("edge"), &target));

    let shown = managed.cluster.must(&["get", "endpoints", "web", "--no-headers"]).await;
    assert!(shown.contains(&format!("{a}:8080")) && shown.contains(&format!("{b}:8080")), "{shown}");
    let shown = managed.cluster.must(&["get", "endpointslices", "--no-headers", "-l", "tier=front"]).await;
    assert!(shown.contains("IPv4") && shown.contains("8080") && shown.contains(&a), "{shown}");
    let told = managed.cluster.must(&["describe", "service", "web"]).await;
    let line = told.lines().find(|line| line.starts_with("Endpoints:")).unwrap();
    assert!(line.contains(&format!("{a}:8080")) && line.contains(&format!("{b}:8080")), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_goes_serves_until_it_is_gone_but_is_not_ready() {
    let managed = Managed::start().await;
    let _edge = managed.ready_node("edge").await;
    service(&managed, "web", json!({})).await;
    let empty = until_ready(&managed, "web", &[]).await;
    let (_, made) = managed.cluster.call("GET", &format!("{SERVICES}/web"), Value::Null).await;
    assert_eq!(
        empty["metadata"]["annotations"]["endpoints.kubernetes.io/last-change-trigger-time"],
        made["metadata"]["creationTimestamp"]
    );
    let (a, b) = (pod(&managed, "a", 8080, json!({})).await, pod(&managed, "b", 8080, json!({})).await);
    until_ready(&managed, "web", &[&a, &b]).await;
    let held = json!({"metadata": {"finalizers": ["example.com/held"]}});
    managed.cluster.patch(MERGE, &format!("{PODS}/a"), held).await;
    expect(managed.cluster.call("DELETE", &format!("{PODS}/a"), Value::Null), 200).await;
    let endpoints = until_ready(&managed, "web", &[&b]).await;
    assert!(addresses(&endpoints, "notReadyAddresses").is_empty());
    let list = until_slices(&managed, "web", 1, 1).await;
    let going =
        all_endpoints(&list).into_iter().find(|one| one["addresses"][0] == a.as_str()).unwrap().clone();
    assert_eq!(going["conditions"], json!({"ready": false, "serving": true, "terminating": true}));
    managed.cluster.patch(MERGE, &format!("{PODS}/a"), json!({"metadata": {"finalizers": null}})).await;
    until_slices(&managed, "web", 1, 0).await;
    expect(managed.cluster.call("DELETE", &format!("{PODS}/b"), Value::Null), 200).await;
    let list = until_slices(&managed, "web", 0, 0).await;
    assert_eq!(list["items"].as_array().unwrap().len(), 1, "an empty slice stays: {list:#}");
    until_ready(&managed, "web", &[]).await;
    let shown = managed.cluster.must(&["get", "endpoints", "web", "--no-headers"]).await;
    assert!(shown.contains("<none>"), "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_named_port_leads_where_each_pod_says_and_a_changed_port_is_followed() {
    let managed = Managed::start().await;
    let _edge = managed.ready_node("edge").await;
    let (a, b) = (pod(&managed, "a", 8080, json!({})).await, pod(&managed, "b", 9090, json!({})).await);
    service(&managed, "web", json!({})).await;
    let endpoints = until_ready(&managed, "web", &[&a, &b]).await;
    let of = |subset: usize| {
        let subset = &endpoints["subsets"][subset];
        (subset["addresses"][0]["ip"].as_str().unwrap(), subset["ports"][0]["port"].as_i64().unwrap())
    };
    assert_eq!((of(0), of(1)), ((a.as_str(), 8080), (b.as_str(), 9090)));
    let list = until_slices(&managed, "web", 2, 0).await;
    assert_eq!(list["items"].as_array().unwrap().len(), 2);
    let ports =
        json!({"spec": {"ports": [{"port": 81, "targetPort": 7070, "name": "new", "protocol": "TCP"}]}});
    managed.cluster.patch(MERGE, &format!("{SERVICES}/web"), ports).await;
    managed
        .until(&format!("{ENDPOINTS}/web"), "on the new port", |endpoints| {
            endpoints["subsets"].as_array().is_some_and(|subsets| subsets.len() == 1)
                && endpoints["subsets"][0]["ports"]
                    == json!([{"name": "new", "port": 7070, "protocol": "TCP"}])
        })
        .await;
    managed
        .until(&slices_of("web"), "one slice on the new port", |list| {
            list["items"].as_array().is_some_and(|items| items.len() == 1)
                && list["items"][0]["ports"] == json!([{"name": "new", "port": 7070, "protocol": "TCP"}])
                && all_endpoints(list).len() == 2
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_and_fifty_pods_take_two_slices_though_controllers_are_killed_meanwhile() {
    let mut managed = Managed::start().await;
    let _edge = managed.ready_node("edge").await;
    service(&managed, "web", json!({})).await;
    let set = json!({"metadata": {"name": "web"}, "spec": {
        "replicas": 0, "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"nodeName": "edge", "containers": [
            {"name": "c", "image": "i", "ports": [{"name": "http", "containerPort": 8080}]},
        ]}},
    }});
    create(&managed, "/apis/apps/v1/namespaces/default/replicasets", set).await;
    until_slices(&managed, "web", 0, 0).await;
    managed.cluster.must(&["scale", "rs/web", "--replicas=150"]).await;
    for least in [20, 70] {
        managed.until(&slices_of("web"), "begun", |list| all_endpoints(list).len() >= least).await;
        managed.kill_controllers(Settings::default());
    }
    let list = until_slices(&managed, "web", 150, 0).await;
    let mut sizes: Vec<usize> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|slice| slice["endpoints"].as_array().unwrap().len())
        .collect();
    sizes.sort_unstable();
    assert!(sizes.len() == 2 && sizes[1] <= 100, "{sizes:?}");
    let path = format!("{ENDPOINTS}/web");
    managed.until(&path, "full", |endpoints| addresses(endpoints, "addresses").len() == 150).await;
    managed.cluster.must(&["scale", "rs/web", "--replicas=0"]).await;
    until_slices(&managed, "web", 0, 0).await;
    managed.until(&path, "empty", |endpoints| endpoints["subsets"].is_null()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_headless_service_knows_its_pods_by_name_and_may_publish_who_is_not_ready() {
    let managed = Managed::start().await;
    let _edge = managed.ready_node("edge").await;
    let headless = json!({"clusterIP": "None", "ports": null});
    let mut open = headless.clone();
    open["publishNotReadyAddresses"] = json!(true);
    service(&managed, "db", headless).await;
    service(&managed, "open", open).await;
    let a = pod(&managed, "a", 5432, json!({"hostname": "db-0", "subdomain": "db"})).await;
    let b = pod(&managed, "b", 5432, json!({})).await;
    unready(&managed, "b").await;
    let endpoints = until_ready(&managed, "db", &[&a]).await;
    assert_eq!(endpoints["subsets"][0]["addresses"][0]["hostname"], "db-0");
    assert!(endpoints["subsets"][0]["ports"].is_null());
    assert_eq!(endpoints["metadata"]["labels"]["service.kubernetes.io/headless"], "");
    let list = until_slices(&managed, "db", 1, 1).await;
    assert_eq!(all_endpoints(&list).iter().filter(|one| one["hostname"] == "db-0").count(), 1);
    assert_eq!(list["items"][0]["metadata"]["labels"]["service.kubernetes.io/headless"], "");
    until_ready(&managed, "open", &[&a, &b]).await;
    until_slices(&managed, "open", 2, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_selector_nothing_changes_any_more_and_with_the_service_all_goes() {
    let mut managed = Managed::start().await;
    let _edge = managed.ready_node("edge").await;
    service(&managed, "web", json!({})).await;
    service(&managed, "other", json!({})).await;
    let a = pod(&managed, "a", 8080, json!({})).await;
    until_ready(&managed, "web", &[&a]).await;
    managed.cluster.patch(MERGE, &format!("{SERVICES}/web"), json!({"spec": {"selector": null}})).await;
    let b = pod(&managed, "b", 8080, json!({})).await;
    until_ready(&managed, "other", &[&a, &b]).await;
    until_ready(&managed, "web", &[&a]).await;
    // One goes before the eyes of the controllers, the other behind their back.
    managed.cluster.must(&["delete", "service", "web"]).await;
    managed.until(&format!("{ENDPOINTS}/web"), "gone", |endpoints| endpoints["code"] == 404).await;
    let gone = |list: &Value| list["items"].as_array().is_some_and(Vec::is_empty);
    managed.until(&slices_of("web"), "gone", gone).await;
    managed.stop_controllers().await;
    managed.cluster.must(&["delete", "service", "other"]).await;
    managed.kill_controllers(Settings::default());
    managed.until(&format!("{ENDPOINTS}/other"), "gone", |endpoints| endpoints["code"] == 404).await;
    managed.until(&slices_of("other"), "gone", gone).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoints_written_by_hand_are_mirrored_until_they_say_no_and_go_with_their_service() {
    let managed = Managed::start().await;
    service(&managed, "ext", json!({"selector": null})).await;
    let by_hand = json!({"metadata": {"name": "ext", "labels": {"by": "hand"}}, "subsets": [{
        "addresses": [{"ip": "192.0.2.1"}], "notReadyAddresses": [{"ip": "192.0.2.2"}], "ports": [{"port": 5000, "name": "p"}],
    }]});
    create(&managed, ENDPOINTS, by_hand).await;
    let list = until_slices(&managed, "ext", 1, 1).await;
    let slice = &list["items"][0];
    let labels = &slice["metadata"]["labels"];
    assert_eq!(labels["endpointslice.kubernetes.io/managed-by"], "endpointslicemirroring-controller.k8s.io");
    assert_eq!(
        (&labels["by"], &slice["metadata"]["ownerReferences"][0]["kind"]),
        (&json!("hand"), &json!("Endpoints"))
    );
    assert_eq!(slice["ports"], json!([{"name": "p", "port": 5000, "protocol": "TCP"}]));
    let more = json!({"subsets": [{"addresses": [{"ip": "192.0.2.1"}, {"ip": "192.0.2.3"}], "ports": [{"port": 5000, "name": "p", "protocol": "TCP"}]}]});
    managed.cluster.patch(MERGE, &format!("{ENDPOINTS}/ext"), more).await;
    let list = until_slices(&managed, "ext", 2, 0).await;
    assert_eq!(list["items"][0]["metadata"]["name"], slice["metadata"]["name"]);
    let no = |skip: Value| json!({"metadata": {"labels": {"endpointslice.kubernetes.io/skip-mirror": skip}}});
    managed.cluster.patch(MERGE, &format!("{ENDPOINTS}/ext"), no(json!("true"))).await;
    let gone = |list: &Value| list["items"].as_array().is_some_and(Vec::is_empty);
    managed.until(&slices_of("ext"), "gone", gone).await;
    managed.cluster.patch(MERGE, &format!("{ENDPOINTS}/ext"), no(Value::Null)).await;
    until_slices(&managed, "ext", 2, 0).await;
    managed.cluster.must(&["delete", "service", "ext"]).await;
    managed.until(&format!("{ENDPOINTS}/ext"), "gone", |endpoints| endpoints["code"] == 404).await;
    managed.until(&slices_of("ext"), "gone", gone).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_concern_them_writes_nothing_and_what_was_broken_is_mended() {
    let mut managed = Managed::start().await;
    let _edge = managed.ready_node("edge").await;
    service(&managed, "web", json!({})).await;
    let a = pod(&managed, "a", 8080, json!({})).await;
    until_ready(&managed, "web", &[&a]).await;
    let versions = async |managed: &Managed| {
        let endpoints = until_ready(managed, "web", &[&a]).await;
        let list = until_slices(managed, "web", 1, 0).await;
        let version = |object: &Value| object["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
        (
            version(&endpoints),
            version(&list["items"][0]),
            list["items"][0]["metadata"]["name"].as_str().unwrap().to_owned(),
        )
    };
    let before = versions(&managed).await;
    managed.cluster.must(&["annotate", "pod", "a", "note=1"]).await;
    managed.cluster.must(&["annotate", "service", "web", "note=1"]).await;
    managed.restart_controllers(Settings::default()).await;
    // Whoever has seen these has seen the notes.
    service(&managed, "later", json!({})).await;
    until_ready(&managed, "later", &[&a]).await;
    until_slices(&managed, "later", 1, 0).await;
    assert_eq!(versions(&managed).await, before);

    managed.cluster.must(&["delete", "endpoints", "web"]).await;
    managed.cluster.must(&["delete", "endpointslice", &before.2]).await;
    until_ready(&managed, "web", &[&a]).await;
    until_slices(&managed, "web", 1, 0).await;
    managed.cluster.must(&["label", "pod", "a", "app=other", "--overwrite"]).await;
    until_ready(&managed, "web", &[]).await;
    until_slices(&managed, "web", 0, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_apis_own_endpoints_outlive_its_service_which_comes_back() {
    let managed = Managed::start().await;
    let path = format!("{SERVICES}/kubernetes");
    let before = managed.until(&path, "there", |service| service["metadata"]["uid"].is_string()).await;
    let endpoints = format!("{ENDPOINTS}/kubernetes");
    let subsets = managed.until(&endpoints, "there", |all| !all["subsets"].is_null()).await["subsets"].take();
    managed.cluster.must(&["delete", "service", "kubernetes", "--wait=false"]).await;
    let uid = before["metadata"]["uid"].clone();
    managed
        .until(&path, "back", |now| now["metadata"]["uid"].is_string() && now["metadata"]["uid"] != uid)
        .await;
    // Whoever has seen these has seen the service go.
    service(&managed, "later", json!({})).await;
    until_ready(&managed, "later", &[]).await;
    managed.until(&endpoints, "there still", |all| all["subsets"] == subsets).await;
    let list = until_slices(&managed, "kubernetes", 1, 0).await;
    assert_eq!(list["items"].as_array().unwrap().len(), 1, "{list:#}");
}
