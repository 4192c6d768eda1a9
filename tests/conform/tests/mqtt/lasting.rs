//! What the broker has acknowledged is there after kill -9: sessions, subscriptions, messages on their way, retained ones.

use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS::{AtLeastOnce, AtMostOnce, ExactlyOnce};
use rumqttc::v5::mqttbytes::v5::{Filter, Packet, PubComp, PubRec, PubRel, Publish};

use crate::broker::Broker;
use crate::peer::{Manner, Peer, message, retained};

const WEEK: u32 = 7 * 86_400;

fn everything(path: &str) -> Filter {
    Filter::new(path, ExactlyOnce)
}

#[tokio::test]
async fn what_was_acknowledged_survives_the_power() {
    let mut broker = Broker::start().await;
    let (mut reader, _) = Peer::enter(broker.port, "reader", Manner::lasting(WEEK)).await;
    reader.subscribe([everything("night/#")], Some(5)).await;
    let mut writer = Peer::connect(broker.port, "writer").await;
    writer.says("night/1", "unsettled").await;
    let first = reader.receives().await;
    writer.tells(retained("kept/1", "old")).await;
    writer.tells(retained("kept/1", "new")).await;
    writer.tells(retained("kept/2", "cleared")).await;
    writer.tells(retained("kept/2", "")).await;
    writer.publish(message("night/2", AtMostOnce, "may be lost")).await;
    for number in 0..50 {
        writer.says("night/3", &number.to_string()).await;
    }
    broker.kill();
    broker.up().await;
    let (mut reader, answer) = Peer::enter(broker.port, "reader", Manner::lasting(WEEK)).await;
    assert!(answer.session_present);
    let again = reader.hears().await;
    assert_eq!((again.pkid, again.dup, &again.payload[..]), (first.pkid, true, &b"unsettled"[..]));
    for number in 0..50 {
        let publish = reader.hears().await;
        if publish.topic == "night/2" {
            continue;
        }
        assert_eq!(publish.payload, number.to_string());
        assert_eq!(publish.properties.unwrap().subscription_identifiers, [5]);
    }
    // The subscription is there without another SUBSCRIBE.
    let mut writer = Peer::connect(broker.port, "writer").await;
    writer.says("night/4", "after").await;
    assert_eq!(reader.hears().await.payload, "after");
    let mut late = Peer::connect(broker.port, "late").await;
    late.subscribe([everything("kept/#")], None).await;
    assert_eq!(late.hears().await.payload, "new");
    assert!(late.silent().await && reader.silent().await);
    // What is settled stays settled.
    tokio::time::sleep(Duration::from_millis(300)).await;
    broker.kill();
    broker.up().await;
    let (mut reader, answer) = Peer::enter(broker.port, "reader", Manner::lasting(WEEK)).await;
    assert!(answer.session_present && reader.silent().await);
}

#[tokio::test]
async fn exactly_once_is_exactly_once_through_the_loss_of_power() {
    let mut broker = Broker::start().await;
    let (mut reader, _) = Peer::enter(broker.port, "reader", Manner::lasting(WEEK)).await;
    reader.subscribe([everything("x/#")], None).await;
    let (mut writer, _) = Peer::enter(broker.port, "writer", Manner::lasting(WEEK)).await;
    let first = Publish { pkid: 3, ..message("x/1", ExactlyOnce, "once") };
    writer.publish(first.clone()).await;
    assert_eq!(writer.next().await, Some(Packet::PubRec(PubRec::new(3, None))));
    let heard = reader.receives().await;
    broker.kill();
    broker.up().await;
    // The writer does not know whether its message came: it says it again, and it is a repetition.
    let (mut writer, answer) = Peer::enter(broker.port, "writer", Manner::lasting(WEEK)).await;
    assert!(answer.session_present);
    writer.publish(Publish { dup: true, ..first }).await;
    assert_eq!(writer.next().await, Some(Packet::PubRec(PubRec::new(3, None))));
    writer.send(Packet::PubRel(PubRel::new(3, None))).await;
    assert_eq!(writer.next().await, Some(Packet::PubComp(PubComp::new(3, None))));
    // The reader had it: the same identifier tells it so.
    let (mut reader, _) = Peer::enter(broker.port, "reader", Manner::lasting(WEEK)).await;
    let again = reader.receives().await;
    assert_eq!((again.pkid, again.dup), (heard.pkid, true));
    reader.send(Packet::PubRec(PubRec::new(again.pkid, None))).await;
    assert_eq!(reader.next().await, Some(Packet::PubRel(PubRel::new(again.pkid, None))));
    broker.kill();
    broker.up().await;
    // It is released: the message itself does not come again, the PUBREL does (4.4.0-1).
    let (mut reader, _) = Peer::enter(broker.port, "reader", Manner::lasting(WEEK)).await;
    assert_eq!(reader.next().await, Some(Packet::PubRel(PubRel::new(again.pkid, None))));
    reader.send(Packet::PubComp(PubComp::new(again.pkid, None))).await;
    assert!(reader.silent().await);
    // The writer's identifier is free again: another message under it is another message.
    let (mut writer, _) = Peer::enter(broker.port, "writer", Manner::lasting(WEEK)).await;
    writer.publish(Publish { pkid: 3, ..message("x/1", ExactlyOnce, "another") }).await;
    assert_eq!(writer.next().await, Some(Packet::PubRec(PubRec::new(3, None))));
    assert_eq!(reader.hears().await.payload, "another");
}

