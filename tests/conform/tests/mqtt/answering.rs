//! Chapter 3.2 of both standards: CONNACK, and what the client said with its CONNECT of the packets that it takes.
//! `MQTT` is a number of 3.1.1, `MQTT5` one of 5.

use crate::broker::Broker;
use crate::raw::{Five, Frame, Hello, Raw, Three, Version, ack, publish, subscribe, text, unsubscribe};

#[tokio::test]
async fn an_answer_says_what_it_may_and_nothing_else() {
    let broker = Broker::start().await;
    let connack = async |v: Version, hello: &Hello| {
        let mut raw = Raw::open(broker.port, v).await;
        raw.send(&hello.bytes(v)).await;
        (raw.some("a CONNACK").await, raw)
    };
    let (answer, _) = connack(Three, &Hello::clean("x")).await;
    assert_eq!(answer, Frame { first: 0x20, body: vec![0, 0] }, "MQTT-3.1.4-4, 3.2.2-1");
    // Asks for what the broker has not to give: response information, problems.
    let asks = Hello { properties: vec![0x19, 0, 0x17, 0, 0x22, 0, 9], ..Hello::clean("x") };
    let (answer, mut raw) = connack(Five, &asks).await;
    assert_eq!((answer.first, answer.body[0], answer.body[1]), (0x20, 0, 0), "MQTT5-3.1.4-5, 3.2.2-1, -8");
    let ids = property_ids(&answer.body[2..]);
    for (id, what) in [
        (0x1a, "MQTT5-3.1.2-28 response information"),
        (0x15, "MQTT5-4.12.0-6 authentication method"),
        (0x13, "MQTT5-3.2.2-22 another keep-alive"),
        (0x24, "MQTT5-3.2.2-9, -10, -12 no QoS is missing"),
        (0x25, "MQTT5-3.2.2-13 retained messages are there"),
    ] {
        assert!(!ids.contains(&id), "{what}: {ids:?}");
    }
    // MQTT5-3.1.2-29: no reasons and user properties in other packets. MQTT5-3.1.2-26, -27, 3.3.2-11: no aliases, asked for or not.
    raw.send(&subscribe(Five, 3, &[(b"a", 2)])).await;
    raw.gets(&[0x90, 4, 0, 3, 0, 2], "MQTT5-3.1.2-29, 3.9.2-1, -2 SUBACK").await;
    raw.send(&ack(0x62, 99)).await;
    raw.gets(&[0x70, 3, 0, 99, 0x92], "MQTT5-3.1.2-29, 3.7.2-1, -2, -3 PUBCOMP").await;
    raw.send(&ack(0x50, 99)).await;
    raw.gets(&[0x62, 3, 0, 99, 0x92], "MQTT5-3.1.2-29, 3.6.2-1, -2, -3 PUBREL").await;
    raw.send(&publish(Five, 2, b"b", 98, "x")).await;
    raw.gets(&ack(0x40, 98), "MQTT5-3.1.2-29, 3.4.2-2, -3 PUBACK").await;
    raw.send(&publish(Five, 4, b"b", 99, "x")).await;
    raw.gets(&ack(0x50, 99), "MQTT5-3.1.2-29, 3.5.2-2, -3 PUBREC").await;
    raw.send(&unsubscribe(Five, 4, &[b"b"])).await;
    raw.gets(&[0xb0, 4, 0, 4, 0, 0x11], "MQTT5-3.1.2-29, 3.11.2-1, -2, 3.11.3-2 UNSUBACK").await;
    for _ in 0..3 {
        raw.send(&publish(Five, 0, b"a", 0, "x")).await;
        let heard = raw.hears("MQTT5-3.1.2-26, -27, 3.3.2-11").await;
        assert_eq!((&*heard.topic, heard.properties), ("a", vec![]), "MQTT5-3.1.2-26, -27, 3.3.2-11");
    }
}

/// The identifiers of the properties of a CONNACK, their length before them.
fn property_ids(bytes: &[u8]) -> Vec<u8> {
    let mut rest = &bytes[1..];
    let mut ids = Vec::new();
    while let [id, more @ ..] = rest {
        let length = match id {
            0x24 | 0x25 | 0x28 | 0x29 | 0x2a => 1,
            0x13 | 0x21 | 0x22 => 2,
            0x11 | 0x27 => 4,
            0x12 | 0x15 | 0x16 | 0x1a | 0x1c | 0x1f => {
                2 + usize::from(u16::from_be_bytes([more[0], more[1]]))
            }
            other => panic!("MQTT5-2.2.2: {other:#x} is no property of a CONNACK"),
        };
        ids.push(*id);
        rest = &more[length..];
    }
    ids
}

#[tokio::test]
async fn no_packet_is_longer_than_the_client_takes() {
    let broker = Broker::start().await;
    let short = |more: &[u8]| Hello {
        properties: [&[0x27, 0, 0, 0, 30][..], more].concat(),
        ..Hello::clean("short")
    };
    // MQTT5-3.2.2-19, -20: a refusal that would be longer goes without its words.
    let what = "MQTT5-3.1.2-24, 3.2.2-19, -20";
    let mut raw = Raw::open(broker.port, Five).await;
    raw.send(&short(&[&[0x15][..], &text("SCRAM")].concat()).bytes(Five)).await;
    let answer = raw.some(what).await;
    assert_eq!((answer.first, &answer.body[..2]), (0x20, &[0, 0x8c][..]), "{what}");
    assert!(answer.body.len() <= 28, "{what}: {answer:?}");
    // MQTT5-3.14.2-3, -4: so does a DISCONNECT.
    let what = "MQTT5-3.1.2-24, 3.14.2-1, -3, -4";
    let (mut raw, _) = Raw::enter(broker.port, Five, &short(&[])).await;
    raw.send(&Hello::clean("short").bytes(Five)).await;
    let frame = raw.some(what).await;
    assert!(
        frame.first == 0xe0 && frame.body.first() == Some(&0x82) && frame.body.len() <= 28,
        "{what}: {frame:?}"
    );
    // MQTT5-3.1.2-25: as if the long one had been sent.
    let what = "MQTT5-3.1.2-25";
    let (mut raw, _) = Raw::enter(broker.port, Five, &short(&[0x21, 0, 1])).await;
    raw.subscribe("l", 2).await;
    let mut writer = Raw::connect(broker.port, Five, "writer").await;
    for payload in [&*"x".repeat(30), "fits", &*"x".repeat(30), "too"] {
        writer.says("l", payload).await;
    }
    assert_eq!([raw.hears(what).await.payload, raw.hears(what).await.payload], ["fits", "too"], "{what}");
    raw.is_served(what).await;
}
