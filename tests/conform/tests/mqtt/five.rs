//! MQTT 5, statement by statement. The numbers are the standard's.

use std::time::Duration;

use bytes::Bytes;
use rumqttc::v5::mqttbytes::QoS::{AtLeastOnce, AtMostOnce, ExactlyOnce};
use rumqttc::v5::mqttbytes::v5::{
    ConnectReturnCode, Disconnect, DisconnectProperties, DisconnectReasonCode as Reason, Filter, LastWill,
    LastWillProperties, Packet, PubAck, PubComp, PubCompReason, PubRec, PubRel, Publish, PublishProperties,
    RetainForwardRule, SubscribeReasonCode, UnsubAckReason, Unsubscribe,
};

use tokio::time::Instant;

use crate::broker::Broker;
use crate::peer::{Manner, Peer, message, refuses, retained, with};

fn plain(path: &str) -> Filter {
    Filter::new(path, ExactlyOnce)
}

/// The body of a CONNECT of MQTT 5 with these flags and properties, client id `x`.
fn connect(flags: u8, properties: &[u8]) -> Vec<u8> {
    let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', 5, flags, 0, 10];
    body.push(u8::try_from(properties.len()).unwrap());
    body.extend_from_slice(properties);
    body.extend_from_slice(&[0, 1, b'x']);
    let mut packet = vec![0x10, u8::try_from(body.len()).unwrap()];
    packet.append(&mut body);
    packet
}

#[tokio::test]
async fn a_connect_that_breaks_the_protocol_is_told_why() {
    let broker = Broker::start().await;
    for (what, bytes, code) in [
        ("3.1.2-3 reserved flag", connect(3, &[]), ConnectReturnCode::MalformedPacket),
        ("3.1.2-11 a will's QoS without a will", connect(0x0a, &[]), ConnectReturnCode::MalformedPacket),
        ("3.1.2.11.3 a receive maximum of 0", connect(2, &[0x21, 0, 0]), ConnectReturnCode::ProtocolError),
        ("3.1.2.11.4 a packet size of 0", connect(2, &[0x27, 0, 0, 0, 0]), ConnectReturnCode::ProtocolError),
        ("3.1.2.11.5 twice", connect(2, &[0x22, 0, 1, 0x22, 0, 1]), ConnectReturnCode::ProtocolError),
        ("3.1.2.11.7 neither 0 nor 1", connect(2, &[0x17, 2]), ConnectReturnCode::ProtocolError),
        ("2.2.2.2 a property of others", connect(2, &[0x01, 1]), ConnectReturnCode::MalformedPacket),
        ("3.1.2.11.10 data without a method", connect(2, &[0x16, 0, 1, 9]), ConnectReturnCode::ProtocolError),
        ("4.12 a method", connect(2, &[0x15, 0, 1, b'm']), ConnectReturnCode::BadAuthenticationMethod),
    ] {
        let mut peer = Peer::open(broker.port).await;
        peer.bytes(&bytes).await;
        match peer.next().await {
            Some(Packet::ConnAck(answer)) => {
                // 3.2.2-6: no session is present in a refusal.
                assert_eq!((answer.code, answer.session_present), (code, false), "{what}");
            }
            other => panic!("{what}: a CONNACK, not {other:?}"),
        }
        assert_eq!(peer.next().await, None, "{what}: 3.1.4-2 closed");
    }
    for (what, bytes) in [
        ("3.1.0-1 the first packet is CONNECT", &[0xc0, 0][..]),
        ("3.1.2-1 protocol name", &[0x10, 12, 0, 4, b'M', b'Q', b'T', b'X', 5, 2, 0, 10, 0, 0]),
    ] {
        let mut peer = Peer::open(broker.port).await;
        peer.bytes(bytes).await;
        assert_eq!(peer.next().await, None, "{what}");
    }
}

