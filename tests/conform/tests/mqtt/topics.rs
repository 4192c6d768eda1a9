//! Chapters 4.7 and 4.8 of both standards: topics, filters, shared subscriptions. `MQTT` is a number of 3.1.1, `MQTT5`
//! one of 5.

use std::time::Duration;

use crate::broker::Broker;
use crate::raw::{BOTH, Five, Hello, Raw, ack, each_is_put_out, packet, publish, subscribe, unsubscribe};

#[tokio::test]
async fn a_filter_that_is_none_puts_its_sender_out() {
    let broker = Broker::start().await;
    for v in BOTH {
        for (what, filter) in [
            ("MQTT-4.7.1-2, MQTT5-4.7.1-1 # before the end", &b"a/#/b"[..]),
            ("MQTT-4.7.1-2, MQTT5-4.7.1-1 # not alone", b"a#"),
            ("MQTT-4.7.1-2, MQTT5-4.7.1-1 # twice", b"##"),
            ("MQTT-4.7.1-3, MQTT5-4.7.1-2 + not alone", b"a+"),
            ("MQTT-4.7.1-3, MQTT5-4.7.1-2 + not alone", b"a/+b/c"),
            ("MQTT-4.7.3-1, MQTT5-4.7.3-1 nothing", b""),
            ("MQTT-4.7.3-2, MQTT5-4.7.3-2 NUL", b"a/\0"),
            ("MQTT5-4.8.2-1 a group without a name", b"$share//a"),
            ("MQTT5-4.8.2-2 no filter", b"$share/g"),
            ("MQTT5-4.8.2-2 an empty filter", b"$share/g/"),
            ("MQTT5-4.8.2-2 a wildcard in the name", b"$share/g+/a"),
            ("MQTT5-4.8.2-2 a wildcard in the name", b"$share/#/a"),
        ] {
            each_is_put_out(broker.port, v, &[(what, subscribe(v, 1, &[(b"good", 0), (filter, 0)]))]).await;
        }
        each_is_put_out(
            broker.port,
            v,
            &[
                ("MQTT-4.7.3-1, MQTT5-4.7.3-1 no topic", publish(v, 0, b"", 0, "x")),
                ("MQTT-4.7.3-1, MQTT5-4.7.3-1 no filter", unsubscribe(v, 1, &[b""])),
                ("MQTT-4.7.3-2, MQTT5-4.7.3-2 NUL", publish(v, 0, b"\0", 0, "x")),
            ],
        )
        .await;
    }
}

#[tokio::test]
async fn filters_match_what_the_standard_says() {
    let broker = Broker::start().await;
    for v in BOTH {
        let longest = format!("l/{}", "x".repeat(65_533));
        for (what, filter, matching, others) in [
            (
                "MQTT-3.8.3-2, 4.7.1-2, MQTT5-4.7.1-1",
                "m/#",
                &["m", "m/", "m/a", "m/a/b"][..],
                &["mm", "/m", "M/a"][..],
            ),
            (
                "MQTT-4.7.1-3, MQTT5-4.7.1-2",
                "+/x/+",
                &["a/x/b", "/x/", "a/x/"],
                &["a/x", "a/x/b/c", "x/a/x/b"],
            ),
            ("MQTT-4.7.1-3, MQTT5-4.7.1-2", "+", &["a", "é"], &["/", "a/b", "/a"]),
            ("MQTT-4.7.2-1, MQTT5-4.7.2-1", "#", &["a", "a/$x"], &["$x", "$SYS/a"]),
            ("MQTT-4.7.2-1, MQTT5-4.7.2-1", "+/y", &["a/y", "/y"], &["$a/y"]),
            ("MQTT-4.7.2-1, MQTT5-4.7.2-1", "$z/+", &["$z/a"], &["z/a", "$z"]),
            // é as one letter, and as e with an accent; letters that Unicode does not know.
            ("MQTT-4.7.3-4, MQTT5-4.7.3-4", "n/\u{e9}", &["n/\u{e9}"], &["n/e\u{301}", "n/e", "n/É"]),
            (
                "MQTT-4.7.3-4, MQTT5-4.7.3-4",
                "n/\u{e000}\u{10fffd} ",
                &["n/\u{e000}\u{10fffd} "],
                &["n/\u{e000}", "n/"],
            ),
            ("MQTT-4.7.3-4, MQTT5-4.7.3-4", "n//", &["n//"], &["n/", "n"]),
            ("MQTT-4.7.3-3, MQTT5-4.7.3-3 as long as can be", &*longest, &[&*longest], &["l/x"]),
        ] {
            let mut reader = Raw::connect(broker.port, v, "reader").await;
            reader.subscribe(filter, 0).await;
            let mut writer = Raw::connect(broker.port, v, "writer").await;
            for topic in others {
                writer.says(topic, "no").await;
            }
            for topic in matching {
                writer.says(topic, "yes").await;
                let heard = reader.hears(what).await;
                assert_eq!((&*heard.topic, &*heard.payload), (*topic, "yes"), "{v:?}, {what}: {filter:.20}");
            }
            reader.is_silent(what).await;
        }
    }
}

