//! What a device on MQTT may expect of a KubeEdge edge, request by request; where ours differs on purpose, it is said.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

mod support;

use std::collections::HashSet;
use std::time::Duration;

use edgecore::edgehub::Outbox as _;
use proto::message::Operation;
use serde_json::{Value, json};
use support::{Client, Edge, NODE, device};

const DEVICE: &str = "$hw/events/device/default/sensor1";

/// A device that hears everything that is said about it.
struct Sensor {
    client: Client,
}

impl Sensor {
    async fn of(edge: &Edge) -> Self {
        let mut client = Client::connect(edge.port, "checklist").await;
        client.subscribe("$hw/events/#").await;
        Self { client }
    }

    /// Publishes, and returns what the edge says within a moment: the ends of topics, and payloads.
    async fn says(&mut self, topic: &str, payload: Value) -> Vec<(String, Value)> {
        self.client.publish(topic, &payload).await;
        let mut heard = Vec::new();
        while let Some((of, payload)) = self.client.next_within(Duration::from_millis(250)).await {
            if of != topic {
                let end = of.strip_prefix(DEVICE).map(|end| end.trim_start_matches('/').to_owned());
                heard.push((end.unwrap_or(of), payload));
            }
        }
        heard
    }

    async fn updates(&mut self, payload: Value) -> Vec<(String, Value)> {
        self.says(&format!("{DEVICE}/twin/update"), payload).await
    }

    async fn twins(&mut self) -> Value {
        let (_, answer) = self.says(&format!("{DEVICE}/twin/get"), json!({"event_id": "g"})).await.remove(0);
        answer["twin"].clone()
    }
}

fn ends(heard: &[(String, Value)]) -> Vec<&str> {
    heard.iter().map(|(end, _)| end.as_str()).collect()
}

async fn edge() -> (tempfile::TempDir, Edge, Sensor) {
    let directory = tempfile::tempdir().unwrap();
    let edge = Edge::start(directory.path()).await;
    edge.add_sensor(None).await;
    let sensor = Sensor::of(&edge).await;
    (directory, edge, sensor)
}

fn t2(value: &str) -> Value {
    json!({"event_id": "u1", "twin": {"t2": {"actual": {"value": value}, "metadata": {"type": "int"}}}})
}

#[tokio::test]
async fn a_reported_value_is_answered_documented_and_compared_with_what_is_expected() {
    let (_directory, edge, mut sensor) = edge().await;
    // A first value of a property that only the device names.
    let heard = sensor.updates(t2("5")).await;
    assert_eq!(ends(&heard), ["twin/update/result", "twin/update/document"]);
    let (result, document) = (&heard[0].1, &heard[1].1);
    assert_eq!((&result["event_id"], result.get("code")), (&json!("u1"), None));
    let twin = &result["twin"]["t2"];
    assert_eq!(
        (&twin["actual"]["value"], &twin["optional"], &twin["metadata"]["type"]),
        (&json!("5"), &json!(true), &json!("int"))
    );
    assert!(twin["actual"]["metadata"]["timestamp"].as_i64().unwrap() > 1_700_000_000_000);
    assert_eq!(document["twin"]["t2"]["last"], Value::Null);
    assert_eq!(document["twin"]["t2"]["current"]["actual"]["value"], "5");
    // To the cloud: the value, with a version, and no word about an expectation.
    let ahead = edge.twins.ahead(10, &HashSet::new()).await.unwrap().remove(0);
    let up: Value = ahead.message.content.parse_lenient().unwrap();
    assert_eq!(up["twin"]["t2"]["actual"]["value"], "5");
    assert_eq!(up["twin"]["t2"]["actual_version"], json!({"cloud": 0, "edge": 1}));
    assert!(up["twin"]["t2"].get("expected").is_none_or(Value::is_null));

    // The same again is answered; KubeEdge also counts a version and writes, ours does neither.
    let heard = sensor.updates(t2("5")).await;
    assert_eq!(ends(&heard)[0], "twin/update/result");
    let again = edge.twins.ahead(10, &HashSet::new()).await.unwrap().remove(0);
    assert_eq!(again.version, ahead.version, "equal values cost nothing");

    // What is expected becomes a delta, until it is so.
    let heard = sensor.updates(json!({"twin": {"t2": {"expected": {"value": "7"}}}})).await;
    assert_eq!(ends(&heard), ["twin/update/result", "twin/update/document", "twin/update/delta"]);
    assert_eq!(heard[2].1["delta"], json!({"t2": "7"}));
    let heard = sensor.updates(t2("7")).await;
    assert_eq!(ends(&heard), ["twin/update/result", "twin/update/document"], "no delta any more");
    assert_eq!(heard[1].1["twin"]["t2"]["last"]["actual"]["value"], "5");
    edge.stop().await;
}