#[tokio::test]
async fn what_breaks_the_protocol_later_is_told_why() {
    let broker = Broker::start().await;
    let mut bystander = Peer::connect(broker.port, "bystander").await;
    bystander.subscribe([plain("still/#")], None).await;
    for (what, bytes, reason) in [
        ("3.1.0-2 a second CONNECT", connect(2, &[]), Reason::ProtocolError),
        ("2.1.3-1 flags of SUBSCRIBE", vec![0x80, 7, 0, 1, 0, 0, 1, b'a', 0], Reason::MalformedPacket),
        ("2.2.1-3 identifier 0", vec![0x82, 7, 0, 0, 0, 0, 1, b'a', 0], Reason::ProtocolError),
        ("3.3.1-2 DUP without QoS", vec![0x38, 4, 0, 1, b'a', 0], Reason::ProtocolError),
        ("3.3.1-4 QoS 3", vec![0x36, 6, 0, 1, b'a', 0, 1, 0], Reason::MalformedPacket),
        ("3.3.2-2 wildcard in a topic", vec![0x30, 4, 0, 1, b'#', 0], Reason::TopicNameInvalid),
        ("3.3.2-8 alias 0", vec![0x30, 7, 0, 1, b'a', 3, 0x23, 0, 0], Reason::TopicAliasInvalid),
        ("3.3.2-9 alias too high", vec![0x30, 7, 0, 1, b'a', 3, 0x23, 1, 0], Reason::TopicAliasInvalid),
        ("3.3.2-8 alias unknown", vec![0x30, 6, 0, 0, 3, 0x23, 0, 3], Reason::TopicAliasInvalid),
        (
            "3.3.2-14 wildcard in the response topic",
            vec![0x30, 8, 0, 1, b'a', 4, 8, 0, 1, b'#'],
            Reason::MalformedPacket,
        ),
        (
            "3.3.4-6 an identifier of subscription",
            vec![0x30, 6, 0, 1, b'a', 2, 0x0b, 1],
            Reason::ProtocolError,
        ),
        ("1.5.4-1 topic not UTF-8", vec![0x30, 4, 0, 1, 0xff, 0], Reason::MalformedPacket),
        ("1.5.4-2 NUL in a topic", vec![0x30, 4, 0, 1, 0, 0], Reason::TopicNameInvalid),
        ("4.7.3-1 no topic and no alias", vec![0x30, 3, 0, 0, 0], Reason::ProtocolError),
        (
            "3.3.2.3.2 not the UTF-8 it says",
            vec![0x30, 7, 0, 1, b'a', 2, 1, 1, 0xff],
            Reason::PayloadFormatInvalid,
        ),
        ("3.8.3-2 subscribe to nothing", vec![0x82, 3, 0, 1, 0], Reason::ProtocolError),
        ("3.8.3-5 reserved options", vec![0x82, 7, 0, 1, 0, 0, 1, b'a', 0xc0], Reason::MalformedPacket),
        ("3.8.3.1 retain handling 3", vec![0x82, 7, 0, 1, 0, 0, 1, b'a', 0x30], Reason::MalformedPacket),
        ("3.8.2.1.2 identifier 0", vec![0x82, 9, 0, 1, 2, 0x0b, 0, 0, 1, b'a', 0], Reason::ProtocolError),
        ("3.10.3-2 unsubscribe from nothing", vec![0xa2, 3, 0, 1, 0], Reason::ProtocolError),
        ("3.14.1-1 flags of DISCONNECT", vec![0xe1, 0], Reason::MalformedPacket),
        ("3.15.1-1, 4.12.0-6 AUTH out of the blue", vec![0xf0, 0], Reason::ProtocolError),
        ("a server's packet", vec![0x20, 3, 0, 0, 0], Reason::ProtocolError),
        ("1.5.5-1 a length in more bytes than needed", vec![0xc0, 0x80, 0], Reason::ProtocolError),
        ("3.1.2-25 too long", vec![0x30, 0xff, 0xff, 0xff, 0x7f], Reason::PacketTooLarge),
    ] {
        let mut peer = Peer::connect(broker.port, "rude").await;
        peer.bytes(&bytes).await;
        assert_eq!(peer.is_put_out().await, reason, "{what}");
    }
    // 4.7.1-1, 4.8.2-1, -2: filters that are none.
    for filter in ["a/#/b", "a+", "$share/g", "$share//a", "$share/+/a"] {
        let mut peer = Peer::connect(broker.port, "rude").await;
        let mut subscribe = rumqttc::v5::mqttbytes::v5::Subscribe::new(plain(filter), None);
        subscribe.pkid = 1;
        peer.send(Packet::Subscribe(subscribe)).await;
        assert_eq!(peer.is_put_out().await, Reason::TopicFilterInvalid, "{filter}");
    }
    let share = Filter { nolocal: true, ..plain("$share/g/a") };
    let mut peer = Peer::connect(broker.port, "rude").await;
    let mut subscribe = rumqttc::v5::mqttbytes::v5::Subscribe::new(share, None);
    subscribe.pkid = 1;
    peer.send(Packet::Subscribe(subscribe)).await;
    assert_eq!(peer.is_put_out().await, Reason::ProtocolError, "3.8.3-4 No Local on a shared subscription");
    let mut polite = Peer::connect(broker.port, "polite").await;
    polite.says("still/here", "yes").await;
    assert_eq!(bystander.hears().await.payload, "yes");
}

