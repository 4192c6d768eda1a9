//! Addresses and node ports of services: given once, kept, and given back with the service or its type. With real kubectl where it shows.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub)]

mod support;

use std::collections::BTreeSet;

use serde_json::{Value, json};
use support::{Cluster, expect};

const SERVICES: &str = "/api/v1/namespaces/default/services";
const MERGE: &str = "merge-patch+json";

fn service(name: &str, spec: Value) -> Value {
    let mut all = json!({"ports": [{"port": 80}]});
    all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    json!({"metadata": {"name": name}, "spec": all})
}

async fn create(cluster: &Cluster, name: &str, spec: Value) -> Value {
    expect(cluster.call("POST", SERVICES, service(name, spec)), 201).await["spec"].take()
}

async fn change(cluster: &Cluster, name: &str, spec: Value) -> Value {
    let path = format!("{SERVICES}/{name}");
    expect(cluster.patch(MERGE, &path, json!({"spec": spec})), 200).await["spec"].take()
}

async fn refused(cluster: &Cluster, spec: Value) -> String {
    let answer = expect(cluster.call("POST", SERVICES, service("x", spec)), 422).await;
    answer["message"].as_str().unwrap().to_owned()
}

fn node_port(spec: &Value) -> i64 {
    spec["ports"][0]["nodePort"].as_i64().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_has_an_address_and_every_default_and_keeps_them_through_a_restart() {
    let cluster = Cluster::start().await;
    let made = create(&cluster, "web", json!({"sessionAffinity": "ClientIP"})).await;
    let address = made["clusterIP"].as_str().unwrap().to_owned();
    assert!(address.starts_with("10.96."), "{made}");
    assert_eq!(
        made,
        json!({
            "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}], "type": "ClusterIP",
            "clusterIP": address, "clusterIPs": [address], "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
            "internalTrafficPolicy": "Cluster", "sessionAffinity": "ClientIP",
            "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10800}},
        })
    );
    let headless = create(&cluster, "none", json!({"clusterIP": "None"})).await;
    assert_eq!(
        (&headless["clusterIPs"], &headless["ipFamilies"]),
        (&json!(["None"]), &json!(["IPv4", "IPv6"]))
    );
    let external =
        create(&cluster, "ext", json!({"type": "ExternalName", "externalName": "a.example", "ports": null}))
            .await;
    assert_eq!(
        external,
        json!({"type": "ExternalName", "externalName": "a.example", "sessionAffinity": "None"})
    );
    let node = create(&cluster, "node", json!({"type": "NodePort"})).await;
    assert!(
        (30000..=32767).contains(&node_port(&node)) && node["externalTrafficPolicy"] == "Cluster",
        "{node}"
    );

    let cluster = Cluster::start_in(cluster.stop().await).await;
    // A manifest that does not mention what was given does not take it.
    let path = format!("{SERVICES}/web");
    let put = expect(cluster.call("PUT", &path, service("web", json!({}))), 200).await;
    assert_eq!(put["spec"]["clusterIP"], address);
    let put = expect(
        cluster.call("PUT", &format!("{SERVICES}/node"), service("node", json!({"type": "NodePort"}))),
        200,
    )
    .await;
    assert_eq!(node_port(&put["spec"]), node_port(&node));
    assert!(
        refused(&cluster, json!({"clusterIP": address})).await.ends_with("provided IP is already allocated")
    );
    assert!(
        refused(&cluster, json!({"type": "NodePort", "ports": [{"port": 1, "nodePort": node_port(&node)}]}))
            .await
            .ends_with("provided port is already allocated")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_out_of_range_or_of_another_family_is_refused_in_kubernetes_words() {
    let cluster = Cluster::start().await;
    create(&cluster, "one", json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30000}]})).await;
    let port = |port: i64| json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": port}]});
    let rows = [
        (port(30000), "spec.ports[0].nodePort: Invalid value: 30000: provided port is already allocated"),
        (
            port(80),
            "spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767",
        ),
        (
            json!({"clusterIP": "10.96.0.1"}),
            "spec.clusterIPs: Invalid value: [\"10.96.0.1\"]: failed to allocate IP 10.96.0.1: provided IP is already allocated",
        ),
        (
            json!({"clusterIP": "192.0.2.1"}),
            "spec.clusterIPs: Invalid value: [\"192.0.2.1\"]: failed to allocate IP 192.0.2.1: the provided IP (192.0.2.1) is not in the valid range. The range of valid IPs is 10.96.0.0/16",
        ),
        (
            json!({"ipFamilies": ["IPv6"]}),
            "spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured on this cluster",
        ),
        (
            json!({"ipFamilyPolicy": "RequireDualStack"}),
            "spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": this cluster is not configured for dual-stack services",
        ),
        (
            json!({"sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 5}}}),
            "spec.sessionAffinityConfig: Forbidden: must not be set when session affinity is None",
        ),
        (
            json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 0}}}),
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 0: must be greater than 0 and less than 86400",
        ),
    ];
    for (spec, words) in rows {
        let message = refused(&cluster, spec).await;
        assert_eq!(message, format!("Service \"x\" is invalid: {words}"));
    }
    let said =
        cluster.kubectl(&["create", "service", "nodeport", "two", "--tcp=80", "--node-port=30000"]).await;
    assert!(said.err.contains("provided port is already allocated"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_changes_its_type_gets_what_it_needs_and_gives_back_the_rest() {
    let cluster = Cluster::start().await;
    let made = create(&cluster, "web", json!({})).await;
    let address = made["clusterIP"].as_str().unwrap().to_owned();
    let node = change(&cluster, "web", json!({"type": "NodePort"})).await;
    let port = node_port(&node);
    assert!(
        port != 0 && node["clusterIP"] == address && node["externalTrafficPolicy"] == "Cluster",
        "{node}"
    );
    let inner = change(&cluster, "web", json!({"type": "ClusterIP"})).await;
    assert!(
        node_port(&inner) == 0 && inner["clusterIP"] == address && inner["externalTrafficPolicy"].is_null(),
        "{inner}"
    );
    // Free again.
    create(&cluster, "other", json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": port}]})).await;
    let external =
        change(&cluster, "web", json!({"type": "ExternalName", "externalName": "a.example"})).await;
    for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        assert!(external[field].is_null(), "{external}");
    }
    create(&cluster, "third", json!({"clusterIP": address})).await;
    let back = change(&cluster, "web", json!({"type": "ClusterIP", "externalName": null})).await;
    assert!(
        back["clusterIP"].as_str().unwrap() != address && back["ipFamilies"] == json!(["IPv4"]),
        "{back}"
    );
    let path = format!("{SERVICES}/web");
    let elsewhere = json!({"spec": {"clusterIP": "10.96.9.9", "clusterIPs": null}});
    let message =
        expect(cluster.patch(MERGE, &path, elsewhere), 422).await["message"].as_str().unwrap().to_owned();
    assert!(
        message.contains("spec.clusterIPs[0]: Invalid value: [\"10.96.9.9\"]: may not change once set"),
        "{message}"
    );
    let balanced =
        change(&cluster, "other", json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local"})).await;
    assert!(node_port(&balanced) == port && balanced["healthCheckNodePort"].is_i64(), "{balanced}");
}

#[tokio::test(flavor = "multi_thread")]
async fn services_that_come_at_once_never_share_an_address_or_a_port() {
    let cluster = Cluster::start().await;
    let names: Vec<String> = (0..60).map(|number| format!("s{number}")).collect();
    let made = names.iter().map(|name| create(&cluster, name, json!({"type": "NodePort"})));
    let made = futures::future::join_all(made).await;
    let addresses: BTreeSet<_> = made.iter().map(|spec| spec["clusterIP"].as_str().unwrap()).collect();
    let ports: BTreeSet<_> = made.iter().map(node_port).collect();
    assert_eq!((addresses.len(), ports.len()), (60, 60));
    let same = (0..20).map(|number| {
        let spec = json!({"type": "NodePort", "clusterIP": "10.96.0.77", "ports": [{"port": 80, "nodePort": 30007}]});
        cluster.call("POST", SERVICES, service(&format!("t{number}"), spec))
    });
    let won = futures::future::join_all(same).await.iter().filter(|(code, _)| *code == 201).count();
    assert_eq!(won, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_says_itself_where_it_answers_also_after_it_moved() {
    let cluster = Cluster::start().await;
    let check = async |cluster: &Cluster| {
        let port: u16 = cluster.server.rsplit(':').next().unwrap().parse().unwrap();
        let ports = json!([{"name": "https", "port": port, "protocol": "TCP"}]);
        let endpoints = cluster.call("GET", "/api/v1/namespaces/default/endpoints/kubernetes", Value::Null);
        let endpoints = expect(endpoints, 200).await;
        assert_eq!(endpoints["subsets"], json!([{"addresses": [{"ip": "127.0.0.1"}], "ports": ports}]));
        let path = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes";
        let slice = expect(cluster.call("GET", path, Value::Null), 200).await;
        assert_eq!((&slice["ports"], &slice["addressType"]), (&ports, &json!("IPv4")));
        assert_eq!(slice["endpoints"], json!([{"addresses": ["127.0.0.1"], "conditions": {"ready": true}}]));
        let told = cluster.must(&["describe", "service", "kubernetes"]).await;
        assert!(told.contains(&format!("127.0.0.1:{port}")), "{told}");
    };
    check(&cluster).await;
    let cluster = Cluster::start_in(cluster.stop().await).await;
    check(&cluster).await;
}
