//! Chapters 1 and 2 of both standards: text, lengths, flags, identifiers, properties.
//! `MQTT` is a number of 3.1.1, `MQTT5` one of 5.

use crate::broker::Broker;
use crate::raw::{
    BOTH, Five, Hello, Raw, Three, ack, binary, each_is_put_out, packet, publish, publish_with, subscribe,
    text, unsubscribe,
};

/// One user property of this name and value.
fn user(name: &[u8], value: &[u8]) -> Vec<u8> {
    [&[0x26][..], &binary(name), &binary(value)].concat()
}

/// A packet of MQTT 5 with an identifier, these properties and what follows.
fn with_properties(first: u8, head: &[u8], properties: &[u8], rest: &[u8]) -> Vec<u8> {
    let length = u8::try_from(properties.len()).unwrap();
    packet(first, &[head, &[length], properties, rest].concat())
}

#[tokio::test]
async fn text_is_utf_8_without_nul_wherever_it_stands() {
    let broker = Broker::start().await;
    for v in BOTH {
        for (rule, bad) in [
            ("MQTT-1.5.3-1, MQTT5-1.5.4-1 no UTF-8", &b"a\xff"[..]),
            ("MQTT-1.5.3-1, MQTT5-1.5.4-1 half of a surrogate pair", b"a\xed\xa0\x80"),
            ("MQTT-1.5.3-1, MQTT5-1.5.4-1 longer than needed", b"a\xc1\x81"),
            ("MQTT-1.5.3-2, MQTT5-1.5.4-2, 4.7.3-2 NUL", b"a\0"),
        ] {
            let with_id = Hello { id: binary(bad), ..Hello::clean("") };
            let mut named = Hello { flags: 0x82, ..Hello::clean("text") };
            named.rest = binary(bad);
            let connects = [
                ("MQTT-3.1.3-4, MQTT5-3.1.3-4 client id", with_id),
                (
                    "MQTT-3.1.3-10, MQTT5-3.1.3-11 will topic",
                    Hello::clean("text").will(v, 0, false, bad, &[]),
                ),
                ("MQTT-3.1.3-11, MQTT5-3.1.3-12 user name", named),
            ];
            for (field, hello) in connects {
                let mut raw = Raw::open(broker.port, v).await;
                raw.send(&hello.bytes(v)).await;
                let code = raw.is_put_out(&format!("{field}: {rule}")).await;
                assert_ne!(code, Some(0), "{v:?}, {field}: {rule}: let in");
            }
            let fields = [
                ("MQTT-3.3.2-1, MQTT5-3.3.2-1 topic", publish(v, 0, bad, 0, "x")),
                ("MQTT-3.8.3-1, MQTT5-3.8.3-1 filter", subscribe(v, 1, &[(bad, 0)])),
                ("MQTT-3.10.3-1, MQTT5-3.10.3-1 filter", unsubscribe(v, 1, &[bad])),
            ];
            for (field, bytes) in fields {
                each_is_put_out(broker.port, v, &[(&format!("{field}: {rule}"), bytes)]).await;
            }
        }
    }
    for bad in [&b"a\xff"[..], b"a\0"] {
        for (field, hello) in [
            (
                "MQTT5-1.5.7-1 user property of CONNECT",
                Hello { properties: user(bad, b"x"), ..Hello::clean("t") },
            ),
            (
                "authentication method",
                Hello { properties: [&[0x15][..], &binary(bad)].concat(), ..Hello::clean("t") },
            ),
            ("MQTT5-1.5.7-1 of a will", Hello::clean("t").will(Five, 0, false, b"w", &user(b"x", bad))),
            (
                "content type of a will",
                Hello::clean("t").will(Five, 0, false, b"w", &[&[3][..], &binary(bad)].concat()),
            ),
        ] {
            let mut raw = Raw::open(broker.port, Five).await;
            raw.send(&hello.bytes(Five)).await;
            let code = raw.is_put_out(field).await;
            assert!(code >= Some(0x80), "{field}: MQTT5-1.5.4-1, -2: {code:?}");
        }
        let content = |id: u8| [&[id][..], &binary(bad)].concat();
        each_is_put_out(
            broker.port,
            Five,
            &[
                (
                    "MQTT5-1.5.7-1 name of a user property",
                    publish_with(Five, 0, b"a", 0, &user(bad, b"x"), ""),
                ),
                (
                    "MQTT5-1.5.7-1 value of a user property",
                    publish_with(Five, 0, b"a", 0, &user(b"x", bad), ""),
                ),
                ("MQTT5-3.3.2-19 content type", publish_with(Five, 0, b"a", 0, &content(3), "")),
                ("MQTT5-3.3.2-13 response topic", publish_with(Five, 0, b"a", 0, &content(8), "")),
                (
                    "MQTT5-1.5.7-1 of SUBSCRIBE",
                    with_properties(0x82, &[0, 1], &user(bad, b"x"), b"\0\x01a\0"),
                ),
                (
                    "MQTT5-1.5.7-1 of UNSUBSCRIBE",
                    with_properties(0xa2, &[0, 1], &user(bad, b"x"), b"\0\x01a"),
                ),
                ("MQTT5-1.5.7-1 of PUBACK", with_properties(0x40, &[0, 1, 0], &user(bad, b"x"), &[])),
                (
                    "MQTT5-1.5.4-1, -2 reason of PUBREC",
                    with_properties(0x50, &[0, 1, 0], &content(0x1f), &[]),
                ),
                (
                    "MQTT5-1.5.4-1, -2 reason of PUBREL",
                    with_properties(0x62, &[0, 1, 0], &content(0x1f), &[]),
                ),
                (
                    "MQTT5-1.5.4-1, -2 reason of PUBCOMP",
                    with_properties(0x70, &[0, 1, 0], &content(0x1f), &[]),
                ),
                ("MQTT5-1.5.4-1, -2 reason of DISCONNECT", with_properties(0xe0, &[0], &content(0x1f), &[])),
            ],
        )
        .await;
    }
}

