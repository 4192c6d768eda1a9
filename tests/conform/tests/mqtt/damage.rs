//! A file that is damaged while the broker runs costs nothing: it is written anew from what the broker knows.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS::{AtLeastOnce, ExactlyOnce};
use rumqttc::v5::mqttbytes::v5::{Filter, LastWill, Packet, PubComp, PubRec, PubRel, Publish};

use crate::broker::Broker;
use crate::peer::{Manner, Peer, message, retained};

const WEEK: u32 = 7 * 86_400;
/// Too many for SQLite to hold them all in memory, so that it sees what became of the file.
const RETAINED: usize = 100;

fn long(number: usize, how: &str) -> String {
    format!("{how} {number} {}", "x".repeat(8000))
}

/// Leaves nothing of it but its first page.
fn damage(file: &Path) {
    let file_length = std::fs::metadata(file).unwrap().len();
    let file = File::options().write(true).open(file).unwrap();
    for at in (4096..file_length).step_by(4096) {
        file.write_all_at(&[0x5a; 4096], at).unwrap();
    }
}

#[tokio::test]
async fn a_file_that_is_damaged_while_the_broker_runs_is_written_anew() {
    let mut broker = Broker::start().await;
    let (mut reader, _) = Peer::enter(broker.port, "reader", Manner::lasting(WEEK)).await;
    let filter = Filter::new("night/#", ExactlyOnce);
    reader.subscribe([filter.clone(), Filter::new("$share/g/shared", AtLeastOnce)], Some(5)).await;
    let (mut writer, _) = Peer::enter(broker.port, "writer", Manner::lasting(WEEK)).await;
    writer.publish(Publish { pkid: 40, ..message("night/1", ExactlyOnce, "released") }).await;
    assert_eq!(writer.next().await, Some(Packet::PubRec(PubRec::new(40, None))));
    let released = reader.receives().await.pkid;
    reader.send(Packet::PubRec(PubRec::new(released, None))).await;
    assert_eq!(reader.next().await, Some(Packet::PubRel(PubRel::new(released, None))));
    writer.says("night/2", "unsettled").await;
    let unsettled = reader.receives().await.pkid;
    drop(reader);
    for number in 0..RETAINED {
        writer.tells(retained(&format!("kept/{number}"), &long(number, "old"))).await;
    }
    writer.says("night/3", "waits").await;
    let will = LastWill::new("night/will", "gone", AtLeastOnce, false, None);
    let manner = Manner { will: Some(will), ..Manner::lasting(WEEK) };
    let (_mortal, _) = Peer::enter(broker.port, "mortal", manner).await;

    damage(&broker.path("mqtt.db"));
    damage(&broker.path("mqtt.db-wal"));
    // Whatever the damage hits: it is acknowledged when it is on disk, and no one is put out.
    for number in 0..RETAINED {
        writer.tells(retained(&format!("kept/{number}"), &long(number, "new"))).await;
    }
    broker.says("mqtt.db is written anew").await;
    assert!(broker.log().contains("moved it aside"), "{}", broker.log());
    writer.says("shared", "after").await;

    broker.kill();
    broker.up().await;
    let (mut reader, answer) = Peer::enter(broker.port, "reader", Manner::lasting(WEEK)).await;
    assert!(answer.session_present, "{}", broker.log());
    assert_eq!(reader.next().await, Some(Packet::PubRel(PubRel::new(released, None))));
    let again = reader.receives().await;
    assert_eq!((again.pkid, &again.payload[..]), (unsettled, &b"unsettled"[..]));
    assert_eq!(again.properties.unwrap().subscription_identifiers, [5]);
    reader.send(Packet::PubComp(PubComp::new(released, None))).await;
    reader.send(Packet::PubAck(rumqttc::v5::mqttbytes::v5::PubAck::new(unsettled, None))).await;
    for payload in ["waits", "after", "gone"] {
        assert_eq!(reader.hears().await.payload, payload);
    }
    // The writer's QoS 2 message is a repetition.
    let (mut writer, answer) = Peer::enter(broker.port, "writer", Manner::lasting(WEEK)).await;
    assert!(answer.session_present);
    writer.publish(Publish { pkid: 40, dup: true, ..message("night/1", ExactlyOnce, "released") }).await;
    assert_eq!(writer.next().await, Some(Packet::PubRec(PubRec::new(40, None))));
    writer.send(Packet::PubRel(PubRel::new(40, None))).await;
    assert_eq!(writer.next().await, Some(Packet::PubComp(PubComp::new(40, None))));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(reader.silent().await);
    let mut late = Peer::connect(broker.port, "late").await;
    late.subscribe([Filter::new("kept/#", AtLeastOnce)], None).await;
    let mut heard = Vec::new();
    for _ in 0..RETAINED {
        heard.push(String::from_utf8(late.hears().await.payload.to_vec()).unwrap());
    }
    heard.sort();
    let mut expected: Vec<_> = (0..RETAINED).map(|number| long(number, "new")).collect();
    expected.sort();
    assert!(heard == expected, "retained messages, the newest of each");
}