#[tokio::test]
async fn sessions_end_in_their_time_although_the_power_was_off() {
    let mut broker = Broker::start().await;
    let (mut brief, _) = Peer::enter(broker.port, "brief", Manner::lasting(1)).await;
    brief.subscribe([everything("b/#")], None).await;
    let (mut lasting, _) = Peer::enter(broker.port, "lasting", Manner::lasting(WEEK)).await;
    lasting.subscribe([everything("$share/g/b/#")], None).await;
    brief.leave().await;
    lasting.leave().await;
    // Nobody waits for the time of leaving: without it the session's time would begin with the restart.
    tokio::time::sleep(Duration::from_millis(300)).await;
    broker.kill();
    tokio::time::sleep(Duration::from_millis(1200)).await;
    broker.up().await;
    let (_, answer) = Peer::enter(broker.port, "brief", Manner::lasting(1)).await;
    assert!(!answer.session_present);
    let mut writer = Peer::connect(broker.port, "writer").await;
    writer.says("b/1", "shared").await;
    let (mut lasting, answer) = Peer::enter(broker.port, "lasting", Manner::lasting(WEEK)).await;
    assert!(answer.session_present, "a shared subscription lasts as any");
    assert_eq!(lasting.hears().await.payload, "shared");
}

/// A ledger of its own says what must arrive: whatever was acknowledged, whenever the power went.
#[tokio::test]
async fn no_acknowledged_message_is_lost_in_a_storm_of_kills() {
    let mut broker = Broker::with(|_, port, _| {
        serde_json::json!({"mqttServerInternal": format!("tcp://127.0.0.1:{port}"), "mqttSessionQueueSize": 100_000})
    })
    .await;
    let (mut reader, _) = Peer::enter(broker.port, "reader", Manner::lasting(WEEK)).await;
    reader.subscribe([everything("storm")], None).await;
    reader.leave().await;
    let mut acknowledged = Vec::new();
    let mut number = 0u32;
    for round in 0..12u64 {
        let mut writer = Peer::connect(broker.port, "writer").await;
        let pause = Duration::from_millis(20 + 37 * (round % 5));
        let storm = async {
            loop {
                number += 1;
                let pkid = u16::try_from(number % 60_000 + 1).unwrap();
                let qos = if number.is_multiple_of(3) { ExactlyOnce } else { AtLeastOnce };
                writer.publish(Publish { pkid, ..message("storm", qos, &number.to_string()) }).await;
                match writer.next().await {
                    Some(Packet::PubAck(_)) => acknowledged.push(number),
                    Some(Packet::PubRec(_)) => {
                        acknowledged.push(number);
                        writer.send(Packet::PubRel(PubRel::new(pkid, None))).await;
                        if writer.next().await.is_none() {
                            return;
                        }
                    }
                    _ => return,
                }
            }
        };
        let _ = tokio::time::timeout(pause, storm).await;
        broker.kill();
        broker.up().await;
    }
    let (mut reader, answer) = Peer::enter(broker.port, "reader", Manner::lasting(WEEK)).await;
    assert!(answer.session_present);
    let heard: Vec<u32> = reader.hears_all().await.iter().map(|number| number.parse().unwrap()).collect();
    let missing: Vec<_> = acknowledged.iter().filter(|number| !heard.contains(*number)).collect();
    assert!(missing.is_empty(), "of {} acknowledged, {missing:?} never came", acknowledged.len());
    assert!(acknowledged.len() > 50, "a storm, not {}", acknowledged.len());
    let mut once = heard.clone();
    once.dedup();
    assert_eq!(once.len(), heard.len(), "each once: the writer repeated nothing");
}

#[tokio::test]
async fn a_full_disk_holds_answers_back_and_nothing_else() {
    let (mut broker, disk) = Broker::on_small_disk().await;
    let (mut lasting, _) = Peer::enter(broker.port, "lasting", Manner::lasting(WEEK)).await;
    lasting.subscribe([everything("full/#")], None).await;
    lasting.leave().await;
    let mut reader = Peer::connect(broker.port, "reader").await;
    reader.subscribe([everything("#")], None).await;
    let mut writer = Peer::connect(broker.port, "writer").await;
    disk.fill();
    for (pkid, qos) in [(1, AtLeastOnce), (2, ExactlyOnce)] {
        writer.publish(Publish { pkid, ..message("full/1", qos, &pkid.to_string()) }).await;
        assert_eq!(reader.hears().await.payload, pkid.to_string());
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(writer.silent().await, "not on disk, not acknowledged");
    // Who needs no disk does not wait for it.
    let mut other = Peer::connect(broker.port, "other").await;
    other.says("free/1", "x").await;
    assert_eq!(reader.hears().await.payload, "x");
    broker.says("cannot be stored").await;
    disk.empty();
    assert!(matches!(writer.next().await, Some(Packet::PubAck(ack)) if ack.pkid == 1));
    assert_eq!(writer.next().await, Some(Packet::PubRec(PubRec::new(2, None))));
    broker.kill();
    broker.up().await;
    let (mut lasting, _) = Peer::enter(broker.port, "lasting", Manner::lasting(WEEK)).await;
    let heard = lasting.hears_all().await;
    assert_eq!(heard, ["1", "2"], "{}", broker.log());
    broker.kill();
}