#[tokio::test]
async fn a_group_gets_each_message_once_by_the_quality_of_who_gets_it() {
    let broker = Broker::start().await;
    for v in BOTH {
        let what = "MQTT5-4.8.2-3";
        let mut members = Vec::new();
        for qos in 0..3u8 {
            let mut member = Raw::connect(broker.port, v, &format!("m{qos}")).await;
            assert_eq!(member.subscribe("$share/g/q/+", qos).await, qos, "{v:?}, {what}");
            members.push(member);
        }
        let mut writer = Raw::connect(broker.port, v, "writer").await;
        for number in 0..3u16 {
            writer.send(&publish(v, 4, b"q/1", 20 + number, "x")).await;
            writer.gets(&ack(0x50, 20 + number), "a PUBREC").await;
        }
        for (qos, member) in members.iter_mut().enumerate() {
            let heard = member.hears(what).await;
            assert_eq!(usize::from(heard.qos()), qos, "{v:?}, {what}");
            member.is_silent(what).await;
        }
    }
}

#[tokio::test]
async fn what_one_of_a_group_began_is_not_another_s() {
    let broker = Broker::start().await;
    for v in BOTH {
        let (mut first, _) = Raw::enter(broker.port, v, &Hello::lasting("first")).await;
        first.subscribe("$share/g/b", 2).await;
        let mut writer = Raw::connect(broker.port, v, "writer").await;
        writer.send(&publish(v, 4, b"b", 9, "begun")).await;
        writer.gets(&ack(0x50, 9), "a PUBREC").await;
        let begun = first.receives("MQTT5-4.8.2-4").await;
        let mut second = Raw::connect(broker.port, v, "second").await;
        second.subscribe("$share/g/b", 2).await;
        first.vanish().await;
        second.is_silent("MQTT5-4.8.2-4 it waits for whom it was sent to").await;
        let (mut first, _) = Raw::enter(broker.port, v, &Hello::lasting("first")).await;
        let again = first.receives("MQTT5-4.8.2-4").await;
        assert_eq!((again.pid, &*again.payload), (begun.pid, "begun"), "{v:?}, MQTT5-4.8.2-4");
        first.vanish().await;
        // The session ends before its client is back.
        Raw::enter(broker.port, v, &Hello::clean("first")).await.0.leave().await;
        second.is_silent("MQTT5-4.8.2-5").await;
        second.leave().await;
    }
    let what = "MQTT5-4.8.2-6";
    for (flags, first, reason) in [(2, 0x40, 0x80), (4, 0x50, 0x97)] {
        let mut members =
            [Raw::connect(broker.port, Five, "a").await, Raw::connect(broker.port, Five, "b").await];
        for member in &mut members {
            member.subscribe("$share/g/r", 2).await;
        }
        let mut writer = Raw::connect(broker.port, Five, "writer").await;
        writer.send(&publish(Five, flags, b"r", 9, "refused")).await;
        writer.some("an answer").await;
        let [mut gets, mut other] = members;
        let heard = tokio::select! {
            biased;
            heard = gets.receives(what) => heard,
            () = tokio::time::sleep(Duration::from_secs(1)) => {
                std::mem::swap(&mut gets, &mut other);
                gets.receives(what).await
            }
        };
        let [high, low] = heard.pid.unwrap().to_be_bytes();
        gets.send(&packet(first, &[high, low, reason])).await;
        gets.is_served(what).await;
        other.is_silent(what).await;
        gets.leave().await;
        other.is_silent(what).await;
    }
}
