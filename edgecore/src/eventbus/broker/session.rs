//! What the broker keeps for one client: filters, what is on its way to it, and what of its own is half done. Pure.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use rumqttc::mqttbytes::v4::PubRel;
use rumqttc::{Packet, Publish, QoS};

use super::Limits;
use super::filter::Filter;

/// One message for one client.
#[derive(Debug, Clone)]
pub(super) struct Delivery {
    pub(super) topic: Arc<str>,
    pub(super) payload: Bytes,
    pub(super) qos: QoS,
    pub(super) retain: bool,
}

/// Sent with a QoS and not yet settled.
#[derive(Debug)]
enum Unsettled {
    Published(Delivery),
    Released,
}

/// A client's state; with `clean` unset it outlives its connection.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) clean: bool,
    pub(super) filters: Vec<(Filter, QoS)>,
    queue: VecDeque<Delivery>,
    queued_bytes: usize,
    unsettled: VecDeque<(u16, Unsettled)>,
    last_identifier: u16,
    /// QoS 2 publishes of the client whose PUBREL has not come.
    received: HashSet<u16>,
    online: bool,
    /// Messages that found no room.
    pub(super) dropped: u64,
}

impl Session {
    pub(super) fn new(clean: bool) -> Self {
        Self {
            clean,
            filters: Vec::new(),
            queue: VecDeque::new(),
            queued_bytes: 0,
            unsettled: VecDeque::new(),
            last_identifier: 0,
            received: HashSet::new(),
            online: true,
            dropped: 0,
        }
    }

    /// The QoS at which a message on `topic` is wanted: the highest of all filters that match.
    pub(super) fn wants(&self, topic: &str) -> Option<QoS> {
        let matching = self.filters.iter().filter(|(filter, _)| filter.matches(topic));
        matching.map(|(_, qos)| *qos).max_by_key(|qos| *qos as u8)
    }

    /// Adds the filter or replaces its QoS. False: there are too many.
    pub(super) fn subscribe(&mut self, filter: Filter, qos: QoS, limits: &Limits) -> bool {
        if let Some(known) = self.filters.iter_mut().find(|(known, _)| *known == filter) {
            known.1 = qos;
            return true;
        }
        let room = self.filters.len() < limits.filters;
        if room {
            self.filters.push((filter, qos));
        }
        room
    }

    pub(super) fn unsubscribe(&mut self, filter: &str) {
        self.filters.retain(|(known, _)| known.as_str() != filter);
    }

    /// Queues a message. Who does not read loses what has no room: the twins do not wait for a slow reader.
    pub(super) fn push(&mut self, delivery: Delivery, limits: &Limits) {
        let size = delivery.topic.len() + delivery.payload.len();
        let messages = if self.online { limits.queue_messages } else { limits.offline_messages };
        let worthless = !self.online && delivery.qos == QoS::AtMostOnce;
        if worthless || self.queue.len() >= messages || self.queued_bytes + size > limits.queue_bytes {
            self.dropped += u64::from(!worthless);
            return;
        }
        self.queued_bytes += size;
        self.queue.push_back(delivery);
    }

    /// The next packet to write, as far as the window of unsettled ones allows.
    pub(super) fn next(&mut self, limits: &Limits) -> Option<Packet> {
        let room = self.unsettled.len() < limits.in_flight;
        if self.queue.front()?.qos != QoS::AtMostOnce && !room {
            return None;
        }
        let delivery = self.queue.pop_front()?;
        self.queued_bytes -= delivery.topic.len() + delivery.payload.len();
        if delivery.qos == QoS::AtMostOnce {
            return Some(publish(&delivery, 0, false));
        }
        let identifier = self.identifier();
        let packet = publish(&delivery, identifier, false);
        self.unsettled.push_back((identifier, Unsettled::Published(delivery)));
        Some(packet)
    }

    /// PUBACK or PUBCOMP: settled. Unknown identifiers are ignored.
    pub(super) fn settled(&mut self, identifier: u16) {
        self.unsettled.retain(|(known, _)| *known != identifier);
    }

    /// PUBREC: from now on only the PUBREL is repeated.
    pub(super) fn recorded(&mut self, identifier: u16) {
        if let Some((_, state)) = self.unsettled.iter_mut().find(|(known, _)| *known == identifier) {
            *state = Unsettled::Released;
        }
    }

    /// A QoS 2 publish arrived. False: it is a repetition, already handed on.
    pub(super) fn receive(&mut self, identifier: u16) -> bool {
        self.received.insert(identifier)
    }

    /// The QoS 2 publish is done, or was not stored and may come again.
    pub(super) fn release(&mut self, identifier: u16) {
        self.received.remove(&identifier);
    }

    /// The client came back: what must be repeated, in order.
    pub(super) fn resume(&mut self) -> Vec<Packet> {
        self.online = true;
        let repeat = |(identifier, state): &(u16, Unsettled)| match state {
            Unsettled::Published(delivery) => publish(delivery, *identifier, true),
            Unsettled::Released => Packet::PubRel(PubRel::new(*identifier)),
        };
        self.unsettled.iter().map(repeat).collect()
    }

    /// The client went: what is not worth keeping goes with it.
    pub(super) fn leave(&mut self, limits: &Limits) {
        self.online = false;
        self.queue.retain(|delivery| delivery.qos != QoS::AtMostOnce);
        self.queue.truncate(limits.offline_messages);
        self.queue.shrink_to_fit();
        self.queued_bytes = self.queue.iter().map(|d| d.topic.len() + d.payload.len()).sum();
    }

    fn identifier(&mut self) -> u16 {
        loop {
            self.last_identifier = self.last_identifier.checked_add(1).unwrap_or(1);
            let taken = self.unsettled.iter().any(|(known, _)| *known == self.last_identifier);
            // The window is far smaller than the 65,535 identifiers, so one is free.
            if !taken {
                return self.last_identifier;
            }
        }
    }
}

fn publish(delivery: &Delivery, identifier: u16, dup: bool) -> Packet {
    let topic = delivery.topic.to_string();
    let mut publish = Publish::from_bytes(topic, delivery.qos, delivery.payload.clone());
    publish.pkid = identifier;
    publish.dup = dup;
    publish.retain = delivery.retain;
    Packet::Publish(publish)
}
