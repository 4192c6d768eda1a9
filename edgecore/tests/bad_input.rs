//! Whatever nonsense comes from devices and their clients: the right code and reason where they listen, nothing stored, counted, and
//! the others are served meanwhile.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

mod support;

use std::collections::HashSet;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use edgecore::edgehub::Outbox as _;
use proto::message::Operation;
use serde_json::{Value, json};
use support::{Client, Edge, NODE, device};
use tokio::time::Instant;

const DEVICE: &str = "$hw/events/device/default/sensor1";
const NOBODY: &str = "$hw/events/device/default/nobody";
const MALFORMED: &str = "Unmarshal update request body failed, please check the request";
const NO_TWIN: &str = "Update twin error, the update request body not have key:twin";
const NO_VALUE: &str = "expected and actual need a value";
const KEY: &str = "The key of twin must only include upper or lowercase letters, number, english, and special letter - _ . , : / @ #";
const CHARACTERS: &str = "The value of twin must only include upper or lowercase letters, number, english, and special letter - _ . , : / @ #";

/// What is published, and what must come of it.
struct Case {
    payload: Vec<u8>,
    code: u64,
    reason: &'static str,
    /// The event id that is echoed: empty if none can be read.
    event_id: &'static str,
    counted: &'static str,
}

fn case(payload: impl Into<Vec<u8>>, reason: &'static str, counted: &'static str) -> Case {
    Case { payload: payload.into(), code: 400, reason, event_id: "", counted }
}

/// A twin update with an event id that can be read.
fn twins(twins: Value, reason: &'static str, counted: &'static str) -> Case {
    let payload = json!({"event_id": "x", "twin": twins}).to_string();
    Case { event_id: "x", ..case(payload, reason, counted) }
}

/// One property's entry.
fn entry(key: &str, entry: Value, reason: &'static str, counted: &'static str) -> Case {
    twins(json!({ key: entry }), reason, counted)
}

fn actual(key: &str, value: &str, reason: &'static str, counted: &'static str) -> Case {
    entry(key, json!({"actual": {"value": value}}), reason, counted)
}

fn model() -> Value {
    json!({"kind": "DeviceModel", "apiVersion": "devices.kubeedge.io/v1beta1",
        "metadata": {"name": "temp-model", "namespace": "default", "uid": "m-1", "resourceVersion": "1"},
        "spec": {"properties": [
            {"name": "temperature", "type": "INT", "accessMode": "ReadWrite", "minimum": "-40", "maximum": "100"},
            {"name": "pressure", "type": "FLOAT", "accessMode": "ReadOnly", "minimum": "0", "maximum": "10.5"},
            {"name": "ratio", "type": "DOUBLE", "accessMode": "ReadWrite"},
            {"name": "led", "type": "BOOLEAN", "accessMode": "ReadWrite"},
            {"name": "blob", "type": "BYTES", "accessMode": "ReadWrite"}]}})
}