#[tokio::test]
async fn who_comes_in_is_told_what_was_agreed() {
    let broker = Broker::start().await;
    // 3.1.3-6, -7, 3.2.2-16: without an id one is made, and told.
    let (_, answer) = Peer::enter(broker.port, "", Manner::default()).await;
    let agreed = answer.properties.unwrap();
    assert!(agreed.assigned_client_identifier.is_some_and(|id| !id.is_empty()));
    assert!(
        agreed.receive_max.is_some() && agreed.max_packet_size.is_some() && agreed.topic_alias_max > Some(0)
    );
    // 3.1.4-3: a second client of the same id puts the first out.
    let mut first = Peer::connect(broker.port, "twice").await;
    let mut second = Peer::connect(broker.port, "twice").await;
    assert_eq!(first.is_put_out().await, Reason::SessionTakenOver);
    second.says("a", "1").await;
    // 3.1.2-22: one and a half times the keep-alive without a packet.
    let (mut silent, _) =
        Peer::enter(broker.port, "silent", Manner { keep_alive: 1, ..Manner::default() }).await;
    let since = Instant::now();
    // Bytes are no packet.
    silent.bytes(&[0xc0]).await;
    assert_eq!(silent.is_put_out().await, Reason::KeepAliveTimeout);
    assert!((1.0..4.0).contains(&since.elapsed().as_secs_f32()), "{:?}", since.elapsed());
}

#[tokio::test]
async fn sessions_last_as_long_as_they_were_asked_to() {
    let broker = Broker::start().await;
    let mut writer = Peer::connect(broker.port, "writer").await;
    // 3.1.2-4, 3.2.2-2, -3: a new session, and one that goes on.
    let (mut reader, answer) = Peer::enter(broker.port, "reader", Manner::lasting(100)).await;
    assert!(!answer.session_present);
    reader.subscribe([plain("s/#")], None).await;
    reader.leave().await;
    writer.says("s/1", "while away").await;
    let (mut reader, answer) = Peer::enter(broker.port, "reader", Manner::lasting(100)).await;
    assert!(answer.session_present);
    assert_eq!(reader.hears().await.payload, "while away");
    // 3.1.2-4: Clean Start.
    reader.leave().await;
    let clean = Manner { clean: true, ..Manner::lasting(100) };
    let (reader, answer) = Peer::enter(broker.port, "reader", clean).await;
    assert!(!answer.session_present);
    reader.leave().await;
    // 3.14.2.2.2: the DISCONNECT says how long.
    let (mut reader, _) = Peer::enter(broker.port, "reader", Manner::lasting(100)).await;
    let ends = |expiry| {
        let properties = DisconnectProperties {
            session_expiry_interval: Some(expiry),
            reason_string: None,
            user_properties: Vec::new(),
            server_reference: None,
        };
        Packet::Disconnect(Disconnect {
            reason_code: Reason::NormalDisconnection,
            properties: Some(properties),
        })
    };
    reader.send(ends(0)).await;
    assert_eq!(reader.next().await, None);
    let (reader, answer) = Peer::enter(broker.port, "reader", Manner::lasting(1)).await;
    assert!(!answer.session_present, "it was to end at once");
    // 3.1.2-23: after its time it is gone.
    reader.leave().await;
    tokio::time::sleep(Duration::from_millis(1200)).await;
    let (_, answer) = Peer::enter(broker.port, "reader", Manner::lasting(1)).await;
    assert!(!answer.session_present, "its second is over");
    // A session that was to end cannot be made to last.
    let mut brief = Peer::connect(broker.port, "brief").await;
    brief.send(ends(5)).await;
    assert_eq!(brief.is_put_out().await, Reason::ProtocolError);
}

