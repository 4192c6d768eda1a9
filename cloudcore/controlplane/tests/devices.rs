//! Devices that cannot work as they are written are not let in; whatever can only be told later is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub)]

mod support;

use serde_json::{Value, json};
use support::{Cluster, eventually, expect};

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const DEVICES: &str = "/apis/devices.kubeedge.io/v1beta1/namespaces/default/devices";
const MODELS: &str = "/apis/devices.kubeedge.io/v1beta1/namespaces/default/devicemodels";

async fn cluster() -> Cluster {
    let cluster = Cluster::start().await;
    for definition in proto::crds::all().unwrap() {
        if definition.spec.group == "devices.kubeedge.io" {
            expect(cluster.call("POST", CRDS, serde_json::to_value(definition).unwrap()), 201).await;
        }
    }
    eventually("devices are served", || async {
        let served = cluster.call("GET", DEVICES, Value::Null).await.0 == 200;
        (served && cluster.call("GET", MODELS, Value::Null).await.0 == 200).then_some(())
    })
    .await;
    cluster
}

fn model(maximum: &str) -> Value {
    json!({"apiVersion": "devices.kubeedge.io/v1beta1", "kind": "DeviceModel", "metadata": {"name": "boiler"},
        "spec": {"properties": [
            {"name": "setpoint", "type": "INT", "accessMode": "ReadWrite", "minimum": "5", "maximum": maximum},
            {"name": "temperature", "type": "FLOAT", "accessMode": "ReadOnly"}]}})
}

fn device(name: &str, properties: Value) -> Value {
    json!({"apiVersion": "devices.kubeedge.io/v1beta1", "kind": "Device", "metadata": {"name": name},
        "spec": {"deviceModelRef": {"name": "boiler"}, "nodeName": "edge1", "properties": properties}})
}

fn wanted(value: &str) -> Value {
    json!([{"name": "setpoint", "desired": {"value": value}}])
}

async fn refused(cluster: &Cluster, path: &str, body: Value) -> String {
    expect(cluster.call("POST", path, body), 422).await["message"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_desired_value_that_the_model_does_not_allow_is_refused_with_the_reason() {
    let cluster = cluster().await;
    expect(cluster.call("POST", MODELS, model("90")), 201).await;
    expect(cluster.call("POST", DEVICES, device("good", wanted("65"))), 201).await;
    let why = refused(&cluster, DEVICES, device("hot", wanted("91"))).await;
    assert!(
        why.starts_with("Device.devices.kubeedge.io \"hot\" is invalid: spec.properties[0].desired.value: Invalid value: \"91\"")
            && why.contains("property setpoint of DeviceModel boiler: it is above the model's maximum 90"),
        "{why}"
    );
    let why = refused(&cluster, DEVICES, device("warm", wanted("warm"))).await;
    assert!(why.contains("the value is not int or integer"), "{why}");
    let twice = json!([{"name": "setpoint"}, {"name": "setpoint"}]);
    let why = refused(&cluster, DEVICES, device("twice", twice)).await;
    assert!(why.contains("property names must be unique."), "{why}");
    let two = json!({"metadata": {"name": "two"}, "apiVersion": "devices.kubeedge.io/v1beta1", "kind": "DeviceModel",
        "spec": {"properties": [{"name": "a"}, {"name": "a"}]}});
    let why = refused(&cluster, MODELS, two).await;
    assert!(why.contains("property names must be unique."), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_told_yet_or_was_so_before_holds_nobody_up() {
    let cluster = cluster().await;
    // Device before model, and properties that the model does not have: KubeEdge takes them, and a part of them works.
    expect(cluster.call("POST", DEVICES, device("early", wanted("91"))), 201).await;
    expect(cluster.call("POST", MODELS, model("90")), 201).await;
    expect(cluster.call("POST", DEVICES, device("odd", json!([{"name": "stranger"}]))), 201).await;
    // The model was narrowed under it: who only labels the device is not asked to mend it, and who touches the value is.
    let path = format!("{DEVICES}/early");
    let mut early = expect(cluster.call("GET", &path, Value::Null), 200).await;
    early["metadata"]["labels"] = json!({"floor": "2"});
    let mut early = expect(cluster.call("PUT", &path, early), 200).await;
    early["spec"]["properties"][0]["reportToCloud"] = json!(true);
    let mut early = expect(cluster.call("PUT", &path, early), 200).await;
    early["spec"]["properties"][0]["desired"]["value"] = json!("92");
    let answer = expect(cluster.call("PUT", &path, early.clone()), 422).await;
    assert!(answer["message"].as_str().unwrap().contains("maximum 90"), "{answer}");
    early["spec"]["properties"][0]["desired"]["value"] = json!("60");
    expect(cluster.call("PUT", &path, early), 200).await;
}