#[tokio::test]
async fn a_byte_order_mark_is_a_letter_like_others() {
    let broker = Broker::start().await;
    for v in BOTH {
        let what = "MQTT-1.5.3-3, MQTT5-1.5.4-3";
        let mut reader = Raw::connect(broker.port, v, "reader").await;
        reader.subscribe("\u{feff}a", 1).await;
        let mut writer = Raw::connect(broker.port, v, "writer").await;
        writer.says("a", "without").await;
        writer.says("\u{feff}a", "with").await;
        let heard = reader.hears(what).await;
        assert_eq!((&*heard.topic, &*heard.payload), ("\u{feff}a", "with"), "{v:?}, {what}");
    }
}

#[tokio::test]
async fn flags_that_are_reserved_are_as_the_standard_sets_them() {
    let broker = Broker::start().await;
    for v in BOTH {
        let mut raw = Raw::open(broker.port, v).await;
        let mut connect = Hello::clean("flags").bytes(v);
        connect[0] = 0x11;
        raw.send(&connect).await;
        let code = raw.is_put_out("MQTT-2.2.2-1, -2, MQTT5-2.1.3-1 CONNECT").await;
        assert_ne!(code, Some(0), "{v:?}");
        let mut wrong_subscribe = subscribe(v, 1, &[(b"a", 0)]);
        let mut wrong_unsubscribe = unsubscribe(v, 1, &[b"a"]);
        for flags in [0, 1, 3, 6, 10] {
            wrong_subscribe[0] = 0x80 | flags;
            wrong_unsubscribe[0] = 0xa0 | flags;
            each_is_put_out(
                broker.port,
                v,
                &[
                    ("MQTT-3.8.1-1, MQTT5-3.8.1-1 SUBSCRIBE", wrong_subscribe.clone()),
                    ("MQTT-3.10.1-1, MQTT5-3.10.1-1 UNSUBSCRIBE", wrong_unsubscribe.clone()),
                    ("MQTT-3.6.1-1, MQTT5-3.6.1-1 PUBREL", ack(0x60 | flags, 1)),
                ],
            )
            .await;
        }
        for flags in [1, 2, 4, 8] {
            each_is_put_out(
                broker.port,
                v,
                &[
                    ("MQTT-2.2.2-2, MQTT5-2.1.3-1 PUBACK", ack(0x40 | flags, 1)),
                    ("MQTT-2.2.2-2, MQTT5-2.1.3-1 PUBREC", ack(0x50 | flags, 1)),
                    ("MQTT-2.2.2-2, MQTT5-2.1.3-1 PUBCOMP", ack(0x70 | flags, 1)),
                    ("MQTT-2.2.2-2, MQTT5-2.1.3-1 PINGREQ", vec![0xc0 | flags, 0]),
                    ("MQTT-3.14.1-1, MQTT5-3.14.1-1 DISCONNECT", vec![0xe0 | flags, 0]),
                    ("MQTT-2.2.2-2, MQTT5-3.15.1-1 AUTH", vec![0xf0 | flags, 0]),
                ],
            )
            .await;
        }
    }
}

