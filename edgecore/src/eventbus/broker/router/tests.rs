use std::time::Duration;

use bytes::Bytes;
use mqtt_proto::v5::SubscriptionOptions;
use mqtt_proto::{QoS, TopicName};

use super::{Attached, Hello, Router, Will};
use crate::eventbus::broker::filter::Filter;
use crate::eventbus::broker::journal::Change;
use crate::eventbus::broker::message::Message;
use crate::eventbus::broker::session::Subscription;
use crate::eventbus::broker::store::Restored;
use crate::eventbus::broker::{Limits, translate};

/// A router whose changes nobody writes.
fn stuck() -> Router {
    let router = Router::new(Limits::default());
    router.restore(Restored::default());
    router.not_written();
    router
}

#[tokio::test]
async fn of_our_own_retained_notices_the_newest_of_each_topic_waits_for_the_disk() {
    let router = stuck();
    for number in 0..20_000 {
        let payload = Bytes::from(format!("{number}"));
        router.publish(&format!("twin/{}", number % 10), &payload, QoS::Level1, true);
    }
    assert!(router.has_room().await, "clients may still publish");
    let batch = router.changes().await;
    assert_eq!(batch.changes.len(), 10);
    assert!(batch.changes.iter().all(|change| matches!(change, Change::Retained { packet, .. } if {
        let text = String::from_utf8_lossy(packet);
        text.contains("1999")
    })));
}

fn attach(router: &Router, id: &str, expiry: u32, will: Option<Will>) -> Attached {
    router.attach(Hello { id, user: None, clean: false, expiry, will }).unwrap()
}

#[tokio::test]
async fn what_waits_of_a_will_and_that_it_was_said_is_in_one_commit() {
    let router = stuck();
    let watcher = attach(&router, "watcher", translate::FOREVER, None);
    let subscription = Subscription {
        text: "will".into(),
        filter: Filter::new("will").unwrap(),
        shared: false,
        options: SubscriptionOptions::new(QoS::Level1),
        identifier: None,
    };
    router.subscribe(&watcher, vec![Ok(subscription)]);
    let topic = TopicName::try_from("will").unwrap();
    let message = Message::new(topic, Bytes::from_static(b"gone"), QoS::Level1, false);
    let mortal = attach(&router, "mortal", 0, Some(Will { message, delay: Duration::ZERO }));
    let [will] = &router.detach(&mortal)[..] else { panic!("one will") };
    router.changes().await;
    router.say(will);
    let said = router.changes().await.changes;
    assert!(matches!(said[..], [Change::Queued { .. }, Change::WillSaid { .. }]), "{said:?}");
    router.spoken(will.number, true);
    let over = router.changes().await.changes;
    assert!(matches!(over[..], [Change::WillOver { .. }]), "{over:?}");
}
