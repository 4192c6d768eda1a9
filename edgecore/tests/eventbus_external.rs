//! A real mosquitto as the external broker (mqttMode 2): devices talk to it, edgecore is one of its clients.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

mod support;

use std::path::Path;
use std::time::Duration;

use proto::config::{EventBus, MqttMode};
use proto::message::Operation;
use serde_json::{Value, json};
use support::{Client, Edge, Mosquitto, device, free_port, model};
use tokio::time::Instant;

const UPDATE: &str = "$hw/events/device/default/sensor1/twin/update";

fn settings(mode: MqttMode, internal: u16, external: u16) -> EventBus {
    EventBus {
        mqtt_mode: mode,
        mqtt_server_internal: format!("tcp://127.0.0.1:{internal}"),
        mqtt_server_external: format!("tcp://127.0.0.1:{external}"),
        mqtt_username: "edge".to_owned(),
        mqtt_password: "secret".to_owned(),
        ..EventBus::default()
    }
}

/// mosquitto that only lets `edge` with `secret` in; the sensor uses the same.
fn mosquitto(directory: &Path, port: u16) -> Mosquitto {
    let passwords = directory.join("passwords");
    let made = std::process::Command::new("mosquitto_passwd")
        .args(["-c", "-b"])
        .arg(&passwords)
        .args(["edge", "secret"])
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let extra = format!(
        "log_dest file {1}/mosquitto.log\nlog_type all\nallow_anonymous false\npassword_file {0}\npersistence true\npersistence_location {1}/\nautosave_interval 1\nautosave_on_changes true\nuser root",
        passwords.display(),
        directory.display()
    );
    Mosquitto::start(directory, port, &extra)
}

async fn add_device(edge: &Edge) {
    edge.push(Operation::Insert, "default/devicemodel/temp-model", 1, &model()).await;
    edge.push(Operation::Insert, "default/device/sensor1", 2, &device("u-1", 2, None)).await;
}

/// Reports until the answer comes without an error: the node may not be back yet.
async fn report(client: &mut Client, value: &str) -> Value {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let id = format!("e-{value}-{:?}", Instant::now());
        let payload = json!({"event_id": id, "twin": {"temperature": {"actual": {"value": value}}}});
        client.publish(UPDATE, &payload).await;
        while let Some((_, answer)) = client.next().await {
            if answer["event_id"] == id.as_str() && answer.get("code").is_none() {
                return answer;
            }
        }
        assert!(Instant::now() < end, "{value} is not taken");
    }
}

#[tokio::test]
async fn devices_at_an_external_broker_are_served_also_after_it_was_restarted() {
    let directory = tempfile::tempdir().unwrap();
    let port = free_port();
    let broker = mosquitto(directory.path(), port);
    let edge = Edge::with(directory.path(), &settings(MqttMode::External, 1, port), port).await;
    add_device(&edge).await;
    let mut sensor = Client::login(port, "sensor", "edge", "secret").await;
    sensor.subscribe(&format!("{UPDATE}/result")).await;
    report(&mut sensor, "21").await;

    drop(broker);
    let log = directory.path().join("mosquitto.log");
    std::fs::remove_file(&log).unwrap();
    let _broker = mosquitto(directory.path(), port);
    let mut sensor = Client::login(port, "sensor2", "edge", "secret").await;
    sensor.subscribe(&format!("{UPDATE}/result")).await;
    report(&mut sensor, "22").await;
    // All of it again, and with QoS 1.
    let log = std::fs::read_to_string(log).unwrap();
    for filter in
        ["device/+/+/state/update", "device/+/+/twin/get", "device/+/+/twin/update", "node/+/membership/get"]
    {
        assert!(log.contains(&format!("$hw/events/{filter} (QoS 1)")), "{filter}: {log}");
    }
    edge.stop().await;
}

#[tokio::test]
async fn the_broker_keeps_readings_while_edgecore_is_away() {
    let directory = tempfile::tempdir().unwrap();
    let port = free_port();
    let _broker = mosquitto(directory.path(), port);
    let config = settings(MqttMode::External, 1, port);
    let edge = Edge::with(directory.path(), &config, port).await;
    add_device(&edge).await;
    let mut sensor = Client::login(port, "sensor", "edge", "secret").await;
    sensor.subscribe(&format!("{UPDATE}/result")).await;
    report(&mut sensor, "1").await;
    edge.stop().await;
    for value in 2..=60 {
        let payload = json!({"event_id": format!("away-{value}"), "twin": {"temperature": {"actual": {"value": value.to_string()}}}});
        sensor.publish(UPDATE, &payload).await;
    }
    while sensor.next().await.is_some() {}
    let edge = Edge::with(directory.path(), &config, port).await;
    let mut answered = Vec::new();
    while answered.len() < 59 {
        let (_, answer) = sensor.next_within(Duration::from_secs(10)).await.expect("an answer");
        assert!(answer.get("code").is_none(), "{answer}");
        answered.push(answer["event_id"].as_str().unwrap().to_owned());
    }
    let wanted: Vec<String> = (2..=60).map(|value| format!("away-{value}")).collect();
    assert_eq!(answered, wanted, "all of them, in order");
    edge.stop().await;
}

