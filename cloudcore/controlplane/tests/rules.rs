//! Rules that mean nothing are not let in, in the words of KubeEdge's webhook.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub)]

mod support;

use serde_json::{Value, json};
use support::{Cluster, eventually, expect};

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const RULES: &str = "/apis/rules.kubeedge.io/v1/namespaces/default/rules";
const ENDPOINTS: &str = "/apis/rules.kubeedge.io/v1/namespaces/default/ruleendpoints";

fn rule(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "rules.kubeedge.io/v1", "kind": "Rule", "metadata": {"name": name}, "spec": spec})
}

fn endpoint(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "rules.kubeedge.io/v1", "kind": "RuleEndpoint", "metadata": {"name": name}, "spec": spec})
}

async fn cluster() -> Cluster {
    let cluster = Cluster::start().await;
    for definition in proto::crds::all().unwrap() {
        if definition.spec.group == "rules.kubeedge.io" {
            expect(cluster.call("POST", CRDS, serde_json::to_value(definition).unwrap()), 201).await;
        }
    }
    eventually("rules are served", || async {
        (cluster.call("GET", RULES, Value::Null).await.0 == 200).then_some(())
    })
    .await;
    cluster
}

async fn refused(cluster: &Cluster, path: &str, body: Value, code: u16) -> String {
    expect(cluster.call("POST", path, body), code).await["message"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_needs_its_endpoints_its_properties_and_messages_of_its_own() {
    let cluster = cluster().await;
    for kind in ["rest", "eventbus"] {
        expect(cluster.call("POST", ENDPOINTS, endpoint(kind, json!({"ruleEndpointType": kind}))), 201).await;
    }
    let port = |port: Value| json!({"ruleEndpointType": "servicebus", "properties": {"service_port": port}});
    expect(cluster.call("POST", ENDPOINTS, endpoint("service", port(json!("8080")))), 201).await;
    let why =
        refused(&cluster, ENDPOINTS, endpoint("s", json!({"ruleEndpointType": "servicebus"})), 403).await;
    assert_eq!(
        why,
        "ruleendpoints.rules.kubeedge.io \"s\" is forbidden: \"service_port\" property missed in property when ruleEndpoint is \"servicebus\""
    );
    assert!(
        refused(&cluster, ENDPOINTS, endpoint("s", port(json!("70000"))), 403).await.contains("1 to 65535")
    );
    let why = refused(&cluster, ENDPOINTS, endpoint("s", json!({"ruleEndpointType": "kafka"})), 422).await;
    assert!(why.contains("spec.ruleEndpointType: Unsupported value"), "{why}");

    let good = json!({
        "source": "rest", "sourceResource": {"path": "/cmd"},
        "target": "eventbus", "targetResource": {"topic": "lights"},
    });
    let with = |key: &str, value: Value| {
        let mut spec = good.clone();
        spec[key] = value;
        spec
    };
    for (spec, code, words) in [
        (with("source", json!("none")), 403, "source ruleEndpoint default/none has not been created"),
        (with("target", json!("none")), 403, "target ruleEndpoint default/none has not been created"),
        (
            with("sourceResource", json!({})),
            403,
            "\"path\" property missed in sourceResource when ruleEndpoint is \"rest\"",
        ),
        (
            with("targetResource", json!({})),
            403,
            "\"topic\" property missed in targetResource when ruleEndpoint is \"eventbus\"",
        ),
        (
            json!({"source": "rest", "sourceResource": {"path": "a"}, "target": "rest", "targetResource": {"resource": "http://h"}}),
            403,
            "the rule which is from source ruleEndpoint type rest to target ruleEndpoint type rest is not validate ",
        ),
        (json!({"source": "rest"}), 422, "spec.sourceResource: Required value"),
    ] {
        let why = refused(&cluster, RULES, rule("r", spec), code).await;
        assert!(why.contains(words), "{why}");
    }

    expect(cluster.call("POST", RULES, rule("first", good.clone())), 201).await;
    let why =
        refused(&cluster, RULES, rule("second", with("sourceResource", json!({"path": "cmd/"}))), 403).await;
    assert!(why.ends_with("source properties exist in Rule default/first. Path: cmd"), "{why}");

    // What KubeEdge's webhook does not let through at all: changes. A good one is let in, a bad one is not.
    let path = format!("{RULES}/first");
    let change = async |change: Value, code: u16| {
        let mut object = expect(cluster.call("GET", &path, Value::Null), 200).await;
        object["spec"]["targetResource"] = change;
        expect(cluster.call("PUT", &path, object), code).await
    };
    change(json!({"topic": "lamps"}), 200).await;
    let why = change(json!({}), 403).await;
    assert!(why["message"].as_str().unwrap().contains("\"topic\" property missed"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_of_a_rule_can_be_written_though_its_endpoint_is_gone() {
    let cluster = cluster().await;
    for kind in ["rest", "eventbus"] {
        expect(cluster.call("POST", ENDPOINTS, endpoint(kind, json!({"ruleEndpointType": kind}))), 201).await;
    }
    let spec = json!({
        "source": "eventbus", "sourceResource": {"topic": "t", "node_name": "edge1"},
        "target": "rest", "targetResource": {"resource": "http://127.0.0.1:1/x"},
    });
    expect(cluster.call("POST", RULES, rule("r", spec)), 201).await;
    expect(cluster.call("DELETE", &format!("{ENDPOINTS}/rest"), Value::Null), 200).await;
    let path = format!("{RULES}/r");
    let mut object = expect(cluster.call("GET", &path, Value::Null), 200).await;
    object["status"] = json!({"successMessages": 3, "errors": ["no"]});
    let object = expect(cluster.call("PUT", &path, object), 200).await;
    assert_eq!(object["status"]["successMessages"], 3);
}
