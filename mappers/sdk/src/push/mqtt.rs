//! Publishes to brokers, one connection to each.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use mqtts::{Broker, Trust, Tunnel};
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS, Transport};

use super::NotTaken;
use super::links;

/// A broker's address, as users write it.
pub(super) struct Address(pub String);

/// What is published.
pub(super) struct Message {
    pub topic: String,
    pub qos: u8,
    pub retained: bool,
    pub text: String,
}

/// A connection, and the way of one with TLS.
pub(super) struct Link(AsyncClient, EventLoop, Option<Tunnel>);

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl Link ===

impl links::Link for Link {
    type Place = Address;
    type Load = Message;

    async fn open(Address(address): &Address) -> Result<Self, NotTaken> {
        let refused = |why: &str| NotTaken::Refused(format!("pushMethod.mqtt.address {address:?}: {why}"));
        let (scheme, place) = address.split_once("://").unwrap_or(("tcp", address));
        let wrong = || refused("write tcp://HOST:PORT or ssl://HOST:PORT");
        let tls = mqtts::is_tls(scheme).ok_or_else(wrong)?;
        let (host, port) = place.rsplit_once(':').unwrap_or((place, if tls { "8883" } else { "1883" }));
        let port = port.parse().map_err(|_| wrong())?;
        let host = host.trim_matches(['[', ']']);
        let broker = tls.then(|| Broker { host: host.to_owned(), port, trust: trust() });
        let tunnel = broker.map(Tunnel::open_temporary).transpose();
        let tunnel = tunnel.map_err(|error| NotTaken::Passing(error.to_string()))?;
        let id = format!("mapper-push-{}-{}", std::process::id(), fastrand::u32(..));
        let mut options = MqttOptions::new(&id, host, port);
        if let Some(tunnel) = &tunnel {
            options = MqttOptions::new(id, tunnel.socket().to_string_lossy(), port);
            options.set_transport(Transport::Unix);
        }
        options.set_keep_alive(Duration::from_secs(60));
        let (client, mut events) = AsyncClient::new(options, 16);
        loop {
            match events.poll().await {
                Ok(Event::Incoming(Packet::ConnAck(_))) => return Ok(Self(client, events, tunnel)),
                Ok(_) => {}
                Err(error) => return Err(passing(address, tunnel.as_ref(), &error)),
            }
        }
    }

    /// The broker has it when this returns; with QoS 0, it is on its way.
    async fn send(&mut self, Address(address): &Address, message: &Message) -> Result<(), NotTaken> {
        let Message { topic, qos, retained, text } = message;
        if topic.is_empty() || topic.contains(['+', '#']) {
            return Err(NotTaken::Refused(format!("{topic:?} is no topic to publish to")));
        }
        let level = match qos {
            0 => QoS::AtMostOnce,
            1 => QoS::AtLeastOnce,
            _ => QoS::ExactlyOnce,
        };
        let Self(client, events, tunnel) = self;
        let tunnel = tunnel.as_ref();
        client
            .publish(topic, level, *retained, text.as_str())
            .await
            .map_err(|error| passing(address, tunnel, &error))?;
        loop {
            match events.poll().await.map_err(|error| passing(address, tunnel, &error))? {
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
    mqtts::is_tls(scheme).is_some() && !place.is_empty()
}

fn passing(address: &str, tunnel: Option<&Tunnel>, error: &dyn fmt::Display) -> NotTaken {
    // The client only sees that it is over.
    let why = tunnel.and_then(Tunnel::failure).unwrap_or_else(|| error.to_string());
    NotTaken::Passing(format!("{address}: {why}"))
}

/// The CRD has no place for files, so they are the mapper's own.
fn trust() -> Trust {
    let file = |name| std::env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from);
    Trust { authorities: file("MQTT_CA_FILE"), identity: file("MQTT_CERT_FILE").zip(file("MQTT_KEY_FILE")) }
}