/// Payloads of twin/update.
fn updates() -> Vec<Case> {
    let nested = [vec![b'['; 100_000], vec![b']'; 100_000]].concat();
    let deep = format!("{{\"event_id\":\"x\",\"twin\":{}1{}}}", "{\"a\":".repeat(5_000), "}".repeat(5_000));
    let many: serde_json::Map<String, Value> =
        (0..1025).map(|number| (format!("p{number}"), json!({"actual": {"value": "1"}}))).collect();
    let mut cases = vec![
        // No JSON object at all.
        case("x", MALFORMED, "malformed"),
        case("", MALFORMED, "malformed"),
        case("{", MALFORMED, "malformed"),
        case("{}{}", MALFORMED, "malformed"),
        case("null", MALFORMED, "malformed"),
        case("[]", MALFORMED, "malformed"),
        case("\"text\"", MALFORMED, "malformed"),
        case("7", MALFORMED, "malformed"),
        case([0xff, 0xfe, 0x00], MALFORMED, "malformed"),
        case(b"{\"event_id\":\"\xff\",\"twin\":{}}".as_slice(), MALFORMED, "malformed"),
        case([0u8; 64], MALFORMED, "malformed"),
        case(nested, MALFORMED, "malformed"),
        case(deep, MALFORMED, "malformed"),
        // Its own fields.
        case(r#"{"event_id":7,"twin":{}}"#, MALFORMED, "malformed"),
        Case {
            event_id: "x",
            ..case(r#"{"event_id":"x","timestamp":"now","twin":{}}"#, MALFORMED, "malformed")
        },
        Case {
            event_id: "x",
            ..case(r#"{"event_id":"x","timestamp":1.5,"twin":{}}"#, MALFORMED, "malformed")
        },
        Case { event_id: "x", ..case(r#"{"event_id":"x"}"#, NO_TWIN, "no_twin") },
        case("{}", NO_TWIN, "no_twin"),
        twins(Value::Null, NO_TWIN, "no_twin"),
        twins(json!([]), MALFORMED, "malformed"),
        twins(json!("t"), MALFORMED, "malformed"),
        twins(json!(5), MALFORMED, "malformed"),
        twins(Value::Object(many), "a device has at most 1024 properties", "too_many"),
        case(vec![b' '; 256 * 1024 + 1], "the payload is longer than 262144 bytes", "oversized"),
    ];
    // An entry, its halves, their parts.
    for wrong in [json!(5), json!("5"), json!([]), json!(true)] {
        cases.push(entry("t", wrong.clone(), MALFORMED, "malformed"));
        for half in ["actual", "expected"] {
            cases.push(entry("t", json!({ half: wrong }), MALFORMED, "malformed"));
        }
        cases.push(entry("t", json!({"actual": {"value": "1", "metadata": wrong}}), MALFORMED, "malformed"));
        cases.push(entry("t", json!({"actual": {"value": "1"}, "metadata": wrong}), MALFORMED, "malformed"));
        cases.push(entry(
            "t",
            json!({"actual": {"value": "1"}, "actual_version": wrong}),
            MALFORMED,
            "malformed",
        ));
        cases.push(entry(
            "t",
            json!({"expected": {"value": "1"}, "expected_version": wrong}),
            MALFORMED,
            "malformed",
        ));
    }
    for wrong in [json!(23), json!(true), json!([]), json!({})] {
        cases.push(entry("t", json!({"actual": {"value": wrong}}), MALFORMED, "malformed"));
        cases.push(entry(
            "t",
            json!({"actual": {"value": "1"}, "metadata": {"type": wrong}}),
            MALFORMED,
            "malformed",
        ));
    }
    for half in ["actual", "expected"] {
        cases.push(entry("t", json!({ half: {} }), NO_VALUE, "no_value"));
        cases.push(entry("t", json!({ half: {"value": null} }), NO_VALUE, "no_value"));
        cases.push(entry("t", json!({ half: {"metadata": {"timestamp": 1}} }), NO_VALUE, "no_value"));
        let timed = |at: Value| json!({ half: {"value": "1", "metadata": {"timestamp": at}} });
        cases.push(entry("t", timed(json!("now")), MALFORMED, "malformed"));
        cases.push(entry("t", timed(json!(1.5)), MALFORMED, "malformed"));
    }
    for version in
        [json!({"edge": -1}), json!({"cloud": "1"}), json!({"cloud": 1.5}), json!({"edge": u64::MAX})]
    {
        let versioned = json!({"expected": {"value": "1"}, "expected_version": version});
        cases.push(entry("t", versioned, MALFORMED, "malformed"));
    }
    cases.push(entry("t", json!({"actual": {"value": "1"}, "optional": "yes"}), MALFORMED, "malformed"));
    // Names and values in other characters, or too long.
    let (long_key, long_value) = ("k".repeat(129), "v".repeat(513));
    for key in ["", "a b", "a+b", "a%b", "é", "{", "a\"b", "a\nb", "a\u{0}b", &long_key] {
        cases.push(actual(key, "1", KEY, "key"));
        cases.push(entry(key, Value::Null, KEY, "key"));
    }
    for value in ["hello world", "1e+10", "a=b", "100%", "\"q\"", "{}", "é", "a\tb", "\u{0}", &long_value] {
        cases.push(actual("t", value, CHARACTERS, "characters"));
        cases.push(entry("t", json!({"expected": {"value": value}}), CHARACTERS, "characters"));
    }
    // Types that are none, in any letters; values that are not of theirs.
    for word in ["double", "bytes", "INT", "Float", "date", "no type"] {
        let typed = json!({"actual": {"value": "1"}, "metadata": {"type": word}});
        cases.push(entry("t", typed, "the value type is not allowed", "type_word"));
    }
    let typed = |word: &str, value: &str| json!({"actual": {"value": value}, "metadata": {"type": word}});
    for word in ["int", "integer"] {
        for value in ["abc", "1.5", "1e3", "9223372036854775808", "-9223372036854775809", "0x10", ""] {
            cases.push(entry("t", typed(word, value), "the value is not int or integer", "type"));
        }
    }
    for value in ["warm", "1,5", "1e999", "--1", ""] {
        cases.push(entry("t", typed("float", value), "the value is not float", "type"));
    }
    for value in ["True", "TRUE", "1", "yes", ""] {
        cases.push(entry("t", typed("boolean", value), "the bool value must be true or false", "type"));
    }
    // The model's word counts, whatever the message says; and its range.
    cases.push(entry("temperature", typed("string", "abc"), "the value is not int or integer", "type"));
    cases.push(actual("led", "on", "the bool value must be true or false", "type"));
    cases.push(actual("ratio", "wide", "the value is not", "type"));
    cases.push(actual("blob", "A", "", "type"));
    cases.push(actual(
        "temperature",
        "101",
        "the value 101 of temperature is above the model's maximum 100",
        "range",
    ));
    cases.push(actual(
        "temperature",
        "-41",
        "the value -41 of temperature is below the model's minimum -40",
        "range",
    ));
    cases.push(actual(
        "pressure",
        "10.51",
        "the value 10.51 of pressure is above the model's maximum 10.5",
        "range",
    ));
    cases.push(actual("pressure", "inf", "above the model's maximum", "range"));
    cases.push(actual("pressure", "-0.1", "below the model's minimum", "range"));
    cases.push(actual("pressure", "NaN", "the model's", "range"));
    let set = json!({"expected": {"value": "1"}});
    cases.push(entry("pressure", set, "pressure is ReadOnly in the device's model", "read_only"));
    let set = json!({"expected": {"value": "500"}});
    cases.push(entry("temperature", set, "above the model's maximum 100", "range"));
    // All or nothing: what is right beside it is not taken either.
    let mixed = json!({"a": {"actual": {"value": "1"}}, "temperature": {"actual": {"value": "500"}}, "known": {"actual": {"value": "9"}}});
    cases.push(twins(mixed, "above the model's maximum 100", "range"));
    cases
}

async fn start() -> (tempfile::TempDir, Edge, Client) {
    let directory = tempfile::tempdir().unwrap();
    let edge = Edge::start(directory.path()).await;
    edge.add_sensor(None).await;
    edge.push(Operation::Update, "default/devicemodel/temp-model", 3, &model()).await;
    let mut client = Client::connect(edge.port, "hostile").await;
    client.subscribe("$hw/events/+/+/+/+/+/result").await;
    client.subscribe("$hw/events/node/+/membership/get/result").await;
    // The model is in force, and something is stored.
    let known = json!({"event_id": "known", "twin": {"known": {"actual": {"value": "5"}}, "temperature": {"actual": {"value": "20"}}}});
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let refused = json!({"event_id": "?", "twin": {"pressure": {"actual": {"value": "99"}}}});
        client.publish(&format!("{DEVICE}/twin/update"), &refused).await;
        let (_, answer) = client.next().await.unwrap();
        if answer["code"] == 400 {
            break;
        }
        assert!(Instant::now() < end, "{answer}");
        client.publish(&format!("{DEVICE}/twin/update"), &json!({"twin": {"pressure": null}})).await;
        client.next().await.unwrap();
    }
    client.publish(&format!("{DEVICE}/twin/update"), &known).await;
    assert!(client.next().await.unwrap().1.get("code").is_none());
    (directory, edge, client)
}

/// A counter's value on the page that Prometheus reads.
fn counter(edge: &Edge, name: &str) -> u64 {
    let page = edge.metrics.render();
    let row = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    row.map_or(0, |count| count.parse().unwrap())
}

fn refused(reason: &str) -> String {
    format!("edgecore_device_requests_refused_total{{reason=\"{reason}\"}}")
}

/// Everything that is known of the device: on MQTT and for the cloud.
async fn stored(edge: &Edge, client: &mut Client) -> (Value, Vec<(String, u64)>) {
    client.publish(&format!("{DEVICE}/twin/get"), &json!({"event_id": "stored"})).await;
    let (_, answer) = client.next().await.expect("an answer");
    assert_eq!(answer["event_id"], "stored", "{answer}");
    let ahead = edge.twins.ahead(100, &HashSet::new()).await.unwrap();
    (answer["twin"].clone(), ahead.into_iter().map(|report| (report.row.0, report.version)).collect())
}

async fn say(client: &mut Client, topic: &str, payload: &[u8]) {
    client.client.publish(topic, rumqttc::QoS::AtLeastOnce, false, payload.to_vec()).await.unwrap();
}

/// Publishes; the one answer must be the refusal, on the answer's topic.
async fn refuses(edge: &Edge, client: &mut Client, topic: &str, answer_topic: &str, case: &Case) {
    let shown = String::from_utf8_lossy(&case.payload).chars().take(200).collect::<String>();
    let before = counter(edge, &refused(case.counted));
    say(client, topic, &case.payload).await;
    let (heard, answer) = client.next().await.unwrap_or_else(|| panic!("no answer to {shown}"));
    assert_eq!(heard, answer_topic, "{shown}");
    assert_eq!(answer["code"], case.code, "{shown}: {answer}");
    assert_eq!(answer["event_id"], case.event_id, "{shown}: {answer}");
    let reason = answer["reason"].as_str().unwrap();
    assert!(!reason.is_empty() && reason.contains(case.reason), "{shown}: {reason}");
    assert!(answer["timestamp"].as_i64().is_some_and(|at| at > 1_700_000_000_000), "{answer}");
    assert!(answer.get("twin").is_none() && answer.get("device").is_none(), "{answer}");
    assert_eq!(counter(edge, &refused(case.counted)), before + 1, "{shown} counts as {}", case.counted);
}

#[tokio::test]
async fn every_malformed_update_is_answered_with_its_reason_counted_and_stores_nothing() {
    let (_directory, edge, mut client) = start().await;
    let before = stored(&edge, &mut client).await;
    let (topic, answer) = (format!("{DEVICE}/twin/update"), format!("{DEVICE}/twin/update/result"));
    let cases = updates();
    assert!(cases.len() > 150, "{}", cases.len());
    for case in &cases {
        refuses(&edge, &mut client, &topic, &answer, case).await;
    }
    assert_eq!(stored(&edge, &mut client).await, before);
    // The same through a device that is none: what it says is read before who says it, as with KubeEdge.
    let (topic, answer) = (format!("{NOBODY}/twin/update"), format!("{NOBODY}/twin/update/result"));
    refuses(&edge, &mut client, &topic, &answer, &case("x", MALFORMED, "malformed")).await;
    let unknown = Case {
        code: 404,
        ..actual("t", "1", "update rejected due to the device is not existed", "no_device")
    };
    refuses(&edge, &mut client, &topic, &answer, &unknown).await;
    // And the next right one is taken.
    say(
        &mut client,
        &format!("{DEVICE}/twin/update"),
        br#"{"event_id":"ok","twin":{"known":{"actual":{"value":"6"}}}}"#,
    )
    .await;
    let (_, taken) = client.next().await.unwrap();
    assert_eq!((&taken["event_id"], taken.get("code")), (&json!("ok"), None));
    edge.stop().await;
}

#[tokio::test]
async fn questions_states_and_cloud_updates_that_make_no_sense_are_refused_or_passed_over_and_counted() {
    let (_directory, edge, mut client) = start().await;
    let before = stored(&edge, &mut client).await;
    let no_objects =
        || ["x", "", "[]", "null", "7", "{\"event_id\":5}"].map(|text| case(text, MALFORMED, "malformed"));
    for (topic, answer) in [
        (format!("{DEVICE}/twin/get"), format!("{DEVICE}/twin/get/result")),
        (format!("{DEVICE}/state/update"), format!("{DEVICE}/state/update/result")),
        (
            "$hw/events/node/any/membership/get".to_owned(),
            format!("$hw/events/node/{NODE}/membership/get/result"),
        ),
    ] {
        for case in no_objects() {
            refuses(&edge, &mut client, &topic, &answer, &case).await;
        }
        let oversized = case(vec![b' '; 256 * 1024 + 1], "longer than 262144 bytes", "oversized");
        refuses(&edge, &mut client, &topic, &answer, &oversized).await;
    }
    let unknown = |reason| Case {
        code: 404,
        event_id: "x",
        ..case(r#"{"event_id":"x","state":"ok"}"#, reason, "no_device")
    };
    let (topic, answer) = (format!("{NOBODY}/twin/get"), format!("{NOBODY}/twin/get/result"));
    refuses(
        &edge,
        &mut client,
        &topic,
        &answer,
        &unknown("Device default/nobody not found while getting twin"),
    )
    .await;
    let (topic, answer) = (format!("{NOBODY}/state/update"), format!("{NOBODY}/state/update/result"));
    refuses(&edge, &mut client, &topic, &answer, &unknown("device default/nobody is not on this node")).await;
    let (topic, answer) = (format!("{DEVICE}/state/update"), format!("{DEVICE}/state/update/result"));
    for state in ["disconnected", "", "on line", "ONLINE!", "é"] {
        let payload = json!({"event_id": "x", "state": state}).to_string();
        refuses(&edge, &mut client, &topic, &answer, &Case { event_id: "x", ..case(payload, "", "state") })
            .await;
    }
    for payload in [r#"{"event_id":"x"}"#, r#"{"event_id":"x","state":null}"#] {
        refuses(&edge, &mut client, &topic, &answer, &Case { event_id: "x", ..case(payload, "", "state") })
            .await;
    }
    let payload = r#"{"event_id":"x","state":7}"#;
    refuses(
        &edge,
        &mut client,
        &topic,
        &answer,
        &Case { event_id: "x", ..case(payload, MALFORMED, "malformed") },
    )
    .await;

    // cloud_updated has no topic for answers.
    for (payload, counted) in [
        ("x", "malformed"),
        (r#"{"twin":{"temperature":{"expected":{}}}}"#, "no_value"),
        (
            r#"{"twin":{"temperature":{"expected":{"value":"500"},"expected_version":{"cloud":1,"edge":0}}}}"#,
            "range",
        ),
        (
            r#"{"twin":{"pressure":{"expected":{"value":"5"},"expected_version":{"cloud":1,"edge":0}}}}"#,
            "read_only",
        ),
    ] {
        let count = counter(&edge, &refused(counted));
        say(&mut client, &format!("{DEVICE}/twin/cloud_updated"), payload.as_bytes()).await;
        assert!(client.next_within(Duration::from_millis(200)).await.is_none(), "{payload}");
        assert_eq!(counter(&edge, &refused(counted)), count + 1, "{payload}");
    }
    assert_eq!(stored(&edge, &mut client).await, before);

    // Topics that name no device, or ask for nothing that there is.
    let long = "x".repeat(254);
    let topics = [
        "$hw/events/device/sensor1/twin/update".to_owned(),
        "$hw/events/device//sensor1/twin/update".to_owned(),
        "$hw/events/device/default//twin/update".to_owned(),
        "$hw/events/device/default/Sensor!/twin/update".to_owned(),
        "$hw/events/device/default/é/twin/update".to_owned(),
        format!("$hw/events/device/default/{long}/twin/update"),
        format!("{DEVICE}/twin/whatever"),
        format!("{DEVICE}/twin/edge_updated"),
        format!("{DEVICE}/twin/update/twin/update"),
        format!("{DEVICE}/state/get"),
        "$hw/events/node//membership/get".to_owned(),
        "$hw/events/node/x/membership/detail".to_owned(),
    ];
    let strange = counter(&edge, "edgecore_device_topics_unknown_total");
    for topic in &topics {
        say(&mut client, topic, br#"{"event_id":"x","twin":{"known":{"actual":{"value":"7"}}}}"#).await;
    }
    assert!(client.next_within(Duration::from_millis(500)).await.is_none());
    assert_eq!(counter(&edge, "edgecore_device_topics_unknown_total"), strange + topics.len() as u64);
    assert_eq!(stored(&edge, &mut client).await, before);
    edge.stop().await;
}

#[tokio::test]
async fn hostile_clients_are_put_out_and_counted_and_nobody_else_notices() {
    let (_directory, edge, mut client) = start().await;
    let before = stored(&edge, &mut client).await;
    let connect = b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04evil".to_vec();
    // A publish that says that it is longer than any packet may be: 3 MB.
    let oversized = [connect.clone(), b"\x30\xff\xff\xbf\x01".to_vec(), vec![0; 65_536]].concat();
    let garbage: Vec<u8> = (0..4096u32).map(|byte| (byte.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let cases = [
        ("oversized", oversized),
        ("malformed", [connect.clone(), b"\x00\x00".to_vec()].concat()),
        // A topic with a wildcard, one with a zero, one that is no UTF-8.
        ("malformed", [connect.clone(), b"\x30\x05\x00\x03a/#".to_vec()].concat()),
        ("malformed", [connect.clone(), b"\x30\x05\x00\x03a\x00b".to_vec()].concat()),
        ("malformed", [connect.clone(), b"\x30\x05\x00\x03\xff\xfe\xfd".to_vec()].concat()),
        // A second CONNECT.
        ("malformed", [connect.clone(), connect.clone()].concat()),
        ("malformed", garbage),
        ("malformed", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
    ];
    for (reason, bytes) in cases {
        let name = format!("edgecore_mqtt_clients_put_out_total{{reason=\"{reason}\"}}");
        let count = counter(&edge, &name);
        let port = edge.port;
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]).into_owned();
        let ended = tokio::task::spawn_blocking(move || {
            let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            let _ = socket.write_all(&bytes);
            let mut chunk = [0; 4096];
            // Closed or reset: it is over either way.
            loop {
                match socket.read(&mut chunk) {
                    Ok(0) => return true,
                    Ok(_) => {}
                    Err(error) => return error.kind() != std::io::ErrorKind::WouldBlock,
                }
            }
        });
        assert!(ended.await.unwrap(), "{shown:?} is still connected");
        let end = Instant::now() + Duration::from_secs(5);
        while counter(&edge, &name) == count {
            assert!(Instant::now() < end, "{shown:?} does not count as {reason}: {}", edge.metrics.render());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    assert_eq!(stored(&edge, &mut client).await, before);
    edge.stop().await;
}

#[tokio::test]
async fn a_flood_from_one_device_does_not_starve_the_others() {
    let (_directory, edge, mut quiet) = start().await;
    for (number, name) in ["flooder", "babbler"].into_iter().enumerate() {
        let mut other = device(name, 10 + number as u64, None);
        other["metadata"]["name"] = json!(name);
        edge.push(Operation::Insert, &format!("default/device/{name}"), 10 + number as u64, &other).await;
    }
    // Two that publish as fast as the broker takes it: one right values that all differ, one nonsense.
    let (port, mut floods) = (edge.port, tokio::task::JoinSet::new());
    let stop = tokio_util::sync::CancellationToken::new();
    for (name, right) in [("flooder", true), ("babbler", false)] {
        let stop = stop.clone();
        floods.spawn(async move {
            let mut client = Client::connect(port, name).await;
            let topic = format!("$hw/events/device/default/{name}/twin/update");
            let mut sent = 0u64;
            while !stop.is_cancelled() {
                let payload = if right {
                    json!({"twin": {"count": {"actual": {"value": sent.to_string()}}}}).to_string()
                } else {
                    "{\"twin\":".to_owned()
                };
                if client.client.try_publish(&topic, rumqttc::QoS::AtLeastOnce, false, payload).is_ok() {
                    sent += 1;
                } else {
                    let _ = tokio::time::timeout(Duration::from_millis(1), client.events.poll()).await;
                }
            }
            sent
        });
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut slowest = Duration::ZERO;
    for number in 0..60u64 {
        let began = Instant::now();
        let id = format!("quiet-{number}");
        let update = json!({"event_id": id, "twin": {"known": {"actual": {"value": number.to_string()}}}});
        quiet.publish(&format!("{DEVICE}/twin/update"), &update).await;
        loop {
            let (topic, answer) = quiet.next_within(Duration::from_secs(10)).await.expect("an answer");
            if topic.starts_with(DEVICE) && answer["event_id"] == id {
                assert!(answer.get("code").is_none(), "{answer}");
                break;
            }
        }
        slowest = slowest.max(began.elapsed());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    stop.cancel();
    let sent: Vec<u64> = floods.join_all().await;
    println!("{sent:?} flooded, the slowest answer took {slowest:?}");
    assert!(sent.iter().all(|sent| *sent > 1000), "that is no flood: {sent:?}");
    assert!(counter(&edge, &refused("malformed")) > 1000);
    assert!(slowest < Duration::from_secs(3), "{slowest:?}");
    edge.stop().await;
}
