//! Clauses of MQTT 3.1.1 that clients rely on, against the embedded broker over raw sockets and with mosquitto's own
//! tools. The numbers are the standard's.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

mod support;

use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::BytesMut;
use rumqttc::mqttbytes::v4::{
    ConnAck, Connect, LastWill, PubAck, PubComp, PubRec, PubRel, SubAck, Subscribe, SubscribeReasonCode,
    Unsubscribe,
};
use rumqttc::{ConnectReturnCode, Packet, Publish, QoS, SubscribeFilter};
use serde_json::json;
use support::{Edge, mosquitto};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A client that says exactly what a test wants.
struct Raw {
    stream: TcpStream,
    input: BytesMut,
}

impl Raw {
    async fn open(port: u16) -> Self {
        Self { stream: TcpStream::connect(("127.0.0.1", port)).await.unwrap(), input: BytesMut::new() }
    }

    /// Connects as `id`; also says whether the broker had a session.
    async fn connect(port: u16, id: &str, clean: bool) -> (Self, bool) {
        let mut connect = Connect::new(id);
        connect.clean_session = clean;
        Self::introduce(port, connect).await
    }

    async fn introduce(port: u16, connect: Connect) -> (Self, bool) {
        let mut raw = Self::open(port).await;
        raw.send(Packet::Connect(connect)).await;
        let Some(Packet::ConnAck(ConnAck { session_present, code: ConnectReturnCode::Success })) =
            raw.next().await
        else {
            panic!("not let in")
        };
        (raw, session_present)
    }

    async fn send(&mut self, packet: Packet) {
        let mut bytes = BytesMut::new();
        packet.write(&mut bytes, usize::MAX).unwrap();
        self.bytes(&bytes).await;
    }

    async fn bytes(&mut self, bytes: &[u8]) {
        // A peer that closed already is what some tests wait for.
        let _ = self.stream.write_all(bytes).await;
    }

    /// The next packet; `None` when the broker closed the connection.
    async fn next(&mut self) -> Option<Packet> {
        timeout(Duration::from_secs(5), self.read()).await.expect("a packet or the end within 5 s")
    }

