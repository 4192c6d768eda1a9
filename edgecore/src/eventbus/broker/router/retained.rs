//! The last retained message of each topic, bounded.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::Instant;
use tracing::warn;

use crate::eventbus::broker::Limits;
use crate::eventbus::broker::filter::Filter;
use crate::eventbus::broker::journal::{Change, Journal};
use crate::eventbus::broker::message::{Delivered, Message};
use crate::eventbus::broker::session::Clock;

#[derive(Debug, Default)]
pub(super) struct Retained {
    messages: BTreeMap<Arc<str>, Message>,
    bytes: usize,
}

impl Retained {
    /// Keeps the message in the place of the topic's last; an empty one only clears it (MQTT-3.3.1-10).
    pub(super) fn keep(&mut self, message: &Message, limits: &Limits, journal: &mut Journal, clock: Clock) {
        let topic: Arc<str> = (&*message.topic).into();
        let known = self.remove(&topic);
        let room = self.messages.len() < limits.retained_messages
            && self.bytes + message.size() <= limits.retained_bytes;
        if !message.payload.is_empty() && !room {
            warn!(topic = %topic, "no room for another retained message: it is only delivered");
        }
        if message.payload.is_empty() || !room {
            if known {
                journal.note(|| Some(Change::Cleared { topic }));
            }
            return;
        }
        journal.note(|| stored(&topic, message, clock));
        self.insert(topic, message.clone().compact());
    }

    /// All that the disk should have of them.
    pub(super) fn whole(&self, clock: Clock) -> impl Iterator<Item = Change> {
        self.messages.iter().filter_map(move |(topic, message)| stored(topic, message, clock))
    }

    /// Takes back what the disk has, unless there is something newer.
    pub(super) fn restore(&mut self, topic: Arc<str>, message: Message) {
        if !self.messages.contains_key(&topic) {
            self.insert(topic, message);
        }
    }

    pub(super) fn matching<'a>(
        &'a self,
        filter: &'a Filter,
        now: Instant,
    ) -> impl Iterator<Item = &'a Message> {
        let matching = self.messages.iter().filter(|(topic, _)| filter.matches(topic));
        matching.map(|(_, message)| message).filter(move |message| !message.is_expired(now))
    }

    pub(super) fn expire(&mut self, now: Instant, journal: &mut Journal) {
        let over: Vec<Arc<str>> = self
            .messages
            .iter()
            .filter(|(_, message)| message.is_expired(now))
            .map(|(topic, _)| Arc::clone(topic))
            .collect();
        for topic in over {
            self.remove(&topic);
            journal.note(|| Some(Change::Cleared { topic }));
        }
    }

    fn insert(&mut self, topic: Arc<str>, message: Message) {
        self.bytes += message.size();
        self.messages.insert(topic, message);
    }

    fn remove(&mut self, topic: &str) -> bool {
        let old = self.messages.remove(topic);
        self.bytes -= old.as_ref().map_or(0, Message::size);
        old.is_some()
    }
}

fn stored(topic: &Arc<str>, message: &Message, clock: Clock) -> Option<Change> {
    let to = Delivered::to_nobody(message);
    let (packet, expires) = message.stored(to, clock.now, clock.unix_ms)?;
    Some(Change::Retained { topic: Arc::clone(topic), packet, expires })
}
