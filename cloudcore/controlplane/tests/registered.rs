//! Which group versions are served, as `kubectl get apiservices` shows it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub)]

mod support;

use serde_json::{Value, json};
use support::{Cluster, KUBECTL, KUBECTL_1_20, eventually, expect};

const SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_shows_every_group_version_that_is_served_and_custom_ones_come_and_go() {
    let cluster = Cluster::start().await;
    for kubectl in [KUBECTL, KUBECTL_1_20] {
        let shown = cluster.run(kubectl, &["get", "apiservices"]).await;
        let rows: Vec<Vec<&str>> = shown.out.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[0], ["NAME", "SERVICE", "AVAILABLE", "AGE"], "{shown:?}");
        for name in ["v1.", "v1.apps", "v1.batch", "v2.autoscaling"] {
            let row = rows.iter().find(|row| row[0] == name).unwrap_or_else(|| panic!("{name}: {shown:?}"));
            assert!(row[1..3] == ["Local", "True"] && row[3].ends_with('s'), "{row:?}");
        }
        let described = cluster.run(kubectl, &["describe", "apiservice", "v1.apps"]).await;
        assert!(described.out.contains("Local APIServices are always available"), "{described:?}");
    }
    // Whatever discovery tells is registered, and nothing else.
    let groups = cluster.call("GET", "/apis", Value::Null).await.1;
    let versions =
        groups["groups"].as_array().unwrap().iter().flat_map(|group| group["versions"].as_array().unwrap());
    let mut told: Vec<_> =
        versions.map(|version| version["groupVersion"].as_str().unwrap().to_owned()).collect();
    told.push("/v1".to_owned());
    // The group that tells does not tell of itself.
    told.retain(|version| !version.starts_with("apiregistration.k8s.io/"));
    let list = expect(cluster.call("GET", SERVICES, Value::Null), 200).await;
    let spec = |one: &Value, field: &str| one["spec"][field].as_str().unwrap_or_default().to_owned();
    let mut listed: Vec<_> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| format!("{}/{}", spec(one, "group"), spec(one, "version")))
        .collect();
    told.sort();
    listed.sort();
    assert_eq!(listed, told);

    let schema = json!({"openAPIV3Schema": {"type": "object"}});
    let crd = json!({
        "metadata": {"name": "pandas.bears.example.com"},
        "spec": {"group": "bears.example.com", "scope": "Namespaced", "names": {"plural": "pandas", "kind": "Panda"},
            "versions": [{"name": "v1alpha1", "served": true, "storage": true, "schema": schema}]},
    });
    let crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    expect(cluster.call("POST", crds, crd), 201).await;
    let own = format!("{SERVICES}/v1alpha1.bears.example.com");
    let code = |wanted: u16| {
        let (cluster, own) = (&cluster, &own);
        async move { (cluster.call("GET", own, Value::Null).await.0 == wanted).then_some(()) }
    };
    eventually("it is registered", || code(200)).await;
    let chosen = cluster
        .must(&["get", "apiservices", "-l", "kube-aggregator.kubernetes.io/automanaged=true", "-o", "name"])
        .await;
    assert_eq!(chosen.trim(), "apiservice.apiregistration.k8s.io/v1alpha1.bears.example.com");
    expect(cluster.call("DELETE", &format!("{crds}/pandas.bears.example.com"), Value::Null), 200).await;
    eventually("it is gone", || code(404)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_registered_is_not_for_clients_to_change() {
    let cluster = Cluster::start().await;
    let service = json!({"metadata": {"name": "v1.mine"}, "spec": {"group": "mine", "version": "v1"}});
    expect(cluster.call("POST", SERVICES, service), 405).await;
    expect(cluster.call("DELETE", &format!("{SERVICES}/v1.apps"), Value::Null), 405).await;
    expect(cluster.call("GET", &format!("{SERVICES}?watch=true"), Value::Null), 405).await;
    expect(cluster.call("GET", &format!("{SERVICES}/v9.apps"), Value::Null), 404).await;
}
