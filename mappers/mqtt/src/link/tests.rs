//! A link at the end of a socket, and what a broker sees of it, byte by byte.

use std::time::Duration;

use mapper::{Kind, Property};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::*;

const LIMIT: Duration = Duration::from_secs(10);
const PUBACK: u8 = 0x40;
const PUBREC: u8 = 0x50;
const PUBCOMP: u8 = 0x70;

/// The broker's end.
struct Broker(TcpStream);

impl Broker {
    async fn publish(&mut self, qos: u8, id: u16, topic: &str, payload: &str) {
        let mut body = Vec::from(u16::try_from(topic.len()).unwrap().to_be_bytes());
        body.extend(topic.as_bytes());
        if qos > 0 {
            body.extend(id.to_be_bytes());
        }
        body.extend(payload.as_bytes());
        let head = [0x30 | qos << 1, u8::try_from(body.len()).unwrap()];
        self.0.write_all(&[&head, &*body].concat()).await.unwrap();
    }

    /// The next packet: its first byte and its body. None of those here is longer than 127 bytes.
    async fn packet(&mut self) -> (u8, Vec<u8>) {
        let next = async {
            let mut head = [0; 2];
            self.0.read_exact(&mut head).await.unwrap();
            let mut body = vec![0; usize::from(head[1])];
            self.0.read_exact(&mut body).await.unwrap();
            (head[0], body)
        };
        timeout(LIMIT, next).await.expect("the mapper says something")
    }

    /// The kind and the identifier of the next packet.
    async fn answer(&mut self) -> (u8, u16) {
        let (kind, body) = self.packet().await;
        (kind, u16::from_be_bytes([body[0], body[1]]))
    }
}

fn device(port: u16) -> Device {
    let config = |config: serde_json::Value| Config::new(config.as_object().unwrap().clone());
    let property = |name: &str, topic: &str| {
        Property::of(name, Kind::Float, config(json!({"topic": topic, "path": format!("$.{name}")})))
    };
    let mut unread = property("unread", "u");
    unread.report = false;
    Device {
        namespace: "default".into(),
        name: "room".into(),
        config: config(json!({"server": format!("tcp://127.0.0.1:{port}"), "clientID": "r"})),
        properties: vec![property("t", "a"), property("h", "a"), property("b", "b"), unread],
        state_cycle: None,
    }
}

/// Connected, with all of the subscriptions.
async fn linked() -> (Link, Broker) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let device = device(listener.local_addr().unwrap().port());
    let accepted = async {
        let mut broker = Broker(listener.accept().await.unwrap().0);
        assert_eq!(broker.packet().await.0, 0x10);
        broker.0.write_all(&[0x20, 2, 1, 0]).await.unwrap();
        for _ in ["a", "b", "u"] {
            let (kind, body) = broker.packet().await;
            assert_eq!(kind, 0x82);
            broker.0.write_all(&[0x90, 3, body[0], body[1], 1]).await.unwrap();
        }
        broker
    };
    let server = Server::of(&device).unwrap();
    let (link, broker) = tokio::join!(Link::open(&server, &device), accepted);
    (link.unwrap(), broker)
}

/// What is new of the property, as soon as there is something.
async fn next(link: &mut Link, property: &str) -> (String, Option<Receipt>) {
    let next = async {
        loop {
            if let Some(value) = link.take(property).unwrap() {
                return (value, link.receipt());
            }
            link.news().await;
        }
    };
    timeout(LIMIT, next).await.expect("there is a value")
}

/// As the mapper does when edgecore has the value.
fn give(receipt: Option<Receipt>) {
    receipt.expect("the broker keeps the message").give();
}