#[tokio::test]
async fn a_member_is_announced_with_its_description_and_its_leaving_too() {
    let directory = tempfile::tempdir().unwrap();
    let edge = Edge::start(directory.path()).await;
    let mut sensor = Sensor::of(&edge).await;
    edge.push(Operation::Insert, "default/devicemodel/temp-model", 1, &support::model()).await;
    let mut described = device("u-1", 2, None);
    described["metadata"]["labels"] = json!({"description": "boiler-room-east"});
    let member = json!({"id": "default/sensor1", "name": "sensor1", "description": "boiler-room-east"});
    for (operation, added, removed) in
        [(Operation::Insert, json!([member]), Value::Null), (Operation::Delete, Value::Null, json!([member]))]
    {
        edge.push(operation, "default/device/sensor1", 2, &described).await;
        let (topic, said) = sensor.client.next().await.expect("it is announced");
        assert_eq!(topic, format!("$hw/events/node/{NODE}/membership/updated"));
        assert_eq!((&said["added_devices"], &said["removed_devices"]), (&added, &removed));
        assert!(
            said["event_id"].as_str().unwrap().len() == 36
                && said["timestamp"].as_i64().unwrap() > 1_700_000_000_000
        );
        assert!(sensor.client.next().await.is_none(), "and nothing else is said");
    }
    edge.stop().await;
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_on_the_devices_own_topic_with_the_reason() {
    let (_directory, edge, mut sensor) = edge().await;
    sensor.updates(t2("5")).await;
    let with = |twin: Value| json!({"event_id": "x", "twin": twin});
    for (payload, reason) in [
        (t2("abc"), "the value is not int or integer"),
        (
            with(json!({"d": {"actual": {"value": "1"}, "metadata": {"type": "double"}}})),
            "the value type is not allowed",
        ),
        (
            with(json!({"b": {"actual": {"value": "True"}, "metadata": {"type": "boolean"}}})),
            "the bool value must be true or false",
        ),
        // KubeEdge answers this on a topic without a name.
        (with(json!({"t": {"actual": {"value": 23}}})), ""),
        // KubeEdge's edge dies of this.
        (with(json!({"t": {"actual": {}}})), ""),
        (
            with(json!({"s": {"actual": {"value": "hello world"}, "metadata": {"type": "string"}}})),
            "The value of twin must only include upper or lowercase letters",
        ),
        (json!("x"), ""),
    ] {
        let heard = sensor.updates(payload.clone()).await;
        assert_eq!(ends(&heard), ["twin/update/result"], "{payload}");
        assert_eq!(heard[0].1["code"], 400, "{payload}");
        let said = heard[0].1["reason"].as_str().unwrap();
        assert!(!said.is_empty() && said.contains(reason), "{payload}: {said}");
    }
    assert_eq!(sensor.twins().await["t2"]["actual"]["value"], "5", "nothing of it was taken");
    let nobody = "$hw/events/device/default/nope";
    let heard = sensor.says(&format!("{nobody}/twin/update"), t2("1")).await;
    assert_eq!(heard[0].0, format!("{nobody}/twin/update/result"));
    assert_eq!(
        (&heard[0].1["code"], &heard[0].1["reason"]),
        (&json!(404), &json!("update rejected due to the device is not existed"))
    );
    let heard = sensor.says(&format!("{DEVICE}/twin/get"), json!("x")).await;
    assert_eq!((ends(&heard), &heard[0].1["code"]), (vec!["twin/get/result"], &json!(400)));
    // Somebody is still there.
    assert_eq!(ends(&sensor.updates(t2("6")).await)[0], "twin/update/result");
    edge.stop().await;
}

#[tokio::test]
async fn twins_are_listed_and_deleted_states_and_members_are_answered() {
    let (_directory, edge, mut sensor) = edge().await;
    sensor.updates(t2("5")).await;
    sensor.updates(json!({"twin": {"temperature": {"actual": {"value": "21"}}}})).await;
    let heard = sensor.says(&format!("{DEVICE}/twin/get"), json!({"event_id": "g"})).await;
    assert_eq!((ends(&heard), &heard[0].1["event_id"]), (vec!["twin/get/result"], &json!("g")));
    let twins = heard[0].1["twin"].clone();
    assert_eq!(twins.as_object().unwrap().keys().collect::<HashSet<_>>().len(), 2);
    assert!(!twins.to_string().contains("version"), "{twins}");
    // Null deletes a property that only the device named.
    let heard = sensor.updates(json!({"event_id": "d", "twin": {"t2": null}})).await;
    assert_eq!((&heard[0].1["event_id"], &heard[0].1["twin"]["t2"]), (&json!("d"), &Value::Null));
    assert_eq!(heard[1].1["twin"]["t2"]["current"], Value::Null);
    assert!(sensor.twins().await.get("t2").is_none());
    // One that is not optional stays.
    let fixed = json!({"t3": {"actual": {"value": "1"}, "optional": false, "metadata": {"type": "int"}}});
    sensor.updates(json!({ "twin": fixed })).await;
    let heard = sensor.updates(json!({"twin": {"t3": null}})).await;
    assert_eq!((ends(&heard), &heard[0].1["twin"]), (vec!["twin/update/result"], &json!({})));
    assert_eq!(sensor.twins().await["t3"]["actual"]["value"], "1");

    let heard =
        sensor.says(&format!("{DEVICE}/state/update"), json!({"event_id": "s", "state": "Online"})).await;
    assert_eq!(ends(&heard), ["state/update/result"]);
    assert_eq!(heard[0].1["device"]["state"], "Online");
    assert!(heard[0].1["device"]["lastOnlineTime"].as_str().is_some_and(|time| !time.is_empty()));

    // A state that is none: KubeEdge's edge says nothing, ours why.
    let heard = sensor.says(&format!("{DEVICE}/state/update"), json!({"state": "disconnected"})).await;
    assert_eq!((ends(&heard), &heard[0].1["code"]), (vec!["state/update/result"], &json!(400)));
    assert!(heard[0].1["reason"].as_str().unwrap().contains("disconnected"), "{heard:?}");
    let heard = sensor.says("$hw/events/node/whatever/membership/get", json!({"event_id": "m"})).await;
    assert_eq!(heard[0].0, format!("$hw/events/node/{NODE}/membership/get/result"));
    assert_eq!(heard[0].1["devices"][0]["id"], "default/sensor1");
    edge.stop().await;
}

#[tokio::test]
async fn names_of_namespaces_are_no_matter_and_a_thousand_updates_keep_their_order() {
    let (_directory, edge, mut sensor) = edge().await;
    // A namespace whose name stands in the topics' prefix.
    let mut other = device("u-2", 4, None);
    other["metadata"]["name"] = json!("s1");
    other["metadata"]["namespace"] = json!("dev");
    edge.push(Operation::Insert, "dev/device/s1", 4, &other).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let heard = sensor.says("$hw/events/device/dev/s1/twin/update", t2("1")).await;
    let topics: Vec<&str> = ends(&heard);
    assert!(topics.contains(&"$hw/events/device/dev/s1/twin/update/result"), "{topics:?}");

    let mut writer = Client::connect(edge.port, "writer").await;
    for number in 1..=1000 {
        writer.publish(&format!("{DEVICE}/twin/update"), &t2(&number.to_string())).await;
        // The client's own loop must turn.
        if number % 50 == 0 {
            let _ = writer.next_within(Duration::from_millis(1)).await;
        }
    }
    let end = tokio::time::Instant::now() + Duration::from_secs(20);
    let mut version = 0;
    loop {
        let _ = writer.next_within(Duration::from_millis(50)).await;
        let twins = sensor.twins_quietly(&edge).await;
        let ahead = edge.twins.ahead(10, &HashSet::new()).await.unwrap();
        let of_sensor = ahead
            .iter()
            .find(|report| report.message.route.resource.device() == Some(("default", "sensor1")));
        if let Some(report) = of_sensor {
            let up: Value = report.message.content.parse_lenient().unwrap();
            let newer = up["twin"]["t2"]["actual_version"]["edge"].as_i64().unwrap();
            assert!(newer >= version, "{newer} after {version}");
            version = newer;
        }
        if twins["t2"]["actual"]["value"] == "1000" {
            break;
        }
        assert!(tokio::time::Instant::now() < end, "{twins}");
    }
    // Each of the thousand values differs from the one before it, and has a version of its own.
    assert_eq!(version, 1000);
    edge.stop().await;
}

impl Sensor {
    /// Asks on a connection of its own: this one's ears are full.
    async fn twins_quietly(&self, edge: &Edge) -> Value {
        let mut client = Client::connect(edge.port, "quiet").await;
        client.subscribe(&format!("{DEVICE}/twin/get/result")).await;
        client.publish(&format!("{DEVICE}/twin/get"), &json!({})).await;
        client.next().await.map_or(Value::Null, |(_, answer)| answer["twin"].clone())
    }
}

#[tokio::test]
async fn the_configured_quality_and_retain_flag_are_those_of_the_embedded_brokers_answers() {
    let directory = tempfile::tempdir().unwrap();
    let port = support::free_port();
    let config = proto::config::EventBus {
        mqtt_mode: proto::config::MqttMode::Internal,
        mqtt_server_internal: format!("tcp://127.0.0.1:{port}"),
        mqtt_qos: 1,
        mqtt_retain: true,
        ..proto::config::EventBus::default()
    };
    let edge = Edge::with(directory.path(), &config, port).await;
    edge.add_sensor(None).await;
    let mut sensor = Sensor::of(&edge).await;
    sensor.updates(t2("5")).await;
    // Who comes later is given it at once, in that quality.
    let mut late = Client::connect(port, "late").await;
    late.client.subscribe(format!("{DEVICE}/twin/update/result"), rumqttc::QoS::AtLeastOnce).await.unwrap();
    let publish = loop {
        let event =
            tokio::time::timeout(Duration::from_secs(5), late.events.poll()).await.expect("it is retained");
        if let rumqttc::Event::Incoming(rumqttc::Packet::Publish(publish)) = event.unwrap() {
            break publish;
        }
    };
    assert_eq!((publish.qos, publish.retain), (rumqttc::QoS::AtLeastOnce, true));
    let said: Value = serde_json::from_slice(&publish.payload).unwrap();
    assert_eq!(said["twin"]["t2"]["actual"]["value"], "5");
    edge.stop().await;
}
