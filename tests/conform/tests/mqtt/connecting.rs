//! Chapter 3.1 of both standards: CONNECT, and whether it is answered. `MQTT` is a number of 3.1.1, `MQTT5` one of 5.

use std::time::Duration;

use tokio::time::Instant;

use crate::broker::Broker;
use crate::raw::{
    BOTH, Five, Frame, Hello, Raw, Three, Version, ack, binary, packet, publish, subscribe, text, unsubscribe,
};

/// Sends a CONNECT that is refused; the code of the answer, if there was one. What follows it has no effect.
async fn refused(port: u16, v: Version, what: &str, bytes: &[u8]) -> Option<u8> {
    let mut raw = Raw::open(port, v).await;
    raw.send(bytes).await;
    let mut code = None;
    while let Some(Frame { first, body }) = raw.next(what).await {
        // MQTT5-3.14.0-1: no DISCONNECT to who was not let in.
        assert_eq!((first, code), (0x20, None), "{v:?}, {what}: {body:?}");
        assert_eq!(body[0], 0, "{v:?}, {what}: MQTT-3.2.2-4, MQTT5-3.2.2-6 no session in a refusal");
        assert_ne!(body[1], 0, "{v:?}, {what}: let in");
        code = Some(body[1]);
    }
    code
}

#[tokio::test]
async fn the_first_packet_is_connect_and_no_other_is() {
    let broker = Broker::start().await;
    for v in BOTH {
        for bytes in [
            publish(v, 0, b"a", 0, "x"),
            subscribe(v, 1, &[(b"a", 0)]),
            unsubscribe(v, 1, &[b"a"]),
            ack(0x40, 1),
            ack(0x62, 1),
            vec![0xc0, 0],
            vec![0xe0, 0],
            vec![0xf0, 0],
        ] {
            let code = refused(broker.port, v, "MQTT-3.1.0-1, MQTT5-3.1.0-1", &bytes).await;
            assert_eq!(code, None, "{v:?}");
        }
        let mut raw = Raw::connect(broker.port, v, "again").await;
        raw.send(&Hello::clean("again").bytes(v)).await;
        let mut reason = None;
        while let Some(frame) = raw.next("MQTT-3.1.0-2, MQTT5-3.1.0-2").await {
            assert_eq!(frame.first, 0xe0, "MQTT5-3.2.0-2: one CONNACK");
            reason = frame.body.first().copied();
        }
        assert_eq!(reason, (v == Five).then_some(0x82), "{v:?}, MQTT-3.1.0-2, MQTT5-3.1.0-2");
    }
}

#[tokio::test]
async fn a_connect_that_does_not_hold_together_is_refused() {
    let broker = Broker::start().await;
    for v in BOTH {
        let flags = |flags, rest: Vec<u8>| Hello { flags, rest, ..Hello::clean("x") }.bytes(v);
        let will = [v.none(), &text("w"), &text("gone")].concat();
        let after_id = |more: &[u8]| [&Hello::clean("x").bytes(v)[2..], more].concat();
        for (what, bytes) in [
            ("MQTT-3.1.2-3, MQTT5-3.1.2-3 reserved flag", flags(3, Vec::new())),
            ("MQTT-3.1.2-9, MQTT5-3.1.2-9 a will that is not there", flags(6, Vec::new())),
            (
                "MQTT-3.1.2-9, MQTT5-3.1.2-9 a will without its message",
                flags(6, [v.none(), &text("w")].concat()),
            ),
            ("MQTT-3.1.2-11 a will that was not spoken of", flags(2, will.clone())),
            ("MQTT-3.1.2-11, -13, MQTT5-3.1.2-11 QoS of no will", flags(0x0a, Vec::new())),
            ("MQTT-3.1.2-14, MQTT5-3.1.2-12 a will of QoS 3", flags(0x1e, will)),
            ("MQTT-3.1.2-11, -15, MQTT5-3.1.2-13 no will, retained", flags(0x22, Vec::new())),
            ("MQTT-3.1.2-18, MQTT5-3.1.2-16 a name that was not spoken of", flags(2, text("user"))),
            ("MQTT-3.1.2-19, MQTT5-3.1.2-17 no user name", flags(0x82, Vec::new())),
            (
                "MQTT-3.1.2-20, MQTT5-3.1.2-18 a password too much",
                flags(0x82, [text("u"), text("p")].concat()),
            ),
            ("MQTT-3.1.2-21, MQTT5-3.1.2-19 no password", flags(0xc2, text("user"))),
            (
                "MQTT-3.1.3-3, MQTT5-3.1.3-3 no client id",
                packet(0x10, &after_id(&[])[..after_id(&[]).len() - 3]),
            ),
            ("MQTT-3.1.4-1, MQTT5-3.1.4-1 more than it says", packet(0x10, &after_id(&[7]))),
        ] {
            let code = refused(broker.port, v, what, &bytes).await;
            match v {
                Three => assert_eq!(code, None, "{what}: MQTT-3.1.4-1, 3.2.2-6 closed without a CONNACK"),
                Five => assert!(code >= Some(0x80), "{what}: MQTT5-3.2.2-7, -8: {code:?}"),
            }
        }
        let mut name = Hello::clean("x").bytes(v);
        name[7] = b'X';
        assert_eq!(refused(broker.port, v, "MQTT-3.1.2-1, MQTT5-3.1.2-1 name", &name).await, None);
        for level in [0, 3, 6, 0x84] {
            let mut connect = Hello::clean("x").bytes(v);
            connect[8] = level;
            // Nobody knows which version's answer they read: that of 3.1.1 is what all have.
            let code = refused(broker.port, v, "MQTT-3.1.2-2, MQTT5-3.1.2-2 level", &connect).await;
            assert!(matches!(code, Some(1 | 0x84)), "{level}: {code:?}");
        }
    }
    let nameless = Hello { flags: 0x42, rest: text("secret"), ..Hello::clean("x") };
    let code = refused(broker.port, Three, "MQTT-3.1.2-22 a password alone", &nameless.bytes(Three)).await;
    assert_eq!(code, None);
    // In 5 it may stand alone.
    Raw::enter(broker.port, Five, &nameless).await;
}