#[tokio::test]
async fn with_both_brokers_a_reading_at_either_is_answered_at_both() {
    let directory = tempfile::tempdir().unwrap();
    let (inside, outside) = (free_port(), free_port());
    let _broker = mosquitto(directory.path(), outside);
    let edge = Edge::with(directory.path(), &settings(MqttMode::Both, inside, outside), inside).await;
    add_device(&edge).await;
    let mut near = Client::connect(inside, "near").await;
    near.subscribe(&format!("{UPDATE}/result")).await;
    let mut far = Client::login(outside, "far", "edge", "secret").await;
    far.subscribe(&format!("{UPDATE}/result")).await;
    report(&mut far, "30").await;
    report(&mut near, "31").await;
    let value = |answer: &Value| answer["twin"]["temperature"]["actual"]["value"].clone();
    let mut heard = Vec::new();
    while let Some((_, answer)) = far.next().await {
        heard.push(value(&answer));
    }
    assert!(heard.contains(&json!("31")), "{heard:?}");
    edge.stop().await;
}

#[tokio::test]
async fn without_its_broker_the_agent_runs_on() {
    let directory = tempfile::tempdir().unwrap();
    let edge = Edge::with(directory.path(), &settings(MqttMode::External, 1, free_port()), 0).await;
    add_device(&edge).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    use edgecore::devicetwin::engine::{Request, Verb};
    let request = Request::Device {
        device: "default/sensor1".parse().unwrap(),
        verb: Verb::TwinUpdate,
        payload: r#"{"twin":{"temperature":{"actual":{"value":"5"}}}}"#.into(),
    };
    let verdict = tokio::time::timeout(Duration::from_secs(2), edge.twins.ask(request)).await.unwrap();
    assert_eq!(verdict, edgecore::devicetwin::Verdict::Done);
    edge.stop().await;
}

/// An authority with its file, and certificates of it.
struct Authority(rcgen::CertifiedIssuer<'static, rcgen::KeyPair>);

impl Authority {
    fn new(file: &Path) -> Self {
        let mut of = rcgen::CertificateParams::new(Vec::new()).unwrap();
        of.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = rcgen::CertifiedIssuer::self_signed(of, rcgen::KeyPair::generate().unwrap()).unwrap();
        std::fs::write(file, authority.pem()).unwrap();
        Self(authority)
    }

    /// `NAME.crt` and `NAME.key`.
    fn issue(&self, directory: &Path, name: &str) {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut of = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        of.distinguished_name.push(rcgen::DnType::CommonName, name);
        let certificate = of.signed_by(&key, &self.0).unwrap();
        std::fs::write(directory.join(format!("{name}.crt")), certificate.pem()).unwrap();
        std::fs::write(directory.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

#[tokio::test]
async fn an_external_broker_with_tls_that_wants_certificates_is_used_and_again_after_a_restart_with_new_ones()
{
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let (port, over_tls) = (free_port(), free_port());
    let renew = || {
        let authority = Authority::new(&at.join("ca.crt"));
        authority.issue(at, "localhost");
        authority.issue(at, "edge1");
    };
    renew();
    // Only who shows a certificate may speak for the edge; sensors are at the other door.
    let extra = format!(
        "allow_anonymous true\nuser root\nlistener {over_tls} 127.0.0.1\nrequire_certificate true\n\
         cafile {0}/ca.crt\ncertfile {0}/localhost.crt\nkeyfile {0}/localhost.key",
        at.display()
    );
    let broker = Mosquitto::start(at, port, &extra);
    let mut config = settings(MqttMode::External, 1, port);
    config.mqtt_server_external = format!("ssl://localhost:{over_tls}");
    config.tls.enable = true;
    config.tls.ca_file = at.join("ca.crt");
    config.tls.cert_file = at.join("edge1.crt");
    config.tls.private_key_file = at.join("edge1.key");
    let edge = Edge::with(at, &config, port).await;
    add_device(&edge).await;
    let mut sensor = Client::connect(port, "sensor").await;
    sensor.subscribe(&format!("{UPDATE}/result")).await;
    report(&mut sensor, "21").await;

    drop(broker);
    renew();
    let _broker = Mosquitto::start(at, port, &extra);
    let mut sensor = Client::connect(port, "sensor2").await;
    sensor.subscribe(&format!("{UPDATE}/result")).await;
    report(&mut sensor, "22").await;
    edge.stop().await;
}