#[tokio::test]
async fn identifiers_are_there_where_they_belong_and_never_zero() {
    let broker = Broker::start().await;
    for v in BOTH {
        each_is_put_out(
            broker.port,
            v,
            &[
                ("MQTT-2.3.1-1, MQTT5-2.2.1-3 PUBLISH, QoS 1", publish(v, 2, b"a", 0, "x")),
                ("MQTT-2.3.1-1, MQTT5-2.2.1-3 PUBLISH, QoS 2", publish(v, 4, b"a", 0, "x")),
                ("MQTT-2.3.1-1, MQTT5-2.2.1-3 SUBSCRIBE", subscribe(v, 0, &[(b"a", 0)])),
                ("MQTT-2.3.1-1, MQTT5-2.2.1-3 UNSUBSCRIBE", unsubscribe(v, 0, &[b"a"])),
            ],
        )
        .await;
        // What the broker sends itself.
        let mut reader = Raw::connect(broker.port, v, "reader").await;
        for (filter, qos) in [("q/0", 0), ("q/1", 1), ("q/2", 2)] {
            assert_eq!(reader.subscribe(filter, qos).await, qos);
        }
        let mut writer = Raw::connect(broker.port, v, "writer").await;
        let mut on_their_way = Vec::new();
        for topic in ["q/1", "q/2", "q/1", "q/2"] {
            writer.send(&publish(v, 4, topic.as_bytes(), 9, "x")).await;
            writer.gets(&ack(0x50, 9), "MQTT-2.3.1-6, MQTT5-2.2.1-5 PUBREC").await;
            writer.send(&ack(0x62, 9)).await;
            writer.gets(&ack(0x70, 9), "MQTT-2.3.1-6, MQTT5-2.2.1-5 PUBCOMP").await;
            let what = "MQTT-2.3.1-1, -4, MQTT5-2.2.1-4, MQTT5-4.3.2-1, 4.3.3-1";
            let heard = reader.receives(what).await;
            let pid = heard.pid.unwrap();
            assert!(
                pid != 0 && !on_their_way.contains(&(pid, 1)) && !on_their_way.contains(&(pid, 2)),
                "{what}"
            );
            on_their_way.push((pid, heard.qos()));
        }
        for (pid, qos) in on_their_way {
            if qos == 1 {
                reader.send(&ack(0x40, pid)).await;
            } else {
                reader.send(&ack(0x50, pid)).await;
                reader.gets(&ack(0x62, pid), "MQTT-2.3.1-6, MQTT5-2.2.1-5 PUBREL").await;
                reader.send(&ack(0x70, pid)).await;
            }
        }
        writer.send(&publish(v, 2, b"q/0", 10, "no identifier")).await;
        writer.gets(&ack(0x40, 10), "MQTT-2.3.1-6, MQTT5-2.2.1-5 PUBACK").await;
        let bytes = publish(v, 0, b"q/0", 0, "no identifier");
        reader.gets(&bytes, "MQTT-2.3.1-5, MQTT5-2.2.1-2 none with QoS 0; MQTT5-2.2.2-1 no properties").await;
        reader.send(&subscribe(v, 0xabcd, &[(b"z", 0)])).await;
        let suback = packet(0x90, &[&[0xab, 0xcd], v.none(), &[0]].concat());
        reader.gets(&suback, "MQTT-2.3.1-7, MQTT5-2.2.1-6 SUBACK; MQTT5-2.2.2-1").await;
        reader.send(&unsubscribe(v, 0xbcde, &[b"z"])).await;
        let code: &[u8] = if v == Three { &[] } else { &[0] };
        let unsuback = packet(0xb0, &[&[0xbc, 0xde], v.none(), code].concat());
        reader.gets(&unsuback, "MQTT-2.3.1-7, MQTT5-2.2.1-6 UNSUBACK; MQTT5-2.2.2-1").await;
    }
}

#[tokio::test]
async fn lengths_are_as_short_as_they_can_be() {
    let broker = Broker::start().await;
    each_is_put_out(
        broker.port,
        Five,
        &[
            ("MQTT5-1.5.5-1 length of a packet", vec![0xc0, 0x80, 0]),
            ("MQTT5-1.5.5-1 length of properties", packet(0x30, b"\0\x01a\x80\0x")),
            ("MQTT5-1.5.5-1 an identifier of subscription", packet(0x82, b"\0\x01\x03\x0b\x81\0\0\x01a\0")),
            ("MQTT5-1.5.5-1 more than four bytes", packet(0x30, b"\0\x01a\x80\x80\x80\x80\x01")),
            ("MQTT5-2.2.2-1 no length of properties", packet(0x82, b"\0\x01\0\x01a\0")),
            ("MQTT5-2.2.2-1 no length of properties", packet(0x30, &text("a"))),
        ],
    )
    .await;
    for v in BOTH {
        each_is_put_out(broker.port, v, &[("a length of five bytes", vec![0x30, 0xff, 0xff, 0xff, 0xff, 1])])
            .await;
    }
}
