//! What is to be said when a client is gone is said, although the power went before or with it.

use std::time::{Duration, SystemTime};

use rumqttc::v5::mqttbytes::QoS::{self, AtLeastOnce, ExactlyOnce};
use rumqttc::v5::mqttbytes::v5::{Filter, LastWill, LastWillProperties};

use crate::broker::Broker;
use crate::peer::{Manner, Peer};

const WEEK: u32 = 7 * 86_400;

fn all() -> [Filter; 1] {
    [Filter::new("will/+", ExactlyOnce)]
}

/// Who leaves a will that waits for `delay` seconds, and a session that lasts for `expiry`.
fn mortal(id: &str, delay: u32, expiry: u32) -> Manner {
    let properties = LastWillProperties {
        delay_interval: (delay > 0).then_some(delay),
        payload_format_indicator: None,
        message_expiry_interval: Some(60),
        content_type: Some("text/plain".into()),
        response_topic: None,
        correlation_data: None,
        user_properties: Vec::new(),
    };
    let will = LastWill::new(format!("will/{id}"), "gone", AtLeastOnce, false, Some(properties));
    Manner { will: Some(will), clean: expiry == 0, ..Manner::lasting(expiry) }
}

/// The wills that come until it is silent, sorted.
async fn heard(watcher: &mut Peer, count: usize) -> Vec<String> {
    let mut topics = Vec::new();
    for _ in 0..count {
        let said = watcher.hears().await;
        assert_eq!(said.properties.unwrap().content_type.as_deref(), Some("text/plain"));
        topics.push(String::from_utf8(said.topic.to_vec()).unwrap());
    }
    topics.sort();
    topics
}

#[tokio::test]
async fn wills_of_those_whom_the_power_took_are_spoken_after_the_restart_and_once() {
    let mut broker = Broker::start().await;
    let (mut watcher, _) = Peer::enter(broker.port, "watcher", Manner::lasting(WEEK)).await;
    watcher.subscribe(all(), None).await;
    // Connected when the power goes: with a session that ends with that, one that lasts, one whose will waits.
    let (_brief, _) = Peer::enter(broker.port, "brief", mortal("brief", 50, 0)).await;
    let (_lasting, _) = Peer::enter(broker.port, "lasting", mortal("lasting", 0, WEEK)).await;
    let (_waits, _) = Peer::enter(broker.port, "waits", mortal("waits", 3, WEEK)).await;
    let (_back, _) = Peer::enter(broker.port, "back", mortal("back", 3, WEEK)).await;
    let (polite, _) = Peer::enter(broker.port, "polite", mortal("polite", 0, WEEK)).await;
    polite.leave().await;
    // Who has another will by now has not the first.
    drop(Peer::enter(broker.port, "again", mortal("first", 60, WEEK)).await);
    let (_again, _) = Peer::enter(broker.port, "again", mortal("second", 0, WEEK)).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    broker.kill();
    broker.up().await;
    let since = SystemTime::now();
    let (mut watcher, answer) = Peer::enter(broker.port, "watcher", Manner::lasting(WEEK)).await;
    assert!(answer.session_present);
    let (_back, answer) = Peer::enter(broker.port, "back", Manner::lasting(WEEK)).await;
    assert!(answer.session_present);
    assert_eq!(heard(&mut watcher, 3).await, ["will/brief", "will/lasting", "will/second"]);
    assert_eq!(heard(&mut watcher, 1).await, ["will/waits"]);
    // The door opens a moment after the broker has begun to count.
    assert!(since.elapsed().unwrap() >= Duration::from_secs(2), "its delay begins with the restart");
    tokio::time::sleep(Duration::from_millis(500)).await;
    broker.kill();
    broker.up().await;
    let (mut watcher, _) = Peer::enter(broker.port, "watcher", Manner::lasting(WEEK)).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(watcher.silent().await, "what was said stays said");
}

#[tokio::test]
async fn a_delay_goes_on_while_the_power_is_off() {
    let mut broker = Broker::start().await;
    let (mut watcher, _) = Peer::enter(broker.port, "watcher", Manner::lasting(WEEK)).await;
    watcher.subscribe(all(), None).await;
    drop(Peer::enter(broker.port, "late", mortal("late", 5, WEEK)).await);
    let gone = SystemTime::now();
    drop(Peer::enter(broker.port, "back", mortal("back", 5, WEEK)).await);
    // The session ends before the delay, and the will is said then.
    drop(Peer::enter(broker.port, "ended", mortal("ended", 60, 1)).await);
    tokio::time::sleep(Duration::from_millis(500)).await;
    broker.kill();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    broker.up().await;
    let (mut watcher, _) = Peer::enter(broker.port, "watcher", Manner::lasting(WEEK)).await;
    let (_back, answer) = Peer::enter(broker.port, "back", Manner::lasting(WEEK)).await;
    assert!(answer.session_present);
    assert_eq!(heard(&mut watcher, 1).await, ["will/ended"]);
    assert_eq!(heard(&mut watcher, 1).await, ["will/late"]);
    let waited = gone.elapsed().unwrap();
    assert!(waited >= Duration::from_secs(5), "{waited:?} after the connection's end");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(watcher.silent().await, "no will of who came back in time");
}

#[tokio::test]
async fn a_will_lives_from_when_it_is_spoken() {
    let broker = Broker::start().await;
    let mut watcher = Peer::connect(broker.port, "watcher").await;
    watcher.subscribe(all(), None).await;
    let mut manner = mortal("short", 2, WEEK);
    let properties = manner.will.as_mut().and_then(|will| will.properties.as_mut()).unwrap();
    properties.message_expiry_interval = Some(1);
    drop(Peer::enter(broker.port, "short", manner).await);
    let said = watcher.hears().await;
    assert_eq!(said.properties.unwrap().message_expiry_interval, Some(1));
}

#[tokio::test]
async fn a_full_disk_keeps_nobody_out_who_has_a_will_and_nothing_that_lasts() {
    let (mut broker, disk) = Broker::on_small_disk().await;
    let (mut watcher, _) = Peer::enter(broker.port, "watcher", Manner::lasting(WEEK)).await;
    watcher.subscribe([Filter::new("will/+", QoS::AtMostOnce)], None).await;
    let (mut later, _) = Peer::enter(broker.port, "later", Manner::lasting(WEEK)).await;
    later.subscribe(all(), None).await;
    later.leave().await;
    disk.fill();
    let (first, _) = Peer::enter(broker.port, "first", mortal("first", 0, 0)).await;
    drop(first);
    assert_eq!(heard(&mut watcher, 1).await, ["will/first"]);
    let (_second, _) = Peer::enter(broker.port, "second", mortal("second", 0, 0)).await;
    disk.empty();
    // As soon as the disk takes it, it is there for the day when the power goes.
    tokio::time::sleep(Duration::from_secs(3)).await;
    broker.kill();
    broker.up().await;
    let (mut later, _) = Peer::enter(broker.port, "later", Manner::lasting(WEEK)).await;
    assert_eq!(heard(&mut later, 2).await, ["will/first", "will/second"]);
    broker.kill();
}
