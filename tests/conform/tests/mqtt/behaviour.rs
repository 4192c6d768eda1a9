//! Chapters 4.1 to 4.6 of both standards: sessions, the three qualities, repetition and order. `MQTT` is a number of
//! 3.1.1, `MQTT5` one of 5.

use std::time::Duration;

use serde_json::json;

use crate::broker::Broker;
use crate::raw::{BOTH, Five, Heard, Hello, Raw, Version, ack, packet, publish, publish_with};

/// A reader whose session lasts, and who has been sent one message of this quality.
async fn holding(port: u16, v: Version, qos: u8) -> (Raw, Heard) {
    let (mut reader, _) = Raw::enter(port, v, &Hello::lasting("holder")).await;
    reader.subscribe("h", qos).await;
    let mut writer = Raw::connect(port, v, "writer").await;
    writer.send(&publish(v, 4, b"h", 9, "held")).await;
    writer.gets(&ack(0x50, 9), "a PUBREC").await;
    let heard = reader.receives("the message").await;
    assert_eq!(heard.qos(), qos);
    (reader, heard)
}

/// Comes again to the same session.
async fn back(port: u16, v: Version) -> Raw {
    let (reader, present) = Raw::enter(port, v, &Hello::lasting("holder")).await;
    assert!(present);
    reader
}

async fn forget(port: u16, v: Version) {
    Raw::enter(port, v, &Hello::clean("holder")).await.0.leave().await;
}

#[tokio::test]
async fn a_session_lasts_while_its_client_is_there() {
    let broker = Broker::start().await;
    let brief = Hello { properties: vec![0x11, 0, 0, 0, 1], ..Hello::lasting("brief") };
    let (mut reader, _) = Raw::enter(broker.port, Five, &brief).await;
    reader.subscribe("b", 1).await;
    let mut old = Raw::connect(broker.port, Version::Three, "old").await;
    old.subscribe("b", 1).await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let mut writer = Raw::connect(broker.port, Five, "writer").await;
    writer.says("b", "x").await;
    reader.hears("MQTT5-4.1.0-1 longer than it would last without").await;
    old.hears("MQTT-4.1.0-1, -2").await;
    reader.leave().await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let (_, present) = Raw::enter(broker.port, Five, &brief).await;
    assert!(!present, "MQTT5-4.1.0-2: its second is over");
}

#[tokio::test]
async fn a_message_of_quality_1_is_sent_until_its_puback() {
    let broker = Broker::start().await;
    for v in BOTH {
        let what = "MQTT-4.3.2-1, MQTT5-4.3.2-3";
        let (mut reader, first) = holding(broker.port, v, 1).await;
        let pid = first.pid.unwrap();
        assert_eq!(first.first, 0x32, "{v:?}, MQTT-4.3.2-1, MQTT5-4.3.2-2");
        // Answers to other messages, and of another quality.
        for other in [ack(0x40, pid + 1), ack(0x70, pid), ack(0x50, pid)] {
            reader.send(&other).await;
        }
        reader.is_served_after_answers(what).await;
        reader.vanish().await;
        let mut reader = back(broker.port, v).await;
        let again = reader.receives(what).await;
        assert_eq!((again.pid, again.first), (Some(pid), 0x3a), "{v:?}, {what}; MQTT-4.4.0-1, MQTT5-4.4.0-1");
        // MQTT5-4.4.0-1: at no other time.
        tokio::time::sleep(Duration::from_secs(2)).await;
        reader.is_silent("MQTT5-4.4.0-1").await;
        reader.send(&ack(0x40, pid)).await;
        reader.vanish().await;
        back(broker.port, v).await.is_silent(what).await;
        forget(broker.port, v).await;
    }
}