#[tokio::test]
async fn who_is_refused_has_no_effect() {
    let broker = Broker::start().await;
    for v in BOTH {
        let what = "MQTT-3.1.4-5, MQTT5-3.1.4-6";
        let mut reader = Raw::connect(broker.port, v, "reader").await;
        reader.subscribe("#", 0).await;
        let mut hello = Hello { flags: 0, id: text(""), ..Hello::clean("") };
        if v == Five {
            hello = Hello { properties: [&[0x15][..], &text("SCRAM")].concat(), ..Hello::clean("x") };
        }
        let bytes = [hello.bytes(v), publish(v, 0, b"a", 0, "x"), publish(v, 2, b"a", 1, "x")].concat();
        let code = refused(broker.port, v, what, &bytes).await;
        // MQTT-3.1.3-8, -9, 3.2.2-5; MQTT5-3.1.4-2, 4.12.0-1.
        assert_eq!(code, Some(if v == Three { 2 } else { 0x8c }), "{v:?}");
        reader.is_silent(what).await;
    }
}

#[tokio::test]
async fn a_session_is_who_comes_with_its_id() {
    for v in BOTH {
        let broker = Broker::start().await;
        let what = "MQTT-3.1.2-4, -5, MQTT5-3.1.2-5, -23";
        let mut writer = Raw::connect(broker.port, v, "writer").await;
        let (mut reader, present) = Raw::enter(broker.port, v, &Hello::lasting("reader")).await;
        assert!(!present, "{v:?}, MQTT-3.1.2-4, 3.2.2-3, MQTT5-3.1.2-6, 3.2.2-3 a new one");
        reader.subscribe("s/+", 2).await;
        reader.leave().await;
        for flags in [2, 4] {
            writer.send(&publish(v, flags, b"s/1", 50, "kept")).await;
            assert_ne!(writer.some(what).await.first, 0xe0);
        }
        writer.send(&ack(0x62, 50)).await;
        writer.gets(&ack(0x70, 50), what).await;
        let other = Raw::enter(broker.port, v, &Hello::lasting("Reader")).await;
        assert!(!other.1, "{v:?}, MQTT-3.1.3-2, MQTT5-3.1.3-2 another id is another session");
        // MQTT-3.2.0-1, MQTT5-3.2.0-1: the CONNACK first, though messages wait; and it is one (MQTT5-3.2.0-2).
        let (mut reader, present) = Raw::enter(broker.port, v, &Hello::lasting("reader")).await;
        assert!(present, "{v:?}, MQTT-3.2.2-2, MQTT5-3.2.2-3");
        assert_eq!([reader.hears(what).await.qos(), reader.hears(what).await.qos()], [1, 2], "{v:?}, {what}");
        writer.tells(3, "s/2", "retained").await;
        reader.hears(what).await;
        reader.leave().await;
        let what = "MQTT-3.1.2-6, 3.1.4-3, MQTT5-3.1.2-4, 3.1.4-4";
        let (mut reader, present) = Raw::enter(broker.port, v, &Hello::clean("reader")).await;
        assert!(!present, "{v:?}, {what}; MQTT-3.2.2-1, MQTT5-3.2.2-2");
        writer.says("s/1", "nobody's").await;
        reader.is_silent(what).await;
        reader.leave().await;
        let (mut reader, present) = Raw::enter(broker.port, v, &Hello::lasting("reader")).await;
        assert!(!present, "{v:?}, {what}: a clean session is not gone on with");
        reader.subscribe("s/2", 0).await;
        let what = "MQTT-3.1.2-7 retained messages outlive sessions";
        assert_eq!(reader.hears(what).await.payload, "retained", "{v:?}, {what}");
    }
}