#[tokio::test]
async fn wills_wait_for_their_delay_and_are_not_spoken_for_who_comes_back() {
    let broker = Broker::start().await;
    let mut watcher = Peer::connect(broker.port, "watcher").await;
    watcher.subscribe([plain("will/+")], None).await;
    let mortal = |id: &str, delay: Option<u32>, expiry: u32| {
        let properties = LastWillProperties {
            delay_interval: delay,
            payload_format_indicator: Some(1),
            message_expiry_interval: None,
            content_type: Some("text/plain".into()),
            response_topic: Some("answers".into()),
            correlation_data: Some(Bytes::from_static(b"c")),
            user_properties: vec![("a".into(), "1".into())],
        };
        let will = LastWill::new(format!("will/{id}"), "gone", AtLeastOnce, false, Some(properties));
        Manner { will: Some(will), ..Manner::lasting(expiry) }
    };
    // 3.1.2-8: at once, with all its properties.
    drop(Peer::enter(broker.port, "now", mortal("now", None, 100)).await);
    let said = watcher.hears().await;
    let said_with = said.properties.unwrap();
    assert_eq!((&said.topic[..], &said.payload[..]), (&b"will/now"[..], &b"gone"[..]));
    assert_eq!(said_with.content_type.as_deref(), Some("text/plain"));
    assert_eq!(said_with.response_topic.as_deref(), Some("answers"));
    assert_eq!(said_with.user_properties, [("a".to_owned(), "1".to_owned())]);
    // 3.1.2-10: not for who says goodbye; 3.14.2.1: but for who asks for it.
    Peer::enter(broker.port, "polite", mortal("polite", None, 0)).await.0.leave().await;
    let (mut asks, _) = Peer::enter(broker.port, "asks", mortal("asks", None, 0)).await;
    asks.bytes(&[0xe0, 1, 4]).await;
    assert_eq!(watcher.hears().await.topic, "will/asks");
    // 3.1.3-9: who comes back in time is not dead.
    drop(Peer::enter(broker.port, "back", mortal("back", Some(2), 100)).await);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let (_back, _) = Peer::enter(broker.port, "back", Manner::lasting(100)).await;
    // 3.1.2-8 again: after the delay, or with the end of the session if that is sooner.
    let since = Instant::now();
    drop(Peer::enter(broker.port, "late", mortal("late", Some(1), 100)).await);
    assert_eq!(watcher.hears().await.topic, "will/late");
    assert!(since.elapsed() >= Duration::from_secs(1));
    drop(Peer::enter(broker.port, "ended", mortal("ended", Some(100), 1)).await);
    assert_eq!(watcher.hears().await.topic, "will/ended");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(watcher.silent().await, "no will of who came back or said goodbye");
}