#[tokio::test]
async fn a_message_of_quality_2_goes_through_its_four_steps() {
    let broker = Broker::start().await;
    for v in BOTH {
        let (mut reader, first) = holding(broker.port, v, 2).await;
        let pid = first.pid.unwrap();
        assert_eq!(first.first, 0x34, "{v:?}, MQTT-4.3.3-1, MQTT5-4.3.3-2");
        let what = "MQTT-4.3.3-1, MQTT5-4.3.3-3 unacknowledged until its PUBREC";
        for other in [ack(0x40, pid), ack(0x70, pid), ack(0x50, pid + 1)] {
            reader.send(&other).await;
        }
        reader.is_served_after_answers(what).await;
        reader.vanish().await;
        let mut reader = back(broker.port, v).await;
        let again = reader.receives(what).await;
        assert_eq!((again.pid, again.first), (Some(pid), 0x3c), "{v:?}, {what}");
        let what = "MQTT-4.3.3-1, MQTT5-4.3.3-4";
        reader.send(&ack(0x50, pid)).await;
        reader.gets(&ack(0x62, pid), what).await;
        let what =
            "MQTT-4.3.3-1, 4.4.0-1, MQTT5-4.3.3-5, -6, 4.4.0-1 the PUBREL, and only that, until its PUBCOMP";
        reader.send(&ack(0x40, pid)).await;
        reader.is_served(what).await;
        reader.vanish().await;
        let mut reader = back(broker.port, v).await;
        reader.gets(&ack(0x62, pid), what).await;
        reader.is_silent(what).await;
        // A PUBREC again is answered again.
        reader.send(&ack(0x50, pid)).await;
        reader.gets(&ack(0x62, pid), what).await;
        reader.send(&ack(0x70, pid)).await;
        reader.vanish().await;
        back(broker.port, v).await.is_silent(what).await;
        forget(broker.port, v).await;
    }
}

#[tokio::test]
async fn a_message_that_was_taken_is_taken_once() {
    let broker = Broker::start().await;
    for v in BOTH {
        let mut reader = Raw::connect(broker.port, v, "reader").await;
        reader.subscribe("t", 0).await;
        let (mut writer, _) = Raw::enter(broker.port, v, &Hello::lasting("holder")).await;
        let what = "MQTT-4.3.2-2, MQTT5-4.3.2-4, -5";
        for flags in [2, 2, 10] {
            writer.send(&publish(v, flags, b"t", 5, "again")).await;
            writer.gets(&ack(0x40, 5), what).await;
            reader.hears(what).await;
        }
        let what = "MQTT-4.3.3-2, MQTT5-4.3.3-8, -10";
        for flags in [4, 4, 12] {
            writer.send(&publish(v, flags, b"t", 6, "once")).await;
            writer.gets(&ack(0x50, 6), what).await;
        }
        writer.vanish().await;
        let (mut writer, _) = Raw::enter(broker.port, v, &Hello::lasting("holder")).await;
        writer.send(&publish(v, 12, b"t", 6, "once")).await;
        writer.gets(&ack(0x50, 6), what).await;
        assert_eq!(reader.hears(what).await.payload, "once", "{v:?}, {what}");
        reader.is_silent(what).await;
        let what = "MQTT-4.3.3-2, MQTT5-4.3.3-11, -12";
        writer.send(&ack(0x62, 6)).await;
        writer.gets(&ack(0x70, 6), what).await;
        writer.send(&publish(v, 12, b"t", 6, "another")).await;
        writer.gets(&ack(0x50, 6), what).await;
        assert_eq!(reader.hears(what).await.payload, "another", "{v:?}, {what}");
        writer.leave().await;
        forget(broker.port, v).await;
    }
}

#[tokio::test]
async fn what_expires_does_not_break_off_what_was_begun() {
    let broker = Broker::start().await;
    let brief = [2, 0, 0, 0, 1];
    let (mut reader, _) = Raw::enter(broker.port, Five, &Hello::lasting("holder")).await;
    reader.subscribe("e", 2).await;
    let mut writer = Raw::connect(broker.port, Five, "writer").await;
    writer.send(&publish_with(Five, 4, b"e", 9, &brief, "brief")).await;
    writer.gets(&ack(0x50, 9), "a PUBREC").await;
    let first = reader.receives("the message").await;
    reader.vanish().await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let what = "MQTT5-4.3.3-7";
    let mut reader = back(broker.port, Five).await;
    let again = reader.hears(what).await;
    assert_eq!((again.pid, again.dup()), (first.pid, true), "{what}");
    let what = "MQTT5-4.3.3-13";
    writer.send(&ack(0x62, 9)).await;
    writer.gets(&ack(0x70, 9), what).await;
}

#[tokio::test]
async fn what_a_client_refuses_is_not_sent_again() {
    let broker = Broker::start().await;
    let what = "MQTT5-4.4.0-2";
    for (qos, answer) in [(1, 0x40), (2, 0x50)] {
        for reason in [0x80, 0x97] {
            let (mut reader, first) = holding(broker.port, Five, qos).await;
            let [high, low] = first.pid.unwrap().to_be_bytes();
            reader.send(&packet(answer, &[high, low, reason])).await;
            reader.is_served(what).await;
            reader.vanish().await;
            back(broker.port, Five).await.is_silent(what).await;
            forget(broker.port, Five).await;
        }
    }
}