#[tokio::test]
async fn wills_are_said_as_they_were_meant() {
    for v in BOTH {
        let broker = Broker::start().await;
        let mut watcher = Raw::connect(broker.port, v, "watcher").await;
        watcher.subscribe("will/#", 2).await;
        for (what, qos, retain) in [
            ("MQTT-3.1.2-8, -16, MQTT5-3.1.2-7, -8, -14", 0, false),
            ("MQTT-3.1.2-9, -14, MQTT5-3.1.2-9, -12", 1, false),
            ("MQTT-3.1.2-17, MQTT5-3.1.2-15", 2, true),
        ] {
            let topic = format!("will/{qos}");
            let hello = Hello::clean("mortal").will(v, qos, retain, topic.as_bytes(), &[]);
            Raw::enter(broker.port, v, &hello).await.0.vanish().await;
            let heard = watcher.hears(what).await;
            assert_eq!((&heard.topic, heard.qos(), &*heard.payload), (&topic, qos, "gone"), "{v:?}, {what}");
            watcher.is_silent("MQTT-3.1.2-10, MQTT5-3.1.2-10 once").await;
            let mut late = Raw::connect(broker.port, v, "late").await;
            late.subscribe(&topic, 2).await;
            if retain {
                assert!(late.hears(what).await.retain(), "{v:?}, {what}");
            } else {
                late.is_silent(what).await;
            }
        }
        // MQTT-3.1.2-10, 3.14.4-3, MQTT5-3.1.2-10, 3.14.4-3: goodbye takes it back.
        let hello = Hello::lasting("polite").will(v, 1, false, b"will/x", &[]);
        Raw::enter(broker.port, v, &hello).await.0.leave().await;
        Raw::enter(broker.port, v, &Hello::lasting("polite")).await.0.vanish().await;
        Raw::connect(broker.port, v, "without").await.vanish().await;
        watcher.is_silent("MQTT-3.1.2-10, -12, 3.14.4-3, MQTT5-3.1.2-10, 3.14.4-3").await;
        // Who breaks the protocol, who falls silent and who is put out by another of its name did not say goodbye.
        let hello = Hello { keep_alive: 1, ..Hello::clean("mortal").will(v, 0, false, b"will/y", &[]) };
        let (mut rude, _) = Raw::enter(broker.port, v, &hello).await;
        rude.send(&[0x36, 0]).await;
        watcher.hears("MQTT-3.1.2-8, MQTT5-3.1.2-8 a broken protocol").await;
        let (_silent, _) = Raw::enter(broker.port, v, &hello).await;
        watcher.hears("MQTT-3.1.2-8, MQTT5-3.1.2-8 silence").await;
        let _first = Raw::enter(broker.port, v, &hello).await;
        let _second = Raw::enter(broker.port, v, &Hello::clean("mortal")).await;
        watcher.hears("MQTT-3.1.2-8, MQTT5-3.1.2-8 taken over").await;
    }
}

#[tokio::test]
async fn a_will_of_mqtt_5_has_its_properties_and_its_delay() {
    let broker = Broker::start().await;
    let users =
        [[&[0x26][..], &text("b"), &text("1")].concat(), [&[0x26][..], &text("a"), &text("2")].concat()]
            .concat();
    let mut watcher = Raw::connect(broker.port, Five, "watcher").await;
    watcher.subscribe("will/#", 0).await;
    let hello = Hello::clean("mortal").will(Five, 0, false, b"will/users", &users);
    Raw::enter(broker.port, Five, &hello).await.0.vanish().await;
    assert_eq!(watcher.hears("MQTT5-3.1.3-10").await.properties, users, "MQTT5-3.1.3-10");
    // MQTT5-3.1.3-9: a new connection before the delay.
    let hello = Hello::lasting("mortal").will(Five, 0, false, b"will/late", &[0x18, 0, 0, 0, 1]);
    Raw::enter(broker.port, Five, &hello).await.0.vanish().await;
    let _back = Raw::enter(broker.port, Five, &Hello::lasting("mortal")).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    watcher.is_silent("MQTT5-3.1.3-9").await;
}