#[tokio::test]
async fn a_message_is_acknowledged_when_all_of_its_values_are_received_and_those_before_it_are() {
    let (mut link, mut broker) = linked().await;
    broker.publish(1, 7, "a", r#"{"t": 21, "h": 40}"#).await;
    broker.publish(1, 3, "b", r#"{"b": 97}"#).await;
    let (b, of_b) = next(&mut link, "b").await;
    assert_eq!(b, "97");
    let (_, of_t) = next(&mut link, "t").await;
    let (_, of_h) = next(&mut link, "h").await;
    // The later one first: it waits for the earlier one, of which one value is not enough.
    give(of_b);
    give(of_t);
    assert!(link.shared.ledger.next().is_none(), "nothing is to be acknowledged yet");
    give(of_h);
    assert_eq!(broker.answer().await, (PUBACK, 7));
    assert_eq!(broker.answer().await, (PUBACK, 3));
}

#[tokio::test]
async fn a_message_whose_values_newer_ones_have_is_acknowledged_before_edgecore_has_any() {
    let (mut link, mut broker) = linked().await;
    broker.publish(1, 1, "a", r#"{"t": 21, "h": 40}"#).await;
    // Half of it is not enough.
    broker.publish(1, 2, "a", r#"{"t": 22}"#).await;
    broker.publish(1, 3, "a", r#"{"t": 23, "h": 41}"#).await;
    assert_eq!(broker.answer().await, (PUBACK, 1));
    assert_eq!(broker.answer().await, (PUBACK, 2));
    let ((t, of_t), (h, of_h)) = (next(&mut link, "t").await, next(&mut link, "h").await);
    assert_eq!((t.as_str(), h.as_str()), ("23", "41"));
    give(of_t);
    give(of_h);
    assert_eq!(broker.answer().await, (PUBACK, 3));
}

#[tokio::test]
async fn a_message_is_kept_while_what_is_newer_is_not_kept_by_the_broker() {
    let (mut link, mut broker) = linked().await;
    broker.publish(1, 1, "b", r#"{"b": 97}"#).await;
    broker.publish(0, 0, "b", r#"{"b": 96}"#).await;
    // Read one after the other, so that both have come.
    broker.publish(1, 2, "a", r#"{"t": 21}"#).await;
    let (_, of_t) = next(&mut link, "t").await;
    give(of_t);
    assert!(link.shared.ledger.next().is_none(), "97 is the newest that could come again");
    let (b, of_b) = next(&mut link, "b").await;
    assert_eq!(b, "96");
    give(of_b);
    assert_eq!(broker.answer().await, (PUBACK, 1));
    assert_eq!(broker.answer().await, (PUBACK, 2));
}

#[tokio::test]
async fn a_message_that_is_of_no_use_is_acknowledged_at_once_and_takes_no_value_away() {
    let (mut link, mut broker) = linked().await;
    for (id, topic) in [(1, "a"), (2, "nobody's"), (3, "u")] {
        broker.publish(1, id, topic, "hot").await;
        assert_eq!(broker.answer().await, (PUBACK, id));
    }
    link.take("t").unwrap_err();
    broker.publish(1, 4, "b", r#"{"b": 97}"#).await;
    broker.publish(1, 5, "b", "hot").await;
    broker.publish(1, 6, "a", r#"{"t": 21}"#).await;
    next(&mut link, "t").await;
    let (b, of_b) = next(&mut link, "b").await;
    assert_eq!(b, "97");
    let said = link.take("b").unwrap_err().to_string();
    assert!(said.starts_with("the payload is no JSON"), "{said}");
    give(of_b);
    assert_eq!(broker.answer().await, (PUBACK, 4));
    assert_eq!(broker.answer().await, (PUBACK, 5));
}

#[tokio::test]
async fn what_came_before_the_connection_broke_is_read_and_its_receipts_reach_no_other_connection() {
    let (mut link, mut broker) = linked().await;
    broker.publish(1, 1, "a", r#"{"t": 21}"#).await;
    let (_, of_t) = next(&mut link, "t").await;
    broker.publish(1, 2, "b", r#"{"b": 97}"#).await;
    drop(broker);
    let (b, _) = next(&mut link, "b").await;
    assert_eq!(b, "97");
    let broken = async {
        while link.take("b").is_ok() {
            link.news().await;
        }
    };
    timeout(LIMIT, broken).await.expect("that it broke is said after that");
    drop(link);

    let (mut link, mut broker) = linked().await;
    broker.publish(1, 1, "b", r#"{"b": 97}"#).await;
    let (_, of_b) = next(&mut link, "b").await;
    give(of_t);
    assert!(link.shared.ledger.next().is_none(), "1 is another message here");
    give(of_b);
    assert_eq!(broker.answer().await, (PUBACK, 1));
}

#[tokio::test]
async fn qos_2_is_taken_over_when_its_value_is_received_and_completed_through_connections() {
    let (mut link, mut broker) = linked().await;
    // What the connection before this one had taken over, and was not released then.
    broker.0.write_all(&[0x62, 2, 0, 9]).await.unwrap();
    assert_eq!(broker.answer().await, (PUBCOMP, 9));
    broker.publish(2, 1, "b", r#"{"b": 97}"#).await;
    let (_, of_b) = next(&mut link, "b").await;
    give(of_b);
    assert_eq!(broker.answer().await, (PUBREC, 1));
    broker.0.write_all(&[0x62, 2, 0, 1]).await.unwrap();
    assert_eq!(broker.answer().await, (PUBCOMP, 1));
}
