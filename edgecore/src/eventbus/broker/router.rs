//! Who gets what: the sessions, the retained messages and the way between. A short lock guards it; nothing waits in it.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use rumqttc::{Packet, QoS};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::Limits;
use super::filter::Filter;
use super::session::{Delivery, Session};

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
}

#[derive(Debug, Default)]
struct State {
    clients: HashMap<Arc<str>, Client>,
    retained: BTreeMap<Arc<str>, (Bytes, QoS)>,
    retained_bytes: usize,
    next_connection: u64,
    /// Grows with every departure; says which absent session is the oldest.
    departures: u64,
}

#[derive(Debug)]
struct Client {
    session: Session,
    link: Option<Link>,
    left_at: u64,
}

/// The connection that serves a session now.
#[derive(Debug)]
struct Link {
    connection: u64,
    wake: Arc<Notify>,
    /// Cancelled when another connection takes the session over.
    kick: CancellationToken,
}

/// A connection's hold on its session.
#[derive(Debug)]
pub(super) struct Attached {
    pub(super) id: Arc<str>,
    pub(super) connection: u64,
    pub(super) wake: Arc<Notify>,
    pub(super) kick: CancellationToken,
    pub(super) session_present: bool,
    /// What must be sent again before anything new.
    pub(super) repeat: Vec<Packet>,
}

/// Every client's place is taken.
#[derive(Debug, thiserror::Error)]
#[error("{0} clients are connected: no place for another")]
pub(super) struct Full(usize);

impl Router {
    /// A router without clients.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let state = Mutex::default();
        Self { inner: Arc::new(Inner { limits, state, dropped: AtomicU64::new(0) }) }
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

    /// Gives the message to everybody who wants it. Never waits.
    pub fn publish(&self, topic: &str, payload: &Bytes, qos: QoS, retain: bool) {
        let limits = &self.inner.limits;
        let mut state = self.state();
        let topic: Arc<str> = topic.into();
        if retain {
            state.retain(&topic, payload, qos, limits);
        }
        for (id, client) in &mut state.clients {
            let Some(wanted) = client.session.wants(&topic) else { continue };
            let qos = if (wanted as u8) < (qos as u8) { wanted } else { qos };
            let before = client.session.dropped;
            let delivery =
                Delivery { topic: Arc::clone(&topic), payload: payload.clone(), qos, retain: false };
            client.session.push(delivery, limits);
            if client.session.dropped > before {
                self.inner.dropped.fetch_add(1, Ordering::Relaxed);
                if before == 0 {
                    warn!(client = %id, "reads too slowly: messages for it are dropped");
                }
            }
            if let Some(link) = &client.link {
                link.wake.notify_one();
            }
        }
    }

    /// A client connects. A connection that holds the same id is put out.
    pub(super) fn attach(&self, id: &str, clean: bool) -> Result<Attached, Full> {
        let mut state = self.state();
        state.next_connection += 1;
        let connection = state.next_connection;
        let known = state.clients.get(id).is_some_and(|client| client.link.is_some());
        let connected = state.clients.values().filter(|client| client.link.is_some()).count();
        if !known && connected >= self.inner.limits.connections {
            return Err(Full(connected));
        }
        let id: Arc<str> = id.into();
        let previous = state.clients.remove(&id);
        if let Some(link) = previous.as_ref().and_then(|client| client.link.as_ref()) {
            link.kick.cancel();
        }
        let kept = previous.map(|client| client.session).filter(|session| !clean && !session.clean);
        let session_present = kept.is_some();
        let mut session = kept.unwrap_or_else(|| Session::new(clean));
        let repeat = session.resume();
        let (wake, kick) = (Arc::new(Notify::new()), CancellationToken::new());
        // What waited while the client was away is written at once.
        wake.notify_one();
        let link = Link { connection, wake: Arc::clone(&wake), kick: kick.clone() };
        state.clients.insert(Arc::clone(&id), Client { session, link: Some(link), left_at: 0 });
        Ok(Attached { id, connection, wake, kick, session_present, repeat })
    }

    /// A connection ended. Its session goes with it or stays, as the client asked.
    pub(super) fn detach(&self, attached: &Attached) {
        let limits = &self.inner.limits;
        let mut state = self.state();
        state.departures += 1;
        let now = state.departures;
        let Some(client) = state.clients.get_mut(&attached.id) else { return };
        if client.link.as_ref().is_none_or(|link| link.connection != attached.connection) {
            return;
        }
        if client.session.clean {
            state.clients.remove(&attached.id);
            return;
        }
        client.link = None;
        client.left_at = now;
        client.session.leave(limits);
        let absent = || state.clients.iter().filter(|(_, client)| client.link.is_none());
        if absent().count() > limits.absent_sessions
            && let Some(oldest) =
                absent().min_by_key(|(_, client)| client.left_at).map(|(id, _)| Arc::clone(id))
        {
            warn!(client = %oldest, "too many absent sessions: the oldest is forgotten");
            state.clients.remove(&oldest);
        }
    }

    /// Works on the connection's session; `None` if another connection took it.
    pub(super) fn with<T>(
        &self,
        attached: &Attached,
        work: impl FnOnce(&mut Session, &Limits) -> T,
    ) -> Option<T> {
        let mut state = self.state();
        let client = state.clients.get_mut(&attached.id)?;
        let mine = client.link.as_ref().is_some_and(|link| link.connection == attached.connection);
        mine.then(|| work(&mut client.session, &self.inner.limits))
    }

    /// Subscribes, and queues the retained messages that match. `false` per filter that found no place.
    pub(super) fn subscribe(&self, attached: &Attached, filters: Vec<(Filter, QoS)>) -> Vec<bool> {
        let limits = &self.inner.limits;
        let mut state = self.state();
        let State { clients, retained, .. } = &mut *state;
        let Some(client) = clients.get_mut(&attached.id) else { return vec![false; filters.len()] };
        let taken = filters
            .into_iter()
            .map(|(filter, qos)| {
                let taken = client.session.subscribe(filter.clone(), qos, limits);
                for (topic, (payload, kept)) in
                    retained.iter().filter(|(topic, _)| taken && filter.matches(topic))
                {
                    let qos = if (*kept as u8) < (qos as u8) { *kept } else { qos };
                    let (topic, payload) = (Arc::clone(topic), payload.clone());
                    client.session.push(Delivery { topic, payload, qos, retain: true }, limits);
                }
                taken
            })
            .collect();
        attached.wake.notify_one();
        taken
    }

    /// The lock is held for moments and nothing in it panics half-way, so a poisoned one is still good.
    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn retain(&mut self, topic: &Arc<str>, payload: &Bytes, qos: QoS, limits: &Limits) {
        if let Some((old, _)) = self.retained.remove(topic) {
            self.retained_bytes -= topic.len() + old.len();
        }
        let size = topic.len() + payload.len();
        if payload.is_empty() {
            return;
        }
        if self.retained.len() >= limits.retained_messages
            || self.retained_bytes + size > limits.retained_bytes
        {
            warn!(topic = %topic, "no room for another retained message: it is only delivered");
            return;
        }
        self.retained_bytes += size;
        // A copy: the payload may be a small part of a large network buffer.
        self.retained.insert(Arc::clone(topic), (Bytes::copy_from_slice(payload), qos));
    }
}