#[tokio::test]
async fn ids_are_what_the_standard_allows() {
    let broker = Broker::start().await;
    let letters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    for v in BOTH {
        for id in ["a", &letters[..23], &letters[20..43], &letters[39..]] {
            let mut raw = Raw::connect(broker.port, v, id).await;
            raw.is_served("MQTT-3.1.3-5, MQTT5-3.1.3-5").await;
        }
        // MQTT-3.1.3-6, MQTT5-3.1.3-6, 3.2.2-16: two without an id are two.
        let mut nameless = [Raw::connect(broker.port, v, "").await, Raw::connect(broker.port, v, "").await];
        for raw in &mut nameless {
            raw.is_served("MQTT-3.1.3-6, MQTT5-3.1.3-6, 3.2.2-16").await;
        }
        // MQTT-3.1.4-2, MQTT5-3.1.4-3
        let what = "MQTT-3.1.4-2, MQTT5-3.1.4-3";
        let mut first = Raw::connect(broker.port, v, "twice").await;
        let mut second = Raw::connect(broker.port, v, "twice").await;
        assert_eq!(first.is_put_out(what).await, (v == Five).then_some(0x8e), "{what}");
        second.is_served(what).await;
    }
    // MQTT5-3.1.3-7: under its assigned id a client finds its session again.
    let mut raw = Raw::open(broker.port, Five).await;
    raw.send(&Hello::lasting("").bytes(Five)).await;
    let answer = raw.some("MQTT5-3.1.3-7").await;
    let properties = &answer.body[3..];
    let at = properties.iter().position(|id| *id == 0x12).expect("MQTT5-3.1.3-7: no assigned id");
    let length = usize::from(properties[at + 2]);
    let id = std::str::from_utf8(&properties[at + 3..at + 3 + length]).unwrap().to_owned();
    raw.leave().await;
    let (_, present) = Raw::enter(broker.port, Five, &Hello::lasting(&id)).await;
    assert!(present, "MQTT5-3.1.3-7: {id}");
    // MQTT-3.1.3-7, -8, -9: in 3.1.1 a lasting session has a name.
    let nameless = Hello { flags: 0, ..Hello::clean("") };
    let code = refused(broker.port, Three, "MQTT-3.1.3-8, -9", &nameless.bytes(Three)).await;
    assert_eq!(code, Some(2), "MQTT-3.1.3-8, -9");
}

#[tokio::test]
async fn who_is_silent_for_too_long_is_put_out() {
    let broker = Broker::start().await;
    for v in BOTH {
        let what = "MQTT-3.1.2-24, MQTT5-3.1.2-22, 3.2.2-22";
        let keep_alive = |id, keep_alive| Hello { keep_alive, ..Hello::clean(id) };
        let (mut patient, _) = Raw::enter(broker.port, v, &keep_alive("patient", 0)).await;
        let (mut sleepy, _) = Raw::enter(broker.port, v, &keep_alive("sleepy", 1)).await;
        // Any packet counts.
        let since = Instant::now();
        for _ in 0..4 {
            tokio::time::sleep(Duration::from_millis(600)).await;
            sleepy.send(&publish(v, 0, b"a", 0, "awake")).await;
        }
        sleepy.is_served(what).await;
        assert_eq!(sleepy.is_put_out(what).await, (v == Five).then_some(0x8d), "{v:?}, {what}");
        let lasted = since.elapsed().as_secs_f32();
        assert!((3.8..8.0).contains(&lasted), "{v:?}, {what}: {lasted} s");
        patient.is_served("a keep-alive of 0 turns it off").await;
        // A will tells the others (as if the network had failed).
        let mut watcher = Raw::connect(broker.port, v, "watcher").await;
        watcher.subscribe("gone", 0).await;
        let hello = Hello { keep_alive: 1, ..Hello::clean("sleepy").will(v, 0, false, b"gone", &[]) };
        let _sleepy = Raw::enter(broker.port, v, &hello).await;
        watcher.hears(what).await;
    }
}

#[tokio::test]
async fn the_fields_of_a_connect_come_in_their_order() {
    let broker = Broker::start().await;
    for v in BOTH {
        let what = "MQTT-3.1.3-1, MQTT5-3.1.3-1";
        let mut watcher = Raw::connect(broker.port, v, "watcher").await;
        watcher.subscribe("#", 0).await;
        let mut hello = Hello::clean("all").will(v, 0, false, b"topic", &[]);
        hello.flags |= 0xc0;
        hello.rest.extend([text("user"), binary(b"\0\xffpassword")].concat());
        Raw::enter(broker.port, v, &hello).await.0.vanish().await;
        let heard = watcher.hears(what).await;
        assert_eq!((&*heard.topic, &*heard.payload), ("topic", "gone"), "{v:?}, {what}");
    }
}
