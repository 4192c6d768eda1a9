//! Chapters 3.3 to 3.7 of both standards, and the flow control of 4.9: PUBLISH and its answers. `MQTT` is a number of
//! 3.1.1, `MQTT5` one of 5.

use crate::broker::Broker;
use crate::raw::{
    BOTH, Five, Hello, Raw, Three, ack, each_is_put_out, packet, publish, publish_with, subscribe, text,
};

#[tokio::test]
async fn a_publish_that_is_none_puts_its_sender_out() {
    let broker = Broker::start().await;
    for v in BOTH {
        each_is_put_out(
            broker.port,
            v,
            &[
                ("MQTT-3.3.1-2, MQTT5-3.3.1-2 DUP with QoS 0", publish(v, 8, b"a", 0, "x")),
                ("MQTT-3.3.1-4, MQTT5-3.3.1-4 QoS 3", publish(v, 6, b"a", 1, "x")),
                ("MQTT-3.3.1-4, MQTT5-3.3.1-4 QoS 3, again and kept", publish(v, 15, b"a", 1, "x")),
                ("MQTT-3.3.2-2, 4.7.1-1, MQTT5-3.3.2-2, 4.7.0-1 #", publish(v, 0, b"a/#", 0, "x")),
                ("MQTT-3.3.2-2, 4.7.1-1, MQTT5-3.3.2-2, 4.7.0-1 +", publish(v, 2, b"+/a", 1, "x")),
                ("MQTT-3.3.2-1, MQTT5-3.3.2-1 no topic", packet(0x30, &[])),
                ("MQTT-3.3.2-1, MQTT5-3.3.2-1 a topic cut short", packet(0x30, &[0, 9, b'a'])),
            ],
        )
        .await;
    }
    let with = |topic: &[u8], properties: &[u8]| publish_with(Five, 0, topic, 0, properties, "x");
    each_is_put_out(
        broker.port,
        Five,
        &[
            ("MQTT5-3.3.2-8 alias 0", with(b"a", &[0x23, 0, 0])),
            ("MQTT5-3.3.2-9 an alias higher than offered", with(b"a", &[0x23, 0xff, 0xff])),
            ("MQTT5-3.3.2-7 an alias that stands for nothing", with(b"", &[0x23, 0, 1])),
            (
                "MQTT5-3.3.2-14 a wildcard in the response topic",
                with(b"a", &[&[8][..], &text("a/+")].concat()),
            ),
            ("MQTT5-3.3.4-6 an identifier of subscription", with(b"a", &[0x0b, 1])),
            ("MQTT5-3.4.2-1 a reason of PUBACK that is none", vec![0x40, 3, 0, 1, 0x42]),
            ("MQTT5-3.5.2-1 a reason of PUBREC that is none", vec![0x50, 3, 0, 1, 0x42]),
            ("MQTT5-3.6.2-1 a reason of PUBREL that is none", vec![0x62, 3, 0, 1, 0x42]),
            ("MQTT5-3.7.2-1 a reason of PUBCOMP that is none", vec![0x70, 3, 0, 1, 0x42]),
        ],
    )
    .await;
}

#[tokio::test]
async fn only_a_repetition_is_marked_as_one() {
    for v in BOTH {
        let broker = Broker::start().await;
        let (mut reader, _) = Raw::enter(broker.port, v, &Hello::lasting("reader")).await;
        for (topic, qos) in [("d/0", 0), ("d/1", 1), ("d/2", 2)] {
            reader.subscribe(topic, qos).await;
        }
        let mut writer = Raw::connect(broker.port, v, "writer").await;
        let what = "MQTT-3.3.1-2, -3, 4.3.1-1, MQTT5-3.3.1-2, -3, 4.3.1-1, 4.3.2-2, 4.3.3-2";
        let mut sent = Vec::new();
        for (topic, pid) in [("d/0", 1), ("d/1", 2), ("d/2", 3)] {
            // Marked by its sender.
            writer.send(&publish(v, 8 | 2, topic.as_bytes(), pid, "x")).await;
            writer.gets(&ack(0x40, pid), what).await;
            let heard = reader.receives(what).await;
            assert!(!heard.dup(), "{v:?}, {what}: {heard:?}");
            sent.extend(heard.pid);
        }
        reader.vanish().await;
        let what = "MQTT-3.3.1-1, 2.3.1-3, -4, MQTT5-3.3.1-1, 4.4.0-1";
        let (mut reader, _) = Raw::enter(broker.port, v, &Hello::lasting("reader")).await;
        for pid in sent {
            let heard = reader.receives(what).await;
            assert_eq!((heard.dup(), heard.pid), (true, Some(pid)), "{v:?}, {what}");
        }
        reader.is_silent("QoS 0 is not repeated").await;
    }
}