    async fn read(&mut self) -> Option<Packet> {
        loop {
            match Packet::read(&mut self.input, 1 << 20) {
                Ok(packet) => return Some(packet),
                Err(rumqttc::mqttbytes::Error::InsufficientBytes(_)) => {}
                Err(error) => panic!("the broker sends {error}"),
            }
            if self.stream.read_buf(&mut self.input).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    async fn silent(&mut self) -> bool {
        timeout(Duration::from_millis(200), self.read()).await.is_err()
    }

    async fn subscribe(&mut self, filters: &[(&str, QoS)]) -> Vec<SubscribeReasonCode> {
        let filters = filters.iter().map(|(path, qos)| SubscribeFilter::new((*path).to_owned(), *qos));
        let mut subscribe = Subscribe::new_many(filters);
        subscribe.pkid = 77;
        self.send(Packet::Subscribe(subscribe)).await;
        match self.next().await {
            Some(Packet::SubAck(SubAck { pkid: 77, return_codes })) => return_codes,
            other => panic!("a SUBACK, not {other:?}"),
        }
    }

    async fn publish(&mut self, topic: &str, qos: QoS, pkid: u16, payload: &str) {
        self.send(Packet::Publish(message(topic, qos, pkid, payload))).await;
    }

    async fn received(&mut self) -> Publish {
        match self.next().await {
            Some(Packet::Publish(publish)) => publish,
            other => panic!("a PUBLISH, not {other:?}"),
        }
    }
}

fn message(topic: &str, qos: QoS, pkid: u16, payload: &str) -> Publish {
    let mut publish = Publish::new(topic, qos, payload);
    publish.pkid = pkid;
    publish
}

async fn edge() -> (tempfile::TempDir, Edge) {
    let directory = tempfile::tempdir().unwrap();
    let edge = Edge::start(directory.path()).await;
    (directory, edge)
}

#[tokio::test]
async fn clients_that_break_the_protocol_are_disconnected_and_others_are_not() {
    let (_directory, edge) = edge().await;
    let (mut bystander, _) = Raw::connect(edge.port, "bystander", true).await;
    bystander.subscribe(&[("a/#", QoS::AtMostOnce)]).await;
    for (what, bytes) in [
        ("3.1.0-1 the first packet is CONNECT", &[0xc0, 0][..]),
        ("3.1.2-1 protocol name", &[0x10, 12, 0, 4, b'M', b'Q', b'T', b'X', 4, 2, 0, 10, 0, 0]),
        ("1.5.3-2 NUL in the client id", &[0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 10, 0, 1, 0]),
        ("a length of five bytes", &[0x10, 0xff, 0xff, 0xff, 0xff, 0x01]),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
    ] {
        let mut raw = Raw::open(edge.port).await;
        raw.bytes(bytes).await;
        assert_eq!(raw.next().await, None, "{what}");
    }
    for (what, bytes) in [
        ("3.1.0-2 a second CONNECT", &[0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 10, 0, 1, b'x'][..]),
        ("3.3.1-4 QoS 3", &[0x36, 5, 0, 1, b'a', 0, 1]),
        ("3.3.2-2 wildcard in a topic", &[0x30, 3, 0, 1, b'#']),
        ("1.5.3-1 topic not UTF-8", &[0x30, 3, 0, 1, 0xff]),
        ("4.7.3-1 empty topic", &[0x30, 2, 0, 0]),
        ("3.8.1-1 flags of SUBSCRIBE", &[0x80, 6, 0, 1, 0, 1, b'a', 0]),
        ("3.8.3-4 requested QoS 3", &[0x82, 6, 0, 1, 0, 1, b'a', 3]),
        ("4.7.1-2 # inside a filter", &[0x82, 8, 0, 1, 0, 3, b'#', b'/', b'a', 0]),
        ("3.6.1-1 flags of PUBREL", &[0x60, 2, 0, 1]),
        ("a packet type that does not exist", &[0xf0, 0]),
        ("a packet that only servers send", &[0x20, 2, 0, 0]),
        ("a packet longer than allowed", &[0x30, 0xff, 0xff, 0xff, 0x7f]),
    ] {
        let (mut raw, _) = Raw::connect(edge.port, "rude", true).await;
        raw.bytes(bytes).await;
        assert_eq!(raw.next().await, None, "{what}");
    }
    let (mut polite, _) = Raw::connect(edge.port, "polite", true).await;
    polite.publish("a/b", QoS::AtMostOnce, 0, "still here").await;
    assert_eq!(bystander.received().await.payload, "still here");
    edge.stop().await;
}

#[tokio::test]
async fn connecting_follows_the_standard() {
    let (_directory, edge) = edge().await;
    // 3.1.2-2: another protocol level is refused with 1.
    let mut raw = Raw::open(edge.port).await;
    raw.bytes(&[0x10, 14, 0, 4, b'M', b'Q', b'T', b'T', 6, 2, 0, 10, 0, 0, 1, b'a']).await;
    let refused = |code| Some(Packet::ConnAck(ConnAck { session_present: false, code }));
    assert_eq!(raw.next().await, refused(ConnectReturnCode::RefusedProtocolVersion));
    assert_eq!(raw.next().await, None);
    // 3.1.3-8: no id and a lasting session is refused with 2; 3.1.3-6: no id and a clean one is let in.
    let mut raw = Raw::open(edge.port).await;
    let mut connect = Connect::new("");
    connect.clean_session = false;
    raw.send(Packet::Connect(connect)).await;
    assert_eq!(raw.next().await, refused(ConnectReturnCode::BadClientId));
    Raw::connect(edge.port, "", true).await;
    // 3.1.4-2: a second client of the same id puts the first out.
    let (mut first, _) = Raw::connect(edge.port, "twice", true).await;
    let (mut second, _) = Raw::connect(edge.port, "twice", true).await;
    assert_eq!(first.next().await, None);
    second.send(Packet::PingReq).await;
    assert_eq!(second.next().await, Some(Packet::PingResp));
    // 3.1.2-24: one and a half times the keep-alive without a word; 0 turns it off.
    let mut connect = Connect::new("sleepy");
    connect.keep_alive = 1;
    let (mut sleepy, _) = Raw::introduce(edge.port, connect).await;
    let mut connect = Connect::new("patient");
    connect.keep_alive = 0;
    let (mut patient, _) = Raw::introduce(edge.port, connect).await;
    assert_eq!(sleepy.next().await, None);
    patient.send(Packet::PingReq).await;
    assert_eq!(patient.next().await, Some(Packet::PingResp));
    edge.stop().await;
}

#[tokio::test]
async fn topics_that_start_with_a_dollar_are_reached_by_their_name_only() {
    let (_directory, edge) = edge().await;
    let (mut all, _) = Raw::connect(edge.port, "all", true).await;
    all.subscribe(&[("#", QoS::AtMostOnce), ("+/events/#", QoS::AtMostOnce)]).await;
    let (mut named, _) = Raw::connect(edge.port, "named", true).await;
    named.subscribe(&[("$ke/events/device/+/+/data/update", QoS::AtMostOnce)]).await;
    let (mut publisher, _) = Raw::connect(edge.port, "publisher", true).await;
    publisher.publish("$ke/events/device/default/s/data/update", QoS::AtMostOnce, 0, "1").await;
    publisher.publish("é/x", QoS::AtMostOnce, 0, "2").await;
    assert_eq!(named.received().await.payload, "1");
    assert_eq!(all.received().await.payload, "2");
    edge.stop().await;
}

#[tokio::test]
async fn the_delivered_quality_is_the_lower_of_published_and_subscribed() {
    let (_directory, edge) = edge().await;
    let (mut subscriber, _) = Raw::connect(edge.port, "subscriber", true).await;
    let codes = subscriber
        .subscribe(&[("q0", QoS::AtMostOnce), ("q1", QoS::AtLeastOnce), ("q2", QoS::ExactlyOnce)])
        .await;
    let granted = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce].map(SubscribeReasonCode::Success);
    assert_eq!(codes, granted);
    let (mut publisher, _) = Raw::connect(edge.port, "publisher", true).await;
    // 3.8.4-6
    publisher.publish("q1", QoS::AtMostOnce, 0, "0 to 1").await;
    assert_eq!(subscriber.received().await.qos, QoS::AtMostOnce);
    publisher.publish("q0", QoS::AtLeastOnce, 5, "1 to 0").await;
    assert_eq!(publisher.next().await, Some(Packet::PubAck(PubAck::new(5))));
    assert_eq!(subscriber.received().await.qos, QoS::AtMostOnce);
    publisher.publish("q2", QoS::AtLeastOnce, 6, "1 to 2").await;
    let publish = subscriber.received().await;
    assert_eq!(publish.qos, QoS::AtLeastOnce);
    subscriber.send(Packet::PubAck(PubAck::new(publish.pkid))).await;
    edge.stop().await;
}

#[tokio::test]
async fn exactly_once_is_exactly_once_both_ways() {
    let (_directory, edge) = edge().await;
    let (mut subscriber, _) = Raw::connect(edge.port, "subscriber", true).await;
    subscriber.subscribe(&[("x", QoS::ExactlyOnce)]).await;
    let (mut publisher, _) = Raw::connect(edge.port, "publisher", true).await;
    // 4.3.3: the publish comes twice before it is released.
    publisher.publish("x", QoS::ExactlyOnce, 9, "once").await;
    assert_eq!(publisher.next().await, Some(Packet::PubRec(PubRec::new(9))));
    let mut again = message("x", QoS::ExactlyOnce, 9, "once");
    again.dup = true;
    publisher.send(Packet::Publish(again)).await;
    assert_eq!(publisher.next().await, Some(Packet::PubRec(PubRec::new(9))));
    publisher.send(Packet::PubRel(PubRel::new(9))).await;
    assert_eq!(publisher.next().await, Some(Packet::PubComp(PubComp::new(9))));
    let publish = subscriber.received().await;
    assert_eq!((publish.qos, publish.dup), (QoS::ExactlyOnce, false));
    subscriber.send(Packet::PubRec(PubRec::new(publish.pkid))).await;
    assert_eq!(subscriber.next().await, Some(Packet::PubRel(PubRel::new(publish.pkid))));
    subscriber.send(Packet::PubComp(PubComp::new(publish.pkid))).await;
    assert!(subscriber.silent().await, "and not again");
    edge.stop().await;
}

#[tokio::test]
async fn retained_messages_meet_every_new_subscription_and_go_when_cleared() {
    let (_directory, edge) = edge().await;
    let (mut publisher, _) = Raw::connect(edge.port, "publisher", true).await;
    let mut retained = message("r/1", QoS::AtMostOnce, 0, "kept");
    retained.retain = true;
    let (mut early, _) = Raw::connect(edge.port, "early", true).await;
    early.subscribe(&[("r/#", QoS::AtMostOnce)]).await;
    publisher.send(Packet::Publish(retained.clone())).await;
    // 3.3.1-9: who subscribed before gets it as any message.
    assert!(!early.received().await.retain);
    for _ in 0..2 {
        // 3.3.1-8, and 3.8.4-3: each SUBSCRIBE brings it again.
        early.subscribe(&[("r/+", QoS::AtMostOnce)]).await;
        let publish = early.received().await;
        assert!(publish.retain && publish.payload == "kept");
    }
    // 3.3.1-12: not retained, so the kept one stays.
    publisher.publish("r/1", QoS::AtMostOnce, 0, "").await;
    early.received().await;
    let (mut late, _) = Raw::connect(edge.port, "late", true).await;
    late.subscribe(&[("r/1", QoS::AtMostOnce)]).await;
    assert_eq!(late.received().await.payload, "kept");
    // 3.3.1-10: an empty retained one clears it.
    retained.payload = bytes::Bytes::new();
    publisher.send(Packet::Publish(retained)).await;
    late.received().await;
    let (mut last, _) = Raw::connect(edge.port, "last", true).await;
    last.subscribe(&[("r/1", QoS::AtMostOnce)]).await;
    assert!(last.silent().await);
    edge.stop().await;
}

#[tokio::test]
async fn a_lasting_session_keeps_subscriptions_and_repeats_what_was_not_settled() {
    let (_directory, edge) = edge().await;
    let (mut reader, present) = Raw::connect(edge.port, "reader", false).await;
    assert!(!present);
    reader.subscribe(&[("s/#", QoS::AtLeastOnce)]).await;
    let (mut publisher, _) = Raw::connect(edge.port, "publisher", true).await;
    publisher.publish("s/1", QoS::AtLeastOnce, 1, "unsettled").await;
    let first = reader.received().await;
    drop(reader);
    assert_eq!(publisher.next().await, Some(Packet::PubAck(PubAck::new(1))));
    tokio::time::sleep(Duration::from_millis(50)).await;
    publisher.publish("s/2", QoS::AtLeastOnce, 2, "while away").await;
    assert_eq!(publisher.next().await, Some(Packet::PubAck(PubAck::new(2))));
    let (mut reader, present) = Raw::connect(edge.port, "reader", false).await;
    assert!(present);
    // 3.3.1-1, 4.4.0-1: the same identifier, marked as a repetition.
    let again = reader.received().await;
    assert_eq!((again.pkid, again.dup, &again.payload[..]), (first.pkid, true, &b"unsettled"[..]));
    assert_eq!(reader.received().await.payload, "while away");
    // 3.1.2-6: a clean session forgets all.
    let (mut reader, present) = Raw::connect(edge.port, "reader", true).await;
    assert!(!present);
    publisher.publish("s/3", QoS::AtLeastOnce, 3, "gone").await;
    assert!(reader.silent().await);
    edge.stop().await;
}

#[tokio::test]
async fn a_will_is_spoken_for_who_vanishes_and_not_for_who_says_goodbye() {
    let (_directory, edge) = edge().await;
    let (mut watcher, _) = Raw::connect(edge.port, "watcher", true).await;
    watcher.subscribe(&[("will/+", QoS::AtMostOnce)]).await;
    let mortal = |id: &str| {
        let mut connect = Connect::new(id);
        connect.last_will = Some(LastWill::new(format!("will/{id}"), "gone", QoS::AtMostOnce, false));
        connect
    };
    let (mut polite, _) = Raw::introduce(edge.port, mortal("polite")).await;
    polite.send(Packet::Disconnect).await;
    assert_eq!(polite.next().await, None);
    let (vanishing, _) = Raw::introduce(edge.port, mortal("vanishing")).await;
    drop(vanishing);
    assert_eq!(watcher.received().await.topic, "will/vanishing");
    edge.stop().await;
}

#[tokio::test]
async fn unsubscribed_is_unsubscribed_and_acknowledged() {
    let (_directory, edge) = edge().await;
    let (mut reader, _) = Raw::connect(edge.port, "reader", true).await;
    reader.subscribe(&[("u/#", QoS::AtMostOnce)]).await;
    let mut unsubscribe = Unsubscribe::new("u/#");
    unsubscribe.pkid = 8;
    unsubscribe.topics.push("never/there".to_owned());
    reader.send(Packet::Unsubscribe(unsubscribe)).await;
    assert!(matches!(reader.next().await, Some(Packet::UnsubAck(ack)) if ack.pkid == 8));
    let (mut publisher, _) = Raw::connect(edge.port, "publisher", true).await;
    publisher.publish("u/1", QoS::AtMostOnce, 0, "x").await;
    assert!(reader.silent().await);
    edge.stop().await;
}

#[tokio::test]
async fn who_does_not_acknowledge_in_order_or_acknowledges_nonsense_harms_nobody() {
    let (_directory, edge) = edge().await;
    let (mut reader, _) = Raw::connect(edge.port, "reader", true).await;
    reader.subscribe(&[("n/#", QoS::AtLeastOnce)]).await;
    let (mut publisher, _) = Raw::connect(edge.port, "publisher", true).await;
    for round in 0..5u16 {
        for number in 0..200u16 {
            publisher.publish("n/1", QoS::AtLeastOnce, round * 200 + number + 1, "x").await;
        }
        reader.send(Packet::PubAck(PubAck::new(50))).await;
        reader.send(Packet::PubAck(PubAck::new(60_000))).await;
        reader.send(Packet::PubComp(PubComp::new(3))).await;
        reader.send(Packet::PubRec(PubRec::new(61_000))).await;
    }
    for number in 1..=1000 {
        assert_eq!(publisher.next().await, Some(Packet::PubAck(PubAck::new(number))), "4.6.0-2: in order");
    }
    let (mut another, _) = Raw::connect(edge.port, "another", true).await;
    another.subscribe(&[("n/#", QoS::AtMostOnce)]).await;
    publisher.publish("n/2", QoS::AtMostOnce, 0, "alive").await;
    assert_eq!(another.received().await.payload, "alive");
    edge.stop().await;
}

#[tokio::test]
async fn a_reader_that_does_not_read_holds_nobody_up() {
    let (_directory, edge) = edge().await;
    let (mut stuck, _) = Raw::connect(edge.port, "stuck", true).await;
    stuck.subscribe(&[("flood/#", QoS::AtLeastOnce)]).await;
    let (mut publisher, _) = Raw::connect(edge.port, "publisher", true).await;
    let payload = "x".repeat(10_000);
    for number in 1..=2000u16 {
        publisher.publish("flood/1", QoS::AtLeastOnce, number, &payload).await;
        assert_eq!(publisher.next().await, Some(Packet::PubAck(PubAck::new(number))));
    }
    drop(stuck);
    edge.stop().await;
}

#[tokio::test]
async fn more_clients_than_there_is_room_for_are_told_so() {
    let (_directory, edge) = edge().await;
    let mut clients = Vec::new();
    loop {
        let mut raw = Raw::open(edge.port).await;
        raw.send(Packet::Connect(Connect::new(format!("c{}", clients.len())))).await;
        match raw.next().await {
            Some(Packet::ConnAck(ConnAck { code: ConnectReturnCode::Success, .. })) => clients.push(raw),
            Some(Packet::ConnAck(ack)) => {
                assert_eq!(ack.code, ConnectReturnCode::ServiceUnavailable);
                break;
            }
            other => panic!("a CONNACK, not {other:?}"),
        }
        assert!(clients.len() < 2000, "connections are not bounded");
    }
    drop(clients.pop());
    tokio::time::sleep(Duration::from_millis(50)).await;
    Raw::connect(edge.port, "again", true).await;
    edge.stop().await;
}

#[tokio::test]
async fn mosquitto_s_own_tools_work_against_it() {
    let (_directory, edge) = edge().await;
    edge.add_sensor(None).await;
    let port = edge.port.to_string();
    let reader = Command::new("mosquitto_sub")
        .args(["-h", "127.0.0.1", "-p", &port, "-v", "-C", "3", "-W", "10", "-q", "1"])
        .args(["-t", "$hw/events/device/+/+/twin/#"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let topic = "$hw/events/device/default/sensor1/twin/update";
    let payload = json!({"event_id":"m","twin":{"temperature":{"actual":{"value":"21"}}}}).to_string();
    let sent = tokio::task::spawn_blocking(move || {
        mosquitto("mosquitto_pub", port.parse().unwrap(), &["-q", "2", "-t", topic, "-m", &payload])
    });
    assert!(sent.await.unwrap().status.success());
    let output = tokio::task::spawn_blocking(|| reader.wait_with_output()).await.unwrap().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let topics: Vec<&str> = text.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(topics, [topic, &format!("{topic}/result"), &format!("{topic}/document")], "{text}");
    edge.stop().await;
}
