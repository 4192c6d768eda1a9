//! The recorded MQTT conversation of KubeEdge v1.23.1, replayed against our broker with a real client: what KubeEdge
//! answers we answer, except where its defects are known; each exception is named here.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

mod support;

use std::collections::VecDeque;
use std::time::Duration;

use proto::message::Operation;
use serde_json::{Value, json};
use support::{Client, Edge, device};

/// Ids and times are free.
fn normal(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(key, value)| match key.as_str() {
                "timestamp" => (key.clone(), json!(0)),
                "lastOnlineTime" => (key.clone(), json!("time")),
                _ => (key.clone(), normal(value)),
            })
            .collect(),
        Value::Array(items) => items.iter().map(normal).collect(),
        other => other.clone(),
    }
}

fn kind(topic: &str) -> &str {
    topic.rsplit_once("sensor1/").map_or(topic, |(_, kind)| kind)
}

#[tokio::test]
async fn kubeedge_s_own_clients_get_the_answers_they_know_or_better_ones() {
    let recorded = include_str!("data/mqtt-device.jsonl");
    let directory = tempfile::tempdir().unwrap();
    let edge = Edge::start(directory.path()).await;
    let mut client = Client::connect(edge.port, "replay").await;
    client.subscribe("$hw/#").await;

    let mut mark = String::new();
    let mut lines: VecDeque<Value> =
        recorded.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    while let Some(line) = lines.pop_front() {
        if let Some(text) = line["mark"].as_str() {
            mark = text.to_owned();
            match text {
                "device and model created in the cloud" => edge.add_sensor(None).await,
                "desired value changed in the cloud" => {
                    edge.push(Operation::Update, "default/device/sensor1", 3, &device("u-1", 3, Some("25")))
                        .await;
                    // KubeEdge says nothing here: a device on MQTT cannot be commanded.
                    let (topic, document) = client.next().await.expect("a document");
                    assert_eq!(kind(&topic), "twin/update/document");
                    assert_eq!(document["twin"]["temperature"]["current"]["expected"]["value"], "25");
                    let (topic, delta) = client.next().await.expect("a delta");
                    assert_eq!(kind(&topic), "twin/update/delta");
                    assert_eq!(delta["delta"], json!({"temperature": "25"}));
                }
                "device deleted in the cloud" => {
                    edge.push(Operation::Delete, "default/device/sensor1", 4, &device("u-1", 4, Some("25")))
                        .await;
                }
                _ => {}
            }
            continue;
        }
        let topic = line["topic"].as_str().unwrap();
        let asks =
            topic.ends_with("/get") || topic.ends_with("/twin/update") || topic.ends_with("/state/update");
        if !asks {
            // Only what nobody asked for comes here: membership.
            let expected = normal(&line["payload"]);
            loop {
                let (got, payload) = client.next().await.unwrap_or_else(|| panic!("{mark}: {topic}"));
                if got == topic {
                    let mut payload = normal(&payload);
                    payload["event_id"] = expected["event_id"].clone();
                    assert_eq!(payload, expected, "{mark}");
                    break;
                }
            }
            continue;
        }
        client.publish(topic, &line["payload"]).await;
        let mut recorded = Vec::new();
        while lines.front().is_some_and(|next| next.get("mark").is_none()) {
            if recorded.iter().len() > 0 && lines[0]["topic"].as_str().unwrap().ends_with("/twin/get") {
                break;
            }
            let next = lines.pop_front().unwrap();
            recorded.push((next["topic"].as_str().unwrap().to_owned(), normal(&next["payload"])));
        }
        let mut answers = Vec::new();
        while let Some((topic, payload)) = client.next_within(Duration::from_millis(300)).await {
            let ours =
                topic.ends_with("/result") || topic.ends_with("/document") || topic.ends_with("/delta");
            if ours && payload["event_id"].as_str().is_none_or(|id| id != "wait") {
                answers.push((topic, normal(&payload)));
            }
        }
        compare(&mark, topic, &line["payload"], recorded, answers);
    }
    edge.stop().await;
}

fn compare(
    mark: &str,
    topic: &str,
    asked: &Value,
    recorded: Vec<(String, Value)>,
    answers: Vec<(String, Value)>,
) {
    let kinds = |messages: &[(String, Value)]| -> Vec<String> {
        messages.iter().map(|(topic, _)| kind(topic).to_owned()).collect()
    };
    let refused = |code: u64, reason: &str| {
        let [(to, answer)] = &answers[..] else { panic!("{mark}: one answer, not {answers:?}") };
        assert_eq!(*to, format!("{topic}/result"), "{mark}: on the requester's own topic");
        assert_eq!(answer["event_id"], asked.get("event_id").cloned().unwrap_or(json!("")), "{mark}");
        assert_eq!(answer["code"], code, "{mark}");
        assert!(answer["reason"].as_str().unwrap().contains(reason), "{mark}: {answer}");
    };
    match mark {
        // Better: written and published only if it differs.
        "same value again" => assert_eq!(kinds(&answers), ["twin/update/result"]),
        // Better: the model's maximum counts.
        "value over the model maximum" => refused(400, "above the model's maximum 100"),
        // Better: on the device's own topic, with the event id.
        "not JSON" => refused(400, "Unmarshal update request body failed"),
        "characters outside the allowed set" => {
            refused(400, recorded[0].1["reason"].as_str().unwrap());
        }
        // Better: a wrong word is answered.
        "state unknown word" => refused(400, "sleepy"),
        // Better: nothing changed, so nothing is repeated.
        "empty twin" | "property removed" => {
            assert_eq!(kinds(&answers), ["twin/update/result"]);
            assert_eq!(answers[0], recorded[0], "{mark}");
        }
        // As recorded, but for values that differ because a desired value came from the cloud and 500 was refused.
        "unknown property, no type" | "no event id" => {
            assert_eq!(kinds(&answers), kinds(&recorded), "{mark}");
            assert_eq!(answers[0], recorded[0], "{mark}");
        }
        _ => {
            assert_eq!(answers.len(), recorded.len(), "{mark}: {answers:?} against {recorded:?}");
            for ((to, answer), (recorded_to, recorded)) in answers.iter().zip(&recorded) {
                let mut answer = answer.clone();
                // A delta and a state are told under a fresh id there.
                if to.ends_with("/delta") || to.ends_with("state/update/result") {
                    answer["event_id"] = recorded["event_id"].clone();
                }
                assert_eq!((to, &answer), (recorded_to, recorded), "{mark}");
            }
        }
    }
}