#[tokio::test]
async fn the_last_retained_message_is_kept_with_its_quality() {
    for v in BOTH {
        let broker = Broker::start().await;
        let mut writer = Raw::connect(broker.port, v, "writer").await;
        let mut early = Raw::connect(broker.port, v, "early").await;
        early.subscribe("r/#", 2).await;
        for (number, flags) in [(0u8, 1), (1, 3), (2, 5)] {
            let topic = format!("r/{number}");
            for payload in ["old", "new"] {
                writer.send(&publish(v, flags, topic.as_bytes(), 90, payload)).await;
                if number == 1 {
                    writer.gets(&ack(0x40, 90), "a PUBACK").await;
                } else if number == 2 {
                    writer.gets(&ack(0x50, 90), "a PUBREC").await;
                    writer.send(&ack(0x62, 90)).await;
                    writer.gets(&ack(0x70, 90), "a PUBCOMP").await;
                }
                let what = "MQTT-3.3.1-9, MQTT5-3.3.1-12 as any message to who subscribed before";
                let heard = early.hears(what).await;
                assert_eq!((heard.retain(), heard.qos()), (false, number), "{v:?}, {what}");
            }
            let what = "MQTT-3.3.1-5, -6, -8, MQTT5-3.3.1-5, -9";
            let mut late = Raw::connect(broker.port, v, "late").await;
            late.subscribe(&topic, 2).await;
            let heard = late.hears(what).await;
            assert_eq!(
                (heard.retain(), heard.qos(), &*heard.payload),
                (true, number, "new"),
                "{v:?}, {what}"
            );
            late.is_silent("MQTT-3.3.1-5, MQTT5-3.3.1-5 one a topic").await;
        }
        let keeps = async |payload: Option<&str>, what: &str| {
            let mut late = Raw::connect(broker.port, v, "late").await;
            late.subscribe("r/1", 2).await;
            match payload {
                Some(payload) => assert_eq!(late.hears(what).await.payload, payload, "{v:?}, {what}"),
                None => late.is_silent(what).await,
            }
        };
        writer.send(&publish(v, 1, b"r/1", 0, "of QoS 0")).await;
        early.hears("all").await;
        keeps(Some("of QoS 0"), "MQTT-3.3.1-7, MQTT5-3.3.1-5 replaced by one of QoS 0").await;
        for payload in ["", "passing"] {
            writer.says("r/1", payload).await;
            early.hears("all").await;
            keeps(Some("of QoS 0"), "MQTT-3.3.1-12, MQTT5-3.3.1-8 not retained").await;
        }
        let what = "MQTT-3.3.1-10, -11, MQTT5-3.3.1-6, -7";
        writer.tells(3, "r/1", "").await;
        let heard = early.hears(what).await;
        assert_eq!((heard.retain(), &*heard.payload), (false, ""), "{v:?}, {what} processed as any");
        keeps(None, what).await;
    }
}

#[tokio::test]
async fn options_say_when_retained_messages_come_and_how() {
    let broker = Broker::start().await;
    let mut writer = Raw::connect(broker.port, Five, "writer").await;
    writer.tells(3, "o/1", "kept").await;
    writer.tells(3, "o/2", "kept").await;
    let mut reader = Raw::connect(broker.port, Five, "reader").await;
    for (what, options, count) in [
        ("MQTT5-3.3.1-11 never", 0x21, 0),
        ("MQTT5-3.3.1-10 only when new, which it is not", 0x11, 0),
        ("MQTT5-3.3.1-9, 3.8.4-4 always", 0x01, 2),
        ("MQTT5-3.3.1-9, 3.8.4-4 always", 0x01, 2),
    ] {
        reader.subscribe("o/+", options).await;
        for _ in 0..count {
            assert!(reader.hears(what).await.retain(), "{what}");
        }
        reader.is_silent(what).await;
    }
    let mut fresh = Raw::connect(broker.port, Five, "fresh").await;
    fresh.subscribe("o/1", 0x11).await;
    assert_eq!(fresh.hears("MQTT5-3.3.1-10 new").await.topic, "o/1");
    let mut asks = Raw::connect(broker.port, Five, "asks").await;
    asks.subscribe("p", 0x09).await;
    reader.subscribe("p", 0x01).await;
    for flags in [3, 2] {
        writer.tells(flags, "p", "x").await;
        let what = "MQTT5-3.3.1-13 as published";
        assert_eq!(asks.hears(what).await.retain(), flags == 3, "{what}");
        assert!(!reader.hears("MQTT5-3.3.1-12").await.retain(), "MQTT5-3.3.1-12");
    }
}