#[tokio::test]
async fn properties_of_a_message_arrive_as_they_were_sent() {
    let broker = Broker::start().await;
    let mut reader = Peer::connect(broker.port, "reader").await;
    reader.subscribe([plain("p/#")], None).await;
    let mut writer = Peer::connect(broker.port, "writer").await;
    // 3.3.2-4, -15, -16, -17, -18, -20.
    let sent = PublishProperties {
        payload_format_indicator: Some(1),
        response_topic: Some("answers/é".into()),
        correlation_data: Some(Bytes::from_static(&[0, 255, 1])),
        user_properties: vec![("b".into(), "2".into()), ("a".into(), "1".into()), ("b".into(), "3".into())],
        content_type: Some("application/json".into()),
        ..PublishProperties::default()
    };
    writer.tells(with(message("p/1", AtLeastOnce, "{}"), sent.clone())).await;
    assert_eq!(reader.hears().await.properties, Some(sent));
    // 3.3.2-12: an alias stands for its topic, on this connection only, and is not passed on.
    let alias = |topic: &str, alias| {
        let properties = PublishProperties { topic_alias: Some(alias), ..PublishProperties::default() };
        with(message(topic, AtLeastOnce, topic), properties)
    };
    for (topic, heard) in [("p/long", "p/long"), ("", "p/long"), ("p/new", "p/new"), ("", "p/new")] {
        writer.tells(alias(topic, 4)).await;
        let publish = reader.hears().await;
        assert_eq!((&publish.topic[..], publish.properties), (heard.as_bytes(), None));
    }
    let mut another = Peer::connect(broker.port, "another").await;
    another.publish(alias("", 4)).await;
    assert_eq!(another.is_put_out().await, Reason::TopicAliasInvalid);
}

#[tokio::test]
async fn messages_expire() {
    let broker = Broker::start().await;
    let (mut reader, _) = Peer::enter(broker.port, "reader", Manner::lasting(100)).await;
    reader.subscribe([plain("e/#")], None).await;
    reader.leave().await;
    let mut writer = Peer::connect(broker.port, "writer").await;
    let lives = |topic: &str, seconds| {
        let properties = PublishProperties { message_expiry_interval: Some(seconds), ..Default::default() };
        with(retained(topic, topic), properties)
    };
    writer.tells(lives("e/short", 1)).await;
    writer.tells(lives("e/long", 100)).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    // 3.3.2-5, -6: gone, and what is left of its time.
    let (mut reader, _) = Peer::enter(broker.port, "reader", Manner::lasting(100)).await;
    let publish = reader.hears().await;
    let left = publish.properties.unwrap().message_expiry_interval.unwrap();
    assert!(publish.topic == "e/long" && (90..100).contains(&left), "{left}");
    let mut late = Peer::connect(broker.port, "late").await;
    late.subscribe([plain("e/#")], None).await;
    assert_eq!(late.hears().await.topic, "e/long", "retained ones expire too");
    assert!(late.silent().await && reader.silent().await);
}

#[tokio::test]
async fn options_of_a_subscription_are_kept_to() {
    let broker = Broker::start().await;
    let mut talker = Peer::connect(broker.port, "talker").await;
    // 3.8.3-3: No Local.
    talker.subscribe([Filter { nolocal: true, ..plain("n/#") }], None).await;
    talker.says("n/1", "mine").await;
    assert!(talker.silent().await);
    let mut other = Peer::connect(broker.port, "other").await;
    other.says("n/1", "another's").await;
    assert_eq!(talker.hears().await.payload, "another's");
    // 3.3.1-5, -8: retained; 3.3.1-9, -10, -11: sent at every, at a new, at no subscription.
    other.tells(retained("r/1", "kept")).await;
    let rule = |rule| Filter { retain_forward_rule: rule, ..plain("r/#") };
    let mut reader = Peer::connect(broker.port, "reader").await;
    for (how, heard) in [
        (RetainForwardRule::Never, false),
        (RetainForwardRule::OnNewSubscribe, false),
        (RetainForwardRule::OnEverySubscribe, true),
        (RetainForwardRule::OnEverySubscribe, true),
    ] {
        reader.subscribe([rule(how.clone())], None).await;
        assert_eq!(reader.silent().await, !heard, "{how:?}");
    }
    let mut fresh = Peer::connect(broker.port, "fresh").await;
    fresh.subscribe([rule(RetainForwardRule::OnNewSubscribe)], None).await;
    let publish = fresh.hears().await;
    assert!(publish.retain, "3.3.1-8");
    // 3.3.1-12, -13: Retain As Published.
    let mut asks = Peer::connect(broker.port, "asks").await;
    asks.subscribe([Filter { preserve_retain: true, ..plain("r/2") }], None).await;
    other.tells(retained("r/2", "x")).await;
    assert!(asks.hears().await.retain && !fresh.hears().await.retain);
    // 3.3.1-6, -7: an empty one clears.
    other.tells(retained("r/1", "")).await;
    let mut last = Peer::connect(broker.port, "last").await;
    last.subscribe([plain("r/1")], None).await;
    assert!(last.silent().await);
}

