use bytes::Bytes;
use mqtt_proto::QoS;

use super::Router;
use crate::eventbus::broker::Limits;
use crate::eventbus::broker::journal::Change;
use crate::eventbus::broker::store::Restored;

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
