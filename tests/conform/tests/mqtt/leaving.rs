//! Chapters 3.12 to 3.15 of both standards: pings, goodbyes, and AUTH. `MQTT` is a number of 3.1.1, `MQTT5` one of 5.

use crate::broker::Broker;
use crate::raw::{BOTH, Five, Hello, Raw, Three, each_is_put_out, packet, publish, subscribe};

#[tokio::test]
async fn a_ping_is_answered() {
    let broker = Broker::start().await;
    for v in BOTH {
        let mut raw = Raw::connect(broker.port, v, "pings").await;
        raw.send(&[0xc0, 0, 0xc0, 0, 0xc0, 0]).await;
        for _ in 0..3 {
            raw.gets(&[0xd0, 0], "MQTT-3.12.4-1, MQTT5-3.12.4-1").await;
        }
        raw.is_silent("MQTT-3.12.4-1, MQTT5-3.12.4-1 one a ping").await;
    }
}

#[tokio::test]
async fn who_says_goodbye_is_not_heard_afterwards() {
    let broker = Broker::start().await;
    for v in BOTH {
        let what = "MQTT-3.14.4-2, MQTT5-3.14.4-1 what follows has no effect";
        let mut reader = Raw::connect(broker.port, v, "reader").await;
        reader.subscribe("a", 0).await;
        let mut goes = Raw::connect(broker.port, v, "goes").await;
        goes.send(&[vec![0xe0, 0], publish(v, 0, b"a", 0, "x")].concat()).await;
        assert_eq!(
            goes.is_put_out(what).await,
            None,
            "{v:?}, MQTT-3.14.4-1, MQTT5-3.14.4-2: closed, without a word"
        );
        reader.is_silent(what).await;
    }
}

#[tokio::test]
async fn only_a_normal_goodbye_takes_the_will_back() {
    let broker = Broker::start().await;
    for v in BOTH {
        let mut watcher = Raw::connect(broker.port, v, "watcher").await;
        watcher.subscribe("w", 0).await;
        let goodbyes: &[(&[u8], bool)] = match v {
            Three => &[(&[0xe0, 0], false)],
            Five => &[
                (&[0xe0, 0], false),
                (&[0xe0, 1, 0], false),
                (&[0xe0, 2, 0, 0], false),
                (&[0xe0, 1, 4], true),
                (&[0xe0, 1, 0x80], true),
                (&[0xe0, 2, 0x93, 0], true),
            ],
        };
        for (goodbye, said) in goodbyes {
            let what = format!("MQTT-3.14.4-3, MQTT5-3.14.4-3, 3.1.2-8 {goodbye:x?}");
            let hello = Hello::lasting("mortal").will(v, 0, false, b"w", &[]);
            let (mut raw, _) = Raw::enter(broker.port, v, &hello).await;
            raw.send(goodbye).await;
            assert_eq!(raw.is_put_out(&what).await, None, "{v:?}, {what}");
            if *said {
                watcher.hears(&what).await;
            } else {
                watcher.is_silent(&what).await;
            }
        }
    }
}

#[tokio::test]
async fn a_goodbye_of_the_broker_is_its_last_word() {
    let broker = Broker::start().await;
    let mut writer = Raw::connect(broker.port, Five, "writer").await;
    for (what, bytes, reason) in [
        ("MQTT5-3.14.1-1 flags", vec![0xe4, 0], 0x81),
        ("MQTT5-3.14.2-1 a second CONNECT", Hello::clean("out").bytes(Five), 0x82),
        ("MQTT5-3.15.1-1, 4.12.0-7 AUTH", vec![0xf0, 0], 0x82),
        ("MQTT5-3.15.2-1 AUTH with a reason that is none", vec![0xf0, 2, 0x42, 0], 0x81),
        ("MQTT5-4.12.1-1 a second authentication", packet(0xf0, &[0x19, 0]), 0x82),
    ] {
        let mut raw = Raw::connect(broker.port, Five, "out").await;
        raw.send(&subscribe(Five, 7, &[(b"out", 1)])).await;
        raw.some("a SUBACK").await;
        raw.send(&bytes).await;
        let frame = raw.some(what).await;
        assert_eq!((frame.first, frame.body.first()), (0xe0, Some(&reason)), "{what}");
        // MQTT5-3.14.2-2: no session expiry; only a reason in words.
        if let [_, length, rest @ ..] = &frame.body[..] {
            assert!(
                usize::from(*length) == rest.len() && rest.first().is_none_or(|id| *id == 0x1f),
                "{what}: {rest:?}"
            );
        }
        writer.says("out", "x").await;
        assert_eq!(raw.next(what).await, None, "{what}: MQTT5-3.14.4-1, -2, 4.13.2-1");
    }
    let (mut lasting, _) = Raw::enter(broker.port, Five, &Hello::lasting("lasting")).await;
    lasting.send(&[0xe0, 7, 0, 5, 0x11, 0, 0, 0, 0]).await;
    assert_eq!(lasting.is_put_out("a session that is to end").await, None);
    let (_, present) = Raw::enter(broker.port, Five, &Hello::lasting("lasting")).await;
    assert!(!present, "MQTT5-4.1.0-2: it was to end with the connection");
}

#[tokio::test]
async fn goodbyes_that_are_none_are_refused() {
    let broker = Broker::start().await;
    each_is_put_out(
        broker.port,
        Three,
        &[
            ("MQTT-3.14.1-1 a body", vec![0xe0, 1, 0]),
            ("MQTT-2.2.2 AUTH is not of 3.1.1", vec![0xf0, 0]),
            ("a ping with a body", vec![0xc0, 1, 0]),
        ],
    )
    .await;
    each_is_put_out(
        broker.port,
        Five,
        &[
            ("MQTT5-3.14.2-1 a reason that is none", vec![0xe0, 1, 0x42]),
            ("a property of others", vec![0xe0, 4, 0, 2, 1, 1]),
            ("a session expiry twice", vec![0xe0, 12, 0, 10, 0x11, 0, 0, 0, 0, 0x11, 0, 0, 0, 0]),
            ("a ping with a body", vec![0xc0, 1, 0]),
        ],
    )
    .await;
}
