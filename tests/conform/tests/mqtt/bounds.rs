//! What the broker refuses so that it does not grow without end, and in which words.

use rumqttc::v5::mqttbytes::QoS::AtLeastOnce;
use rumqttc::v5::mqttbytes::v5::{
    ConnectReturnCode, DisconnectReasonCode, Filter, Packet, Subscribe, SubscribeReasonCode, Unsubscribe,
};

use crate::broker::Broker;
use crate::peer::{Manner, Peer};

const WEEK: u32 = 7 * 86_400;

fn plain(path: &str) -> Filter {
    Filter::new(path, AtLeastOnce)
}

#[tokio::test]
async fn subscriptions_without_end_are_refused_while_the_disk_takes_nothing() {
    let (mut broker, disk) = Broker::on_small_disk().await;
    let (mut other, _) = Peer::enter(broker.port, "other", Manner::lasting(WEEK)).await;
    other.subscribe([plain("other")], None).await;
    let (eager, _) = Peer::enter(broker.port, "eager", Manner::lasting(WEEK)).await;
    eager.leave().await;
    disk.fill();
    // Its session is on disk, so it comes in; what it asks for waits. Who does not wait for the answers asks again.
    let refused = loop {
        let (mut eager, answer) = Peer::try_enter(broker.port, "eager", Manner::lasting(WEEK)).await;
        if answer.code != ConnectReturnCode::Success {
            break answer;
        }
        for _ in 0..1000 {
            let mut subscribe = Subscribe::new_many([plain("again")], None);
            subscribe.pkid = 9;
            eager.send(Packet::Subscribe(subscribe)).await;
        }
        assert!(eager.silent().await, "not on disk, not answered");
    };
    assert_eq!(refused.code, ConnectReturnCode::ServerUnavailable);
    assert!(refused.properties.unwrap().reason_string.unwrap().contains("the disk takes nothing"));
    assert_eq!(other.subscribe([plain("more")], None).await, [SubscribeReasonCode::QuotaExceeded]);
    let mut unsubscribe = Unsubscribe::new("other", None);
    unsubscribe.pkid = 5;
    other.send(Packet::Unsubscribe(unsubscribe)).await;
    assert_eq!(other.is_put_out().await, DisconnectReasonCode::ImplementationSpecificError);
    // Who needs no disk is served.
    let mut free = Peer::connect(broker.port, "free").await;
    assert_eq!(free.subscribe([plain("free")], None).await, [SubscribeReasonCode::Success(AtLeastOnce)]);
    disk.empty();
    let mut eager = loop {
        let (eager, answer) = Peer::try_enter(broker.port, "eager", Manner::lasting(WEEK)).await;
        match answer.code {
            ConnectReturnCode::Success => break eager,
            code => assert_eq!(code, ConnectReturnCode::ServerUnavailable),
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    };
    eager.subscribe([plain("at last")], None).await;
    broker.kill();
}
