//! What the broker keeps for one client: subscriptions, what is on its way to it, and what of its own is half done. Pure.

mod disk;
mod incoming;
mod outgoing;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use mqtt_proto::v5::{SubscriptionOptions, VarByteInt};
use mqtt_proto::{Pid, QoS};
use tokio::time::Instant;

use super::Limits;
use super::acl::Who;
use super::filter::Filter;
use super::journal::{Change, Journal};
use super::message::Message;
use incoming::Received;
pub(super) use incoming::Reception;
pub(super) use outgoing::Ending;
use outgoing::{Queued, Unsettled};

/// A filter that a client subscribed to, and how.
#[derive(Debug, Clone)]
pub(super) struct Subscription {
    /// As the client wrote it, `$share` included.
    pub(super) text: Box<str>,
    pub(super) filter: Filter,
    /// It is one of a group that shares the messages; the text is the group's key.
    pub(super) shared: bool,
    pub(super) options: SubscriptionOptions,
    pub(super) identifier: Option<VarByteInt>,
}

/// One message for one client.
#[derive(Debug, Clone)]
pub(super) struct Delivery {
    pub(super) message: Message,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    pub(super) subscription: Option<VarByteInt>,
    /// The shared subscription that it came by.
    pub(super) share: Option<Arc<str>>,
}

/// A client's state.
#[derive(Debug)]
pub(super) struct Session {
    client: Arc<str>,
    /// Whose it is; `None`: nobody had to log in.
    pub(super) user: Option<Arc<str>>,
    /// Seconds that it outlives its connection; `u32::MAX`: for ever.
    pub(super) expiry: u32,
    /// The disk knows of it.
    stored: bool,
    /// When its client went (Unix milliseconds); `None`: it is here.
    left: Option<i64>,
    pub(super) subscriptions: Vec<Subscription>,
    queue: VecDeque<Queued>,
    queued_bytes: usize,
    unsettled: VecDeque<(Pid, Unsettled)>,
    /// Identifiers in the queue and beyond it.
    in_use: HashSet<Pid>,
    last_pid: Pid,
    received: HashMap<Pid, Received>,
    online: bool,
    /// Messages that found no room.
    pub(super) dropped: u64,
}

impl Session {
    pub(super) fn new(client: Arc<str>, expiry: u32) -> Self {
        Self {
            client,
            user: None,
            expiry,
            stored: false,
            left: None,
            subscriptions: Vec::new(),
            queue: VecDeque::new(),
            queued_bytes: 0,
            unsettled: VecDeque::new(),
            in_use: HashSet::new(),
            last_pid: Pid::default(),
            received: HashMap::new(),
            online: true,
            dropped: 0,
        }
    }

    pub(super) fn client(&self) -> Arc<str> {
        Arc::clone(&self.client)
    }

    /// Whom the access rules are asked about.
    pub(super) fn who(&self) -> Who<'_> {
        Who { user: self.user.as_deref(), client: &self.client }
    }

    /// What the client gets of `message`, its own or another's: one copy of the highest quality that it asked for, or
    /// one for each subscription identifier (MQTT5-3.3.4-3 and -4; the codec writes one identifier a packet).
    pub(super) fn deliveries(&self, message: &Message, own: bool) -> Vec<Delivery> {
        let mut matching = self.subscriptions.iter().filter(|subscription| {
            let silenced = own && subscription.options.no_local;
            !subscription.shared && !silenced && subscription.filter.matches(&message.topic)
        });
        let mut deliveries: Vec<Delivery> = Vec::new();
        let Some(first) = matching.next() else { return deliveries };
        for subscription in std::iter::once(first).chain(matching) {
            let options = &subscription.options;
            let qos = message.qos.min(options.max_qos);
            let retain = message.retain && options.retain_as_published;
            let identifier = subscription.identifier;
            let merged = deliveries.iter_mut().find(|known| {
                known.subscription.is_none() || identifier.is_none() || known.subscription == identifier
            });
            match merged {
                Some(known) => {
                    known.qos = known.qos.max(qos);
                    known.retain |= retain;
                    known.subscription = known.subscription.or(identifier);
                }
                None => deliveries.push(Delivery {
                    message: message.clone(),
                    qos,
                    retain,
                    subscription: identifier,
                    share: None,
                }),
            }
        }
        deliveries
    }

    /// Whether it outlives its connection, and the process.
    pub(super) fn lasts(&self) -> bool {
        self.expiry > 0
    }

    /// Adds the subscription or replaces it. `None`: there are too many; else whether it is new.
    pub(super) fn subscribe(
        &mut self,
        subscription: Subscription,
        limits: &Limits,
        journal: &mut Journal,
    ) -> Option<bool> {
        let known = self.subscriptions.iter().position(|known| known.text == subscription.text);
        if known.is_none() && self.subscriptions.len() >= limits.filters {
            return None;
        }
        let noted = subscription.clone();
        self.note(journal, |client| Some(Change::Subscribed { client, subscription: noted }));
        match known.and_then(|at| self.subscriptions.get_mut(at)) {
            Some(place) => *place = subscription,
            None => self.subscriptions.push(subscription),
        }
        Some(known.is_none())
    }

    /// False: there was none of that filter.
    pub(super) fn unsubscribe(&mut self, filter: &str, journal: &mut Journal) -> bool {
        let before = self.subscriptions.len();
        self.subscriptions.retain(|known| &*known.text != filter);
        let known = self.subscriptions.len() < before;
        if known {
            self.note(journal, |client| Some(Change::Unsubscribed { client, filter: filter.into() }));
        }
        known
    }
}

/// Both clocks at one moment: one for life times, one for what is written down.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    pub(super) now: Instant,
    pub(super) unix_ms: i64,
}

impl Clock {
    pub(super) fn read() -> Self {
        Self { now: Instant::now(), unix_ms: tasks::clock::unix_ms() }
    }
}