#[tokio::test]
async fn subscription_identifiers_come_with_what_they_bring() {
    let broker = Broker::start().await;
    let mut reader = Peer::connect(broker.port, "reader").await;
    reader.subscribe([Filter::new("i/#", AtMostOnce)], Some(7)).await;
    reader.subscribe([Filter::new("i/+", AtLeastOnce)], Some(200_000)).await;
    reader.subscribe([Filter::new("i/1", AtMostOnce)], None).await;
    let mut writer = Peer::connect(broker.port, "writer").await;
    writer.says("i/1", "x").await;
    // 3.3.4-3, -4, -5: each identifier, and together no more copies than subscriptions.
    let mut heard = Vec::new();
    for _ in 0..2 {
        let publish = reader.hears().await;
        heard.push((publish.properties.unwrap().subscription_identifiers, publish.qos));
    }
    heard.sort_by_key(|(identifiers, _)| identifiers.clone());
    assert_eq!(heard, [(vec![7], AtMostOnce), (vec![200_000], AtLeastOnce)]);
    assert!(reader.silent().await);
    // 3.8.4-3: subscribed again, the identifier is the new one's.
    reader.subscribe([Filter::new("i/#", AtMostOnce)], Some(8)).await;
    writer.says("i/2/3", "y").await;
    assert_eq!(reader.hears().await.properties.unwrap().subscription_identifiers, [8]);
    // Codes, one a filter: 3.8.4-5, -6; 3.11.3-1, -2.
    let codes = reader.subscribe([plain("a"), Filter::new("b", AtMostOnce)], None).await;
    assert_eq!(codes, [SubscribeReasonCode::Success(ExactlyOnce), SubscribeReasonCode::Success(AtMostOnce)]);
    let mut reader = Peer::connect(broker.port, "reader").await;
    reader.subscribe([plain("a")], None).await;
    let mut unsubscribe = Unsubscribe::new("a", None);
    unsubscribe.pkid = 3;
    unsubscribe.filters.push("never".into());
    reader.send(Packet::Unsubscribe(unsubscribe)).await;
    match reader.next().await {
        Some(Packet::UnsubAck(ack)) => {
            assert_eq!(ack.pkid, 3);
            assert_eq!(ack.reasons, [UnsubAckReason::Success, UnsubAckReason::NoSubscriptionExisted]);
        }
        other => panic!("an UNSUBACK, not {other:?}"),
    }
}

#[tokio::test]
async fn exactly_once_is_exactly_once_and_says_what_it_does_not_know() {
    let broker = Broker::start().await;
    let mut reader = Peer::connect(broker.port, "reader").await;
    reader.subscribe([plain("x/#")], None).await;
    let mut writer = Peer::connect(broker.port, "writer").await;
    let first = Publish { pkid: 9, ..message("x/1", ExactlyOnce, "once") };
    writer.publish(first.clone()).await;
    assert_eq!(writer.next().await, Some(Packet::PubRec(PubRec::new(9, None))));
    writer.publish(Publish { dup: true, ..first }).await;
    assert_eq!(writer.next().await, Some(Packet::PubRec(PubRec::new(9, None))), "4.3.3-10");
    writer.send(Packet::PubRel(PubRel::new(9, None))).await;
    assert_eq!(writer.next().await, Some(Packet::PubComp(PubComp::new(9, None))));
    writer.send(Packet::PubRel(PubRel::new(9, None))).await;
    match writer.next().await {
        Some(Packet::PubComp(ack)) => {
            assert_eq!(ack.reason, PubCompReason::PacketIdentifierNotFound, "3.7.2.1")
        }
        other => panic!("a PUBCOMP, not {other:?}"),
    }
    assert_eq!(reader.hears().await.payload, "once");
    assert!(reader.silent().await, "and not again");
    // 4.3.3-9: a refusal by the receiver ends it; what comes next has its place.
    let (mut narrow, _) = {
        let mut manner = Manner::default();
        manner.properties.receive_maximum = Some(1);
        Peer::enter(broker.port, "narrow", manner).await
    };
    narrow.subscribe([plain("x/#")], None).await;
    writer.says("x/2", "a").await;
    writer.publish(Publish { pkid: 10, ..message("x/2", ExactlyOnce, "b") }).await;
    let one = narrow.receives().await;
    // 3.3.4-9: no more on their way than the client takes.
    assert!(narrow.silent().await);
    narrow.send(Packet::PubAck(PubAck::new(one.pkid, None))).await;
    let two = narrow.receives().await;
    assert_eq!((two.qos, &two.payload[..]), (ExactlyOnce, &b"b"[..]));
    narrow.send(refuses(two.pkid)).await;
    writer.next().await;
    writer.says("x/3", "c").await;
    assert_eq!(narrow.hears().await.payload, "c");
}