#[tokio::test]
async fn every_quality_has_its_answer() {
    let broker = Broker::start().await;
    for v in BOTH {
        let what = "MQTT-3.3.4-1, MQTT5-3.3.4-1";
        let mut raw = Raw::connect(broker.port, v, "writer").await;
        raw.send(&publish(v, 0, b"a", 0, "x")).await;
        raw.is_silent(what).await;
        raw.send(&publish(v, 2, b"a", 300, "x")).await;
        raw.gets(&ack(0x40, 300), "MQTT-3.3.4-1, MQTT5-3.3.4-1, 3.4.2-1").await;
        raw.send(&publish(v, 4, b"a", 400, "x")).await;
        raw.gets(&ack(0x50, 400), "MQTT-3.3.4-1, MQTT5-3.3.4-1, 3.5.2-1").await;
        raw.send(&ack(0x62, 400)).await;
        raw.gets(&ack(0x70, 400), "MQTT-3.3.4-1, MQTT5-3.3.4-1, 3.7.2-1").await;
        // A PUBREC for nothing.
        raw.send(&ack(0x50, 500)).await;
        let answer = if v == Three { ack(0x62, 500) } else { packet(0x62, &[1, 0xf4, 0x92]) };
        raw.gets(&answer, "MQTT5-3.6.2-1").await;
    }
}

#[tokio::test]
async fn overlapping_subscriptions_bring_the_highest_quality() {
    let broker = Broker::start().await;
    for v in BOTH {
        let what = "MQTT-3.3.5-1, MQTT5-3.3.4-2";
        let mut writer = Raw::connect(broker.port, v, "writer").await;
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
            let mut reader = Raw::connect(broker.port, v, "reader").await;
            for (filter, qos) in ["#", "o/+", "o/1"].into_iter().zip(order) {
                reader.subscribe(filter, qos).await;
            }
            writer.send(&publish(v, 4, b"o/1", 8, "x")).await;
            writer.some("a PUBREC").await;
            writer.send(&ack(0x62, 8)).await;
            writer.some("a PUBCOMP").await;
            let heard = reader.hears(what).await;
            assert_eq!(
                (heard.qos(), &*heard.topic),
                (2, "o/1"),
                "{v:?}, {what}; MQTT-3.3.2-3, MQTT5-3.3.2-3"
            );
            reader.is_silent(what).await;
        }
    }
    // MQTT5-3.3.4-3, -4, -5: each message with the identifiers of what brought it.
    let what = "MQTT5-3.3.4-3, -4, -5";
    let mut reader = Raw::connect(broker.port, Five, "reader").await;
    for (pid, filter, identifier) in [(1, &b"i/#"[..], Some(9)), (2, b"i/+", Some(9)), (3, b"i/1", None)] {
        let mut bytes = vec![0, pid];
        match identifier {
            Some(identifier) => bytes.extend([2, 0x0b, identifier]),
            None => bytes.push(0),
        }
        let body =
            [&bytes[..], &u16::try_from(filter.len()).unwrap().to_be_bytes(), filter, &[pid - 1]].concat();
        reader.send(&packet(0x82, &body)).await;
        reader.gets(&[0x90, 4, 0, pid, 0, pid - 1], "a SUBACK").await;
    }
    let mut writer = Raw::connect(broker.port, Five, "writer").await;
    writer.send(&publish(Five, 4, b"i/1", 8, "x")).await;
    let heard = reader.hears(what).await;
    assert_eq!((heard.qos(), heard.properties), (2, vec![0x0b, 9]), "{what}");
    reader.is_silent(what).await;
}