#[tokio::test]
async fn order_is_kept_on_every_way() {
    let broker = Broker::start().await;
    for v in BOTH {
        let (mut reader, _) = Raw::enter(broker.port, v, &Hello::lasting("holder")).await;
        for (topic, qos) in [("o/0", 0), ("o/1", 1), ("o/2", 2)] {
            reader.subscribe(topic, qos).await;
        }
        let mut writer = Raw::connect(broker.port, v, "writer").await;
        let mut bytes = Vec::new();
        for number in 1..=60u16 {
            let topic = format!("o/{}", number % 3);
            let flags = if number % 2 == 0 { 2 } else { 4 };
            bytes.extend(publish(v, flags, topic.as_bytes(), number, &number.to_string()));
        }
        writer.send(&bytes).await;
        for number in 1..=60 {
            let what = "MQTT-4.6.0-2, -3, MQTT5-4.6.0-2, -3 answers in the order of the messages";
            writer.gets(&ack(if number % 2 == 0 { 0x40 } else { 0x50 }, number), what).await;
        }
        let what = "MQTT-4.5.0-1, 4.6.0-5, -6, MQTT5-4.5.0-1, 4.6.0-5, -6";
        let mut heard = Vec::new();
        for _ in 0..60 {
            heard.push(reader.receives(what).await);
        }
        let mut numbers = [Vec::new(), Vec::new(), Vec::new()];
        for heard in &heard {
            numbers[usize::from(heard.topic.as_bytes()[2] - b'0')]
                .push(heard.payload.parse::<u16>().unwrap());
        }
        for (topic, numbers) in numbers.iter().enumerate() {
            let wanted: Vec<u16> = (1..=60).filter(|number| usize::from(number % 3) == topic).collect();
            assert_eq!(numbers, &wanted, "{v:?}, {what}");
        }
        let what = "MQTT-4.6.0-1, MQTT5-4.6.0-1 repeated in the order of the first time";
        reader.vanish().await;
        let mut reader = back(broker.port, v).await;
        let sent: Vec<Heard> = heard.into_iter().filter(|heard| heard.pid.is_some()).collect();
        for first in &sent {
            let again = reader.receives(what).await;
            assert_eq!((again.pid, &again.payload), (first.pid, &first.payload), "{v:?}, {what}");
        }
        let what = "MQTT-4.6.0-4, MQTT5-4.6.0-4 PUBRELs in the order of the PUBRECs";
        let twos: Vec<u16> =
            sent.iter().filter(|heard| heard.qos() == 2).map(|heard| heard.pid.unwrap()).rev().collect();
        for pid in &twos {
            reader.send(&ack(0x50, *pid)).await;
        }
        for pid in &twos {
            reader.gets(&ack(0x62, *pid), what).await;
        }
        reader.leave().await;
        forget(broker.port, v).await;
    }
}

#[tokio::test]
async fn what_a_client_may_not_say_is_answered_and_not_passed_on() {
    // Who has not logged in speaks and hears of `yes` alone.
    let broker = Broker::with(|at, port, _| {
        std::fs::write(at.join("acl"), "topic readwrite yes/#\n").unwrap();
        json!({"mqttServerInternal": format!("tcp://127.0.0.1:{port}"), "mqttAclFile": at.join("acl")})
    })
    .await;
    for v in BOTH {
        let mut reader = Raw::connect(broker.port, v, "reader").await;
        assert_eq!(reader.subscribe("yes/#", 1).await, 1);
        let failed = if v == Five { 0x87 } else { 0x80 };
        let what = "MQTT-3.8.4-5, 3.9.3-2, MQTT5-3.8.4-7, 3.9.3-2";
        assert_eq!(reader.subscribe("no", 1).await, failed, "{v:?}, {what}");
        let mut writer = Raw::connect(broker.port, v, "writer").await;
        let answer = |first| if v == Five { packet(first, &[0, 5, 0x87]) } else { ack(first, 5) };
        for (flags, first) in [(2, 0x40), (4, 0x50), (4, 0x50)] {
            writer.send(&publish(v, flags, b"no", 5, "x")).await;
            writer.gets(&answer(first), "MQTT-3.3.5-2, MQTT5-3.4.2-1, 3.5.2-1").await;
        }
        if v != Five {
            writer.send(&ack(0x62, 5)).await;
            writer.gets(&ack(0x70, 5), "MQTT-3.3.5-2").await;
        }
        let what = "MQTT5-4.3.3-9 after a refusal the identifier is another message's";
        for flags in [4, 12] {
            writer.send(&publish(v, flags, b"yes/1", 5, "another")).await;
            writer.gets(&ack(0x50, 5), what).await;
        }
        assert_eq!(reader.hears(what).await.payload, "another", "{v:?}, {what}");
        reader.is_silent(what).await;
    }
}