#[tokio::test]
async fn limits_of_both_sides_are_kept_to() {
    let broker = Broker::start().await;
    // 3.1.2-24, -25: what is too long for the client is not sent, and does not stop what follows.
    let (mut small, _) = {
        let mut manner = Manner::default();
        manner.properties.max_packet_size = Some(100);
        Peer::enter(broker.port, "small", manner).await
    };
    small.subscribe([plain("l/#")], None).await;
    let mut writer = Peer::connect(broker.port, "writer").await;
    writer.says("l/1", &"x".repeat(200)).await;
    writer.says("l/1", "fits").await;
    assert_eq!(small.hears().await.payload, "fits");
    // 3.3.4-7: more unreleased QoS 2 publishes than offered.
    let (mut greedy, answer) = Peer::enter(broker.port, "greedy", Manner::default()).await;
    let most = answer.properties.unwrap().receive_max.unwrap();
    for pkid in 1..=most + 1 {
        greedy.publish(Publish { pkid, ..message("g", ExactlyOnce, "x") }).await;
    }
    assert_eq!(greedy.is_put_out().await, Reason::ReceiveMaximumExceeded);
}

#[tokio::test]
async fn a_group_shares_what_it_subscribed_to() {
    let broker = Broker::start().await;
    let mut writer = Peer::connect(broker.port, "writer").await;
    writer.tells(retained("w/0", "old")).await;
    let mut members = [Peer::connect(broker.port, "m0").await, Peer::connect(broker.port, "m1").await];
    for member in &mut members {
        assert_eq!(
            member.subscribe([plain("$share/group/w/+")], None).await,
            [SubscribeReasonCode::Success(ExactlyOnce)]
        );
        assert!(member.silent().await, "3.3.1.3: no retained messages");
    }
    let mut alone = Peer::connect(broker.port, "alone").await;
    alone.subscribe([plain("w/1"), plain("$share/other/w/1")], None).await;
    for number in 0..10 {
        writer.says("w/1", &number.to_string()).await;
    }
    // 4.8.2: each message goes to one of the group.
    let mut shared = Vec::new();
    for member in &mut members {
        for _ in 0..5 {
            shared.push(String::from_utf8(member.hears().await.payload.to_vec()).unwrap());
        }
        assert!(member.silent().await);
    }
    shared.sort();
    assert_eq!(shared, (0..10).map(|number| number.to_string()).collect::<Vec<_>>());
    for _ in 0..20 {
        alone.hears().await;
    }
    // Who goes leaves its part to the others, what it did not acknowledge included (4.8.2-5 is about QoS 2).
    let [mut stays, mut goes] = members;
    writer.says("w/2", "a").await;
    writer.says("w/2", "b").await;
    let unsettled = goes.receives().await;
    drop(goes);
    let mut heard = vec![stays.hears().await.payload, stays.hears().await.payload];
    heard.sort();
    assert_eq!(heard, ["a", "b"], "{unsettled:?}");
    writer.says("w/3", "c").await;
    assert_eq!(stays.hears().await.payload, "c");
}
