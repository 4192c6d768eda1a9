//! Publishes to brokers, one connection to each.

use std::fmt;
use std::time::Duration;

use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS};

use super::NotTaken;
use super::links;

/// A broker's address, as users write it.
pub(super) struct Broker(pub String);

/// What is published.
pub(super) struct Message {
    pub topic: String,
    pub qos: u8,
    pub retained: bool,
    pub text: String,
}

/// A connection.
pub(super) struct Link(AsyncClient, EventLoop);

impl fmt::Display for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl Link ===

impl links::Link for Link {
    type Place = Broker;
    type Load = Message;

    async fn open(Broker(address): &Broker) -> Result<Self, NotTaken> {
        let refused = |why: &str| NotTaken::Refused(format!("pushMethod.mqtt.address {address:?}: {why}"));
        if !is_here(address) {
            return Err(refused("only tcp://HOST:PORT is here, TLS is not"));
        }
        let place = address.split_once("://").map_or(address.as_str(), |(_, place)| place);
        let (host, port) = place.rsplit_once(':').unwrap_or((place, "1883"));
        let port = port.parse().map_err(|_| refused("write tcp://HOST:PORT"))?;
        let id = format!("mapper-push-{}-{}", std::process::id(), fastrand::u32(..));
        let mut options = MqttOptions::new(id, host, port);
        options.set_keep_alive(Duration::from_secs(60));
        let (client, mut events) = AsyncClient::new(options, 16);
        loop {
            match events.poll().await {
                Ok(Event::Incoming(Packet::ConnAck(_))) => return Ok(Self(client, events)),
                Ok(_) => {}
                Err(error) => return Err(NotTaken::Passing(format!("{address}: {error}"))),
            }
        }
    }

    /// The broker has it when this returns; with QoS 0, it is on its way.
    async fn send(&mut self, address: &Broker, message: &Message) -> Result<(), NotTaken> {
        let Message { topic, qos, retained, text } = message;
        if topic.is_empty() || topic.contains(['+', '#']) {
            return Err(NotTaken::Refused(format!("{topic:?} is no topic to publish to")));
        }
        let passing = |error: &dyn fmt::Display| NotTaken::Passing(format!("{address}: {error}"));
        let level = match qos {
            0 => QoS::AtMostOnce,
            1 => QoS::AtLeastOnce,
            _ => QoS::ExactlyOnce,
        };
        let Self(client, events) = self;
        client.publish(topic, level, *retained, text.as_str()).await.map_err(|error| passing(&error))?;
        loop {
            match events.poll().await.map_err(|error| passing(&error))? {
                Event::Incoming(Packet::PubAck(_) | Packet::PubComp(_)) => return Ok(()),
                Event::Outgoing(rumqttc::Outgoing::Publish(_)) if *qos == 0 => return Ok(()),
                _ => {}
            }
        }
    }
}

/// Whether a broker can be reached this way.
pub(super) fn is_here(address: &str) -> bool {
    let (scheme, place) = address.split_once("://").unwrap_or(("tcp", address));
    matches!(scheme, "tcp" | "mqtt") && !place.is_empty()
}
