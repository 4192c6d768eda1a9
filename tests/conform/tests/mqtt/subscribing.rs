//! Chapters 3.8 to 3.11 of both standards: SUBSCRIBE, UNSUBSCRIBE and their answers. `MQTT` is a number of 3.1.1,
//! `MQTT5` one of 5.

use crate::broker::Broker;
use crate::raw::{
    BOTH, Five, Hello, Raw, Three, ack, each_is_put_out, packet, publish, subscribe, unsubscribe,
};

#[tokio::test]
async fn a_subscribe_that_is_none_puts_its_sender_out() {
    let broker = Broker::start().await;
    for v in BOTH {
        each_is_put_out(
            broker.port,
            v,
            &[
                ("MQTT-3.8.3-3, MQTT5-3.8.3-2 no filter", subscribe(v, 1, &[])),
                ("MQTT-3.10.3-2, MQTT5-3.10.3-2 no filter", unsubscribe(v, 1, &[])),
                ("MQTT-3.8.3-4 QoS 3", subscribe(v, 1, &[(b"a", 3)])),
                ("MQTT-3.8.3-4, MQTT5-3.8.3-5 reserved bit 7", subscribe(v, 1, &[(b"a", 0x80)])),
                ("MQTT-3.8.3-4, MQTT5-3.8.3-5 reserved bit 6", subscribe(v, 1, &[(b"b", 1), (b"a", 0x41)])),
                ("MQTT-3.8.3-3, MQTT5-3.8.3-2 a filter without options", {
                    let bytes = subscribe(v, 1, &[(b"a", 0)]);
                    packet(0x82, &bytes[2..bytes.len() - 1])
                }),
                ("MQTT-3.10.3-1, MQTT5-3.10.3-1 a filter cut short", {
                    let bytes = unsubscribe(v, 1, &[b"abc"]);
                    packet(0xa2, &bytes[2..bytes.len() - 1])
                }),
            ],
        )
        .await;
    }
    for bit in [4, 8, 0x10, 0x20] {
        each_is_put_out(
            broker.port,
            Three,
            &[("MQTT-3.8.3-4 a reserved bit", subscribe(Three, 1, &[(b"a", bit)]))],
        )
        .await;
    }
    each_is_put_out(
        broker.port,
        Five,
        &[
            ("MQTT5-3.8.3.1 retain handling 3", subscribe(Five, 1, &[(b"a", 0x30)])),
            ("MQTT5-3.8.3-4 No Local on a shared subscription", subscribe(Five, 1, &[(b"$share/g/a", 5)])),
            ("MQTT5-3.8.2.1.2 an identifier of 0", packet(0x82, b"\0\x01\x02\x0b\0\0\x01a\0")),
            ("MQTT5-3.8.2.1.2 two identifiers", packet(0x82, b"\0\x01\x04\x0b\x01\x0b\x02\0\x01a\0")),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_subscribe_is_answered_filter_by_filter() {
    let broker = Broker::start().await;
    for v in BOTH {
        let what = "MQTT-3.8.4-1, -2, -4, -5, 3.9.3-1, -2, MQTT5-3.8.4-1, -2, -5, -6, -7, 3.9.3-1, -2";
        let mut reader = Raw::connect(broker.port, v, "reader").await;
        reader.send(&subscribe(v, 0x1234, &[(b"m/1", 2), (b"m/2", 0), (b"m/3", 1), (b"m/2", 1)])).await;
        reader.gets(&packet(0x90, &[&[0x12, 0x34], v.none(), &[2, 0, 1, 1]].concat()), what).await;
        let mut writer = Raw::connect(broker.port, v, "writer").await;
        for (topic, qos) in [(&b"m/1"[..], 2), (b"m/2", 1), (b"m/3", 1)] {
            writer.send(&publish(v, 4, topic, 9, "x")).await;
            writer.some("a PUBREC").await;
            writer.send(&ack(0x62, 9)).await;
            writer.some("a PUBCOMP").await;
            let heard = reader.hears(what).await;
            assert_eq!(
                (heard.topic.as_bytes(), heard.qos()),
                (topic, qos),
                "{v:?}, {what}: as one after the other"
            );
        }
        // More than the broker keeps: it says so, for that filter alone.
        let names: Vec<String> = (0..300).map(|number| format!("many/{number}")).collect();
        let filters: Vec<(&[u8], u8)> = names.iter().map(|name| (name.as_bytes(), 1)).collect();
        reader.send(&subscribe(v, 5, &filters)).await;
        let answer = reader.some(what).await;
        let codes = &answer.body[2 + v.none().len()..];
        let refused = if v == Three { 0x80 } else { 0x97 };
        assert_eq!(codes.len(), 300, "{v:?}, {what}");
        let granted = codes.iter().take_while(|code| **code == 1).count();
        assert!(
            granted > 200 && codes[granted..].iter().all(|code| *code == refused),
            "{v:?}, {what}: {codes:?}"
        );
        writer.says(&names[granted - 1], "x").await;
        writer.says(&names[granted], "x").await;
        assert_eq!(reader.hears(what).await.topic, names[granted - 1], "{v:?}, {what}");
        reader.is_silent(what).await;
    }
}

#[tokio::test]
async fn the_lower_quality_of_both_is_delivered() {
    let broker = Broker::start().await;
    for v in BOTH {
        let mut writer = Raw::connect(broker.port, v, "writer").await;
        let mut reader = Raw::connect(broker.port, v, "reader").await;
        for wanted in 0..3u8 {
            reader.subscribe(&format!("l/{wanted}"), wanted).await;
            for sent in 0..3u8 {
                let what = format!("MQTT-3.8.4-6, MQTT5-3.8.4-8 {sent} for {wanted}");
                writer.send(&publish(v, sent << 1, format!("l/{wanted}").as_bytes(), 9, "x")).await;
                if sent > 0 {
                    writer.some("an answer").await;
                }
                if sent == 2 {
                    writer.send(&ack(0x62, 9)).await;
                    writer.some("a PUBCOMP").await;
                }
                assert_eq!(reader.hears(&what).await.qos(), wanted.min(sent), "{v:?}, {what}");
            }
        }
    }
}

#[tokio::test]
async fn a_second_subscription_of_a_filter_replaces_the_first() {
    for v in BOTH {
        let broker = Broker::start().await;
        let what = "MQTT-3.8.4-3, MQTT5-3.8.4-3, -4";
        let mut writer = Raw::connect(broker.port, v, "writer").await;
        writer.tells(3, "s/kept", "kept").await;
        let mut reader = Raw::connect(broker.port, v, "reader").await;
        for qos in [2, 0, 1] {
            assert_eq!(reader.subscribe("s/+", qos).await, qos, "{v:?}, {what}");
            let heard = reader.hears(what).await;
            assert_eq!(
                (&*heard.payload, heard.retain(), heard.qos()),
                ("kept", true, qos.min(1)),
                "{v:?}, {what}"
            );
            writer.says("s/1", "x").await;
            assert_eq!(reader.hears(what).await.qos(), qos.min(1), "{v:?}, {what}: by the new quality");
            reader.is_silent("one copy").await;
        }
        // Nothing is lost meanwhile.
        let mut other = Raw::connect(broker.port, v, "other").await;
        for number in 0..100u16 {
            other.send(&publish(v, 2, b"s/2", number + 1, &number.to_string())).await;
            if number % 10 == 0 {
                reader.send(&subscribe(v, 6, &[(b"s/+", 1)])).await;
            }
        }
        let mut heard = 0u16;
        while heard < 100 {
            // Between the messages: SUBACKs, and the retained one each time.
            let frame = reader.some(what).await;
            if frame.first == 0x90 {
                continue;
            }
            let message = reader.heard(&frame, what);
            reader.send(&ack(0x40, message.pid.unwrap())).await;
            if message.payload != "kept" {
                assert_eq!(message.payload, heard.to_string(), "{v:?}, {what}: none is lost");
                heard += 1;
            }
        }
    }
}

#[tokio::test]
async fn who_does_not_want_its_own_words_does_not_get_them() {
    let broker = Broker::start().await;
    let what = "MQTT5-3.8.3-3";
    let mut talker = Raw::connect(broker.port, Five, "talker").await;
    talker.subscribe("n/#", 4 | 1).await;
    talker.says("n/1", "mine").await;
    talker.is_silent(what).await;
    let mut other = Raw::connect(broker.port, Five, "other").await;
    other.says("n/1", "another's").await;
    assert_eq!(talker.hears(what).await.payload, "another's", "{what}");
    // A second filter without the option does get them.
    talker.subscribe("n/2", 0).await;
    talker.send(&publish(Five, 0, b"n/2", 0, "mine")).await;
    assert_eq!(talker.hears(what).await.payload, "mine", "{what}");
}

#[tokio::test]
async fn unsubscribing_ends_what_has_that_very_filter() {
    let broker = Broker::start().await;
    for v in BOTH {
        let what = "MQTT-3.10.4-1, MQTT5-3.10.4-1";
        let (mut reader, _) = Raw::enter(broker.port, v, &Hello::lasting("reader")).await;
        for filter in ["u/+", "u/#", "U/+"] {
            reader.subscribe(filter, 1).await;
        }
        let mut writer = Raw::connect(broker.port, v, "writer").await;
        let codes = |codes: &'static [u8]| -> &'static [u8] { if v == Three { &[] } else { codes } };
        let unsuback = |pid: u8, of: &'static [u8]| packet(0xb0, &[&[0, pid], v.none(), codes(of)].concat());
        for (pid, filter) in [(1, &b"u/1"[..]), (2, b"u"), (3, b"+/+"), (4, b"u/+/"), (5, b"#")] {
            reader.send(&unsubscribe(v, pid.into(), &[filter])).await;
            reader.gets(&unsuback(pid, &[0x11]), "MQTT-3.10.4-5, MQTT5-3.10.4-5, 3.11.3-2").await;
            writer.says("u/1", "still").await;
            assert_eq!(reader.hears(what).await.payload, "still", "{v:?}, {what}");
        }
        let what = "MQTT-3.10.4-4, -6, MQTT5-3.10.4-4, -6, 3.11.3-1";
        reader.send(&unsubscribe(v, 6, &[b"never", b"u/+", b"u/#", b"u/+"])).await;
        reader.gets(&unsuback(6, &[0x11, 0, 0, 0x11]), what).await;
        writer.says("u/1", "not any more").await;
        reader.is_silent("MQTT-3.10.4-2, MQTT5-3.10.4-2").await;
        writer.says("U/1", "the other").await;
        assert_eq!(reader.hears(what).await.topic, "U/1", "{v:?}, {what}");
        reader.leave().await;
        Raw::enter(broker.port, v, &Hello::clean("reader")).await.0.leave().await;
    }
}

#[tokio::test]
async fn what_was_begun_is_brought_to_its_end_after_unsubscribing() {
    let broker = Broker::start().await;
    for v in BOTH {
        let what = "MQTT-3.10.4-3, MQTT5-3.10.4-3";
        let (mut reader, _) = Raw::enter(broker.port, v, &Hello::lasting("reader")).await;
        reader.subscribe("b/#", 2).await;
        let mut writer = Raw::connect(broker.port, v, "writer").await;
        writer.says("b/1", "one").await;
        writer.send(&publish(v, 4, b"b/2", 9, "two")).await;
        writer.gets(&ack(0x50, 9), "a PUBREC").await;
        let (one, two) = (reader.receives(what).await, reader.receives(what).await);
        reader.send(&unsubscribe(v, 5, &[b"b/#"])).await;
        assert_eq!(reader.some("an UNSUBACK").await.first, 0xb0);
        reader.vanish().await;
        let (mut reader, _) = Raw::enter(broker.port, v, &Hello::lasting("reader")).await;
        for sent in [one, two] {
            let again = reader.hears(what).await;
            assert_eq!(
                (again.pid, &again.payload, again.dup()),
                (sent.pid, &sent.payload, true),
                "{v:?}, {what}"
            );
        }
        reader.is_served(what).await;
        reader.leave().await;
        Raw::enter(broker.port, v, &Hello::clean("reader")).await.0.leave().await;
    }
}
