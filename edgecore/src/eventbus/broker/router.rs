//! Who gets what: the sessions, the retained messages and the way between. A short lock guards it; nothing waits in it.

mod client;
mod comings;
mod disk;
mod retained;
mod share;
mod state;
#[cfg(test)]
mod tests;
mod wills;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use mqtt_proto::v5::{SubscribeReasonCode, UnsubscribeReasonCode};
use mqtt_proto::{QoS, TopicName};
use tokio::sync::{Notify, watch};

use super::Limits;
use super::acl::{Acl, Deed, Who};
use super::journal::{Journal, Ticket};
use super::message::Message;
use super::session::{Clock, Session, Subscription};
pub(super) use comings::{Attached, Hello, Refused};
use state::State;
pub(super) use wills::{Due, Restored as StoredWill, Will};

/// Routes messages between clients, and from and to this process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Router {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    limits: Limits,
    state: Mutex<State>,
    dropped: AtomicU64,
    /// The writer has something to do.
    noted: Notify,
    /// Up to where the changes are on disk.
    durable: watch::Sender<Ticket>,
    /// The disk takes nothing at the moment.
    stuck: AtomicBool,
}

impl Router {
    /// A router without clients, whose state ends with the process until [`restore`](Self::restore) says otherwise.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let inner = Inner {
            limits,
            state: Mutex::default(),
            dropped: AtomicU64::new(0),
            noted: Notify::new(),
            durable: watch::Sender::new(0),
            stuck: AtomicBool::new(false),
        };
        Self { inner: Arc::new(inner) }
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.inner.limits
    }

    /// How many messages found no room with a slow or absent reader.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.inner.dropped.load(Ordering::Relaxed)
    }

    /// How many clients are connected.
    #[must_use]
    pub fn connected(&self) -> usize {
        self.state().clients.values().filter(|client| client.link.is_some()).count()
    }

    /// Gives a message of this process to everybody who wants it. Never waits. A text that is no topic is nobody's.
    pub fn publish(&self, topic: &str, payload: &Bytes, qos: QoS, retain: bool) {
        if let Ok(topic) = TopicName::try_from(topic) {
            self.route(None, &Message::new(topic, payload.clone(), qos, retain));
        }
    }

    /// Gives the message to everybody who wants it. Never waits. What must survive of it is on disk once the ticket is.
    pub(super) fn route(&self, origin: Option<&str>, message: &Message) -> Ticket {
        let mut state = self.state();
        let ticket = state.route(origin, message, &self.inner);
        self.told(&state);
        ticket
    }

    /// Says who may read and write what from now on.
    pub(super) fn govern(&self, acl: Arc<Acl>) {
        self.state().acl = Some(acl);
    }

    /// Whether the rules allow it.
    pub(super) fn allows(&self, who: Who<'_>, deed: Deed, topic: &str) -> bool {
        self.state().allows(who, deed, topic)
    }

    /// Whether the client of the connection may write to the topic; `None` if another connection took its session.
    pub(super) fn may_write(&self, attached: &Attached, topic: &str) -> Option<bool> {
        let state = self.state();
        let client =
            state.clients.get(&attached.id).filter(|client| client.is_served_by(attached.connection))?;
        Some(state.allows(client.session.who(), Deed::Write, topic))
    }

    /// Works on the connection's session; `None` if another connection took it.
    pub(super) fn with<T>(
        &self,
        attached: &Attached,
        work: impl FnOnce(&mut Session, &Limits, &mut Journal) -> T,
    ) -> Option<T> {
        let mut state = self.state();
        let State { clients, journal, .. } = &mut *state;
        let client =
            clients.get_mut(&attached.id).filter(|client| client.is_served_by(attached.connection))?;
        let before = journal.last();
        let result = work(&mut client.session, &self.inner.limits, journal);
        if journal.last() != before {
            self.inner.noted.notify_one();
        }
        Some(result)
    }

    /// Subscribes, and queues the retained messages that match. What was refused before comes with its reason.
    pub(super) fn subscribe(
        &self,
        attached: &Attached,
        wanted: Vec<Result<Subscription, SubscribeReasonCode>>,
    ) -> (Vec<SubscribeReasonCode>, Ticket) {
        let clock = Clock::read();
        let mut state = self.state();
        let before = state.journal.last();
        let codes = wanted
            .into_iter()
            .map(|wanted| match wanted {
                Ok(subscription) => state.subscribe(attached, subscription, &self.inner.limits, clock),
                Err(reason) => reason,
            })
            .collect();
        attached.wake.notify_one();
        self.told(&state);
        (codes, state.journal.since(before))
    }

    /// Unsubscribes.
    pub(super) fn unsubscribe<'a>(
        &self,
        attached: &Attached,
        filters: impl Iterator<Item = &'a str>,
    ) -> (Vec<UnsubscribeReasonCode>, Ticket) {
        let mut state = self.state();
        let before = state.journal.last();
        let State { clients, shares, journal, .. } = &mut *state;
        let mut client = clients.get_mut(&attached.id);
        let codes = filters
            .map(|filter| {
                let known = client.as_mut().is_some_and(|client| client.session.unsubscribe(filter, journal));
                if known {
                    shares.leave(filter, &attached.id);
                    UnsubscribeReasonCode::Success
                } else {
                    UnsubscribeReasonCode::NoSubscriptionExisted
                }
            })
            .collect();
        self.told(&state);
        (codes, state.journal.since(before))
    }

    fn told(&self, state: &State) {
        if state.journal.has_changes() {
            self.inner.noted.notify_one();
        }
    }

    /// The lock is held for moments and nothing in it panics half-way, so a poisoned one is still good.
    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