#[tokio::test]
async fn aliases_are_taken_as_offered_and_for_one_connection() {
    let broker = Broker::start().await;
    let mut reader = Raw::connect(broker.port, Five, "reader").await;
    reader.subscribe("al/#", 0).await;
    let mut raw = Raw::open(broker.port, Five).await;
    raw.send(&Hello::lasting("writer").bytes(Five)).await;
    let answer = raw.some("a CONNACK").await;
    let at = answer.body.iter().skip(3).position(|id| *id == 0x22).expect("a topic alias maximum") + 3;
    let most = u16::from_be_bytes([answer.body[at + 1], answer.body[at + 2]]);
    assert!((1..1000).contains(&most), "{answer:?}");
    let what = "MQTT5-3.3.2-12";
    for alias in 1..=most {
        let topic = format!("al/{alias}");
        let [high, low] = alias.to_be_bytes();
        for name in [topic.as_bytes(), b""] {
            raw.send(&publish_with(Five, 0, name, 0, &[0x23, high, low], "x")).await;
            let heard = reader.hears(what).await;
            assert_eq!((&*heard.topic, heard.properties), (&*topic, vec![]), "{what}: {alias}");
        }
    }
    raw.leave().await;
    let what = "MQTT5-3.3.2-7";
    let (mut raw, present) = Raw::enter(broker.port, Five, &Hello::lasting("writer")).await;
    assert!(present);
    raw.send(&publish_with(Five, 0, b"", 0, &[0x23, 0, 1], "x")).await;
    assert_eq!(raw.is_put_out(what).await, Some(0x94), "{what}: forgotten with the connection");
    reader.is_silent(what).await;
}

#[tokio::test]
async fn no_more_is_on_its_way_than_the_client_takes_and_the_rest_goes_on() {
    let broker = Broker::start().await;
    let mut writer = Raw::connect(broker.port, Five, "writer").await;
    for most in [1u8, 3] {
        let what = "MQTT5-3.3.4-9, 4.9.0-1, -2";
        let hello = Hello { properties: vec![0x21, 0, most], ..Hello::clean("narrow") };
        let (mut narrow, _) = Raw::enter(broker.port, Five, &hello).await;
        narrow.subscribe("w/#", 2).await;
        for number in 0..10 {
            let flags = if number % 2 == 0 { 2 } else { 4 };
            writer
                .send(&publish(Five, flags, b"w/1", 100 * u16::from(most) + number, &number.to_string()))
                .await;
            writer.some("an answer").await;
        }
        let mut taken = Vec::new();
        for _ in 0..most {
            taken.push(narrow.receives(what).await);
        }
        narrow.is_silent(what).await;
        let what = "MQTT5-3.3.4-10, 4.9.0-3 everything else goes on";
        narrow.is_served(what).await;
        narrow.send(&subscribe(Five, 5, &[(b"other", 0)])).await;
        narrow.gets(&[0x90, 4, 0, 5, 0, 0], what).await;
        narrow.send(&publish(Five, 2, b"elsewhere", 6, "x")).await;
        narrow.gets(&ack(0x40, 6), what).await;
        // A PUBREC does not make room, its PUBCOMP does; a refusal does at once.
        let what = "MQTT5-3.3.4-9, 4.9.0-2";
        let mut heard = Vec::new();
        while heard.len() < 10 {
            let next = taken.remove(0);
            heard.push(next.payload.clone());
            match (next.qos(), heard.len() % 4) {
                (1, _) => narrow.send(&ack(0x40, next.pid.unwrap())).await,
                (_, 0) => {
                    narrow
                        .send(&packet(0x50, &[&next.pid.unwrap().to_be_bytes()[..], &[0x97]].concat()))
                        .await;
                }
                _ => {
                    narrow.send(&ack(0x50, next.pid.unwrap())).await;
                    narrow.gets(&ack(0x62, next.pid.unwrap()), what).await;
                    narrow.is_silent(what).await;
                    narrow.send(&ack(0x70, next.pid.unwrap())).await;
                }
            }
            if heard.len() + taken.len() < 10 {
                taken.push(narrow.receives(what).await);
            }
        }
        assert_eq!(heard, (0..10).map(|number| number.to_string()).collect::<Vec<_>>(), "{what}");
        narrow.is_silent(what).await;
    }
}
