//! What the server says that it serves.

use serde_json::{Value, json};

use crate::support::{Cluster, expect};

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
    let html = http::Request::builder().uri("/api/v1/namespaces/default/pods").header("accept", "text/html");
    let refused = cluster.client.request::<Value>(html.body(Vec::new()).unwrap()).await;
    let Err(kube::Error::Api(refused)) = refused else { panic!("{refused:?}") };
    assert_eq!(refused.reason, "NotAcceptable");
    assert!(refused.message.contains("application/json, application/yaml"), "{}", refused.message);
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
async fn what_is_told_and_not_stored_is_listed_like_the_rest() {
    let cluster = Cluster::start().await;
    let services = cluster.must(&["get", "apiservices"]).await;
    let lines: Vec<Vec<&str>> = services.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["NAME", "SERVICE", "AVAILABLE", "AGE"]);
    assert_eq!(lines[1][..3], ["v1.", "Local", "True"]);
    assert!(
        lines.iter().any(|line| line[0] == "v1.apps") && lines.iter().any(|line| line[0] == "v2.autoscaling")
    );
    let one = cluster.json(&["get", "apiservice", "v1.apps"]).await;
    assert_eq!(
        one["spec"],
        json!({"group": "apps", "version": "v1", "groupPriorityMinimum": 17800, "versionPriority": 1})
    );
    let selected = ["get", "apiservices", "--field-selector=metadata.name=v1.batch", "-o", "name"];
    assert_eq!(cluster.must(&selected).await, "apiservice.apiregistration.k8s.io/v1.batch\n");
    assert!(!cluster.kubectl(&["get", "apiservice", "v1.nope"]).await.ok);
    assert!(!cluster.kubectl(&["delete", "apiservice", "v1.apps"]).await.ok);
    let said = cluster.kubectl(&["get", "componentstatuses"]).await;
    assert!(said.err.contains("Warning: v1 ComponentStatus is deprecated in v1.19+"), "{said:?}");
    let lines: Vec<Vec<&str>> = said.out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["NAME", "STATUS", "MESSAGE", "ERROR"]);
    assert_eq!(
        lines[1..],
        [
            ["controller-manager", "Healthy", "ok"],
            ["etcd-0", "Healthy", "ok"],
            ["scheduler", "Healthy", "ok"]
        ]
    );
}
