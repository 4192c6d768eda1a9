//! Publishes to brokers, one connection to each.

use std::collections::HashMap;
use std::time::Duration;

use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS};
use tokio::time::timeout;

use super::NotTaken;

/// How long a broker may take.
const WITHIN: Duration = Duration::from_secs(10);

/// Connections, by address.
#[derive(Default)]
pub(super) struct Publishers(HashMap<String, (AsyncClient, EventLoop)>);

// === impl Publishers ===

impl Publishers {
    /// The broker has it when this returns; with QoS 0, it is on its way.
    pub(super) async fn publish(
        &mut self,
        address: &str,
        topic: &str,
        qos: u8,
        retained: bool,
        text: String,
    ) -> Result<(), NotTaken> {
        if topic.is_empty() || topic.contains(['+', '#']) {
            return Err(NotTaken::Refused(format!("{topic:?} is no topic to publish to")));
        }
        // A connection that nobody used for a while may have been closed by the broker: that is no news of the broker.
        let used = self.0.contains_key(address);
        let sent = self.try_to(address, topic, qos, retained, text.clone()).await;
        match sent {
            Err(NotTaken::Passing(_)) if used => self.try_to(address, topic, qos, retained, text).await,
            sent => sent,
        }
    }

    async fn try_to(
        &mut self,
        address: &str,
        topic: &str,
        qos: u8,
        retained: bool,
        text: String,
    ) -> Result<(), NotTaken> {
        let sent = timeout(WITHIN, self.send(address, topic, qos, retained, text)).await;
        let sent = sent.unwrap_or_else(|_| {
            Err(NotTaken::Passing(format!("{address}: no answer within {} s", WITHIN.as_secs())))
        });
        if sent.is_err() {
            // What it has not told is told again by us.
            self.0.remove(address);
        }
        sent
    }

    async fn send(
        &mut self,
        address: &str,
        topic: &str,
        qos: u8,
        retained: bool,
        text: String,
    ) -> Result<(), NotTaken> {
        let passing = |error: &dyn std::fmt::Display| NotTaken::Passing(format!("{address}: {error}"));
        if !self.0.contains_key(address) {
            let made = connect(address).await?;
            self.0.insert(address.to_owned(), made);
        }
        let Some((client, events)) = self.0.get_mut(address) else { return Ok(()) };
        let level = match qos {
            0 => QoS::AtMostOnce,
            1 => QoS::AtLeastOnce,
            _ => QoS::ExactlyOnce,
        };
        client.publish(topic, level, retained, text).await.map_err(|error| passing(&error))?;
        loop {
            match events.poll().await.map_err(|error| passing(&error))? {
                Event::Incoming(Packet::PubAck(_) | Packet::PubComp(_)) => return Ok(()),
                Event::Outgoing(rumqttc::Outgoing::Publish(_)) if qos == 0 => return Ok(()),
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

async fn connect(address: &str) -> Result<(AsyncClient, EventLoop), NotTaken> {
    let refused = |why: &str| NotTaken::Refused(format!("pushMethod.mqtt.address {address:?}: {why}"));
    if !is_here(address) {
        return Err(refused("only tcp://HOST:PORT is here, TLS is not"));
    }
    let place = address.split_once("://").map_or(address, |(_, place)| place);
    let (host, port) = place.rsplit_once(':').unwrap_or((place, "1883"));
    let port = port.parse().map_err(|_| refused("write tcp://HOST:PORT"))?;
    let id = format!("mapper-push-{}-{}", std::process::id(), fastrand::u32(..));
    let mut options = MqttOptions::new(id, host, port);
    options.set_keep_alive(Duration::from_secs(60));
    let (client, mut events) = AsyncClient::new(options, 16);
    loop {
        match events.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(_))) => return Ok((client, events)),
            Ok(_) => {}
            Err(error) => return Err(NotTaken::Passing(format!("{address}: {error}"))),
        }
    }
}
