//! Who gets what: the sessions, the retained messages and the way between. A short lock guards it; nothing waits in it.

mod retained;
mod share;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use mqtt_proto::v5::{Packet, RetainHandling, SubscribeReasonCode, UnsubscribeReasonCode};
use mqtt_proto::{QoS, TopicName};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::Limits;
use super::journal::{Change, Journal, Ticket};
use super::message::Message;
use super::session::{Clock, Delivery, Session, Subscription};
use super::store::Restored;
use super::translate::FOREVER;
use retained::Retained;
use share::Shares;

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

#[derive(Debug, Default)]
struct State {
    clients: HashMap<Arc<str>, Client>,
    shares: Shares,
    retained: Retained,
    journal: Journal,
    next_connection: u64,
    /// Grows with every departure; says which absent session is the oldest.
    departures: u64,
}

#[derive(Debug)]
struct Client {
    session: Session,
    link: Option<Link>,
    departure: u64,
    /// When an absent session ends, unless its client comes back.
    ends: Option<Instant>,
    will: Option<(Instant, Message)>,
}

/// The connection that serves a session now.
#[derive(Debug)]
struct Link {
    connection: u64,
    wake: Arc<Notify>,
    /// Cancelled when another connection takes the session over.
    kick: CancellationToken,
    /// Set when the session did not survive that.
    over: Arc<AtomicBool>,
}

/// Who connects.
#[derive(Debug)]
pub(super) struct Hello<'a> {
    pub(super) id: &'a str,
    /// Nothing of an earlier session is wanted.
    pub(super) clean: bool,
    /// Seconds that the session outlives the connection.
    pub(super) expiry: u32,
}

/// A connection's hold on its session.
#[derive(Debug)]
pub(super) struct Attached {
    pub(super) id: Arc<str>,
    connection: u64,
    pub(super) wake: Arc<Notify>,
    pub(super) kick: CancellationToken,
    over: Arc<AtomicBool>,
    pub(super) session_present: bool,
    /// What must be sent again before anything new.
    pub(super) repeat: Vec<Packet>,
    /// The session is on disk once this is.
    pub(super) ticket: Ticket,
    /// The will of a session that ended with this.
    pub(super) orphaned: Option<Message>,
}

/// What a client wants to be said when it is gone, and how long after (MQTT 5 §3.1.3.2.2).
#[derive(Debug, Clone)]
pub(super) struct Will {
    pub(super) message: Message,
    pub(super) delay: Duration,
}

/// Every client's place is taken.
#[derive(Debug, thiserror::Error)]
#[error("{0} clients are connected: no place for another")]
pub(super) struct Full(usize);

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

    /// Whether the disk keeps up. False: it takes nothing, and enough waits for it.
    pub(super) async fn has_room(&self) -> bool {
        let mut durable = self.inner.durable.subscribe();
        loop {
            durable.mark_unchanged();
            if !self.state().journal.is_full() {
                return true;
            }
            if self.inner.stuck.load(Ordering::Relaxed) || durable.changed().await.is_err() {
                return false;
            }
        }
    }

    /// Up to where the changes are on disk.
    pub(super) fn durable(&self) -> watch::Receiver<Ticket> {
        self.inner.durable.subscribe()
    }

    /// A client connects. A connection that holds the same id is put out.
    pub(super) fn attach(&self, hello: &Hello<'_>) -> Result<Attached, Full> {
        let clock = Clock::read();
        let mut state = self.state();
        state.next_connection += 1;
        let connection = state.next_connection;
        let id: Arc<str> = hello.id.into();
        let known = state.clients.get(&id).is_some_and(|client| client.link.is_some());
        let connected = state.clients.values().filter(|client| client.link.is_some()).count();
        if !known && connected >= self.inner.limits.connections {
            return Err(Full(connected));
        }
        let mut orphaned = None;
        let goes_on = !hello.clean
            && state
                .clients
                .get(&id)
                .is_some_and(|client| client.session.lasts() && !client.is_over(clock.now));
        if let Some(link) = state.clients.get(&id).and_then(|client| client.link.as_ref()) {
            link.over.store(!goes_on, Ordering::Relaxed);
            link.kick.cancel();
        }
        if !goes_on {
            orphaned = state.forget(&id, &self.inner, clock);
        }
        let State { clients, journal, .. } = &mut *state;
        let client = clients.entry(Arc::clone(&id)).or_insert_with(|| Client::new(Arc::clone(&id)));
        client.session.expiry = hello.expiry;
        client.will = None;
        client.ends = None;
        let repeat = client.session.resume();
        let noted = client.session.note_itself(None, journal);
        // What the disk knows already need not wait for it.
        let ticket = if goes_on { 0 } else { noted };
        let (wake, kick, over) = (Arc::new(Notify::new()), CancellationToken::new(), Arc::default());
        // What waited while the client was away is written at once.
        wake.notify_one();
        let link = Link { connection, wake: Arc::clone(&wake), kick: kick.clone(), over: Arc::clone(&over) };
        client.link = Some(link);
        self.told(&state);
        Ok(Attached { id, connection, wake, kick, over, session_present: goes_on, repeat, ticket, orphaned })
    }

    /// A connection ended. Its session goes with it or stays, as the client asked. Returns the will that is to be
    /// spoken now.
    pub(super) fn detach(&self, attached: &Attached, will: Option<Will>) -> Option<Message> {
        let limits = &self.inner.limits;
        let clock = Clock::read();
        let mut state = self.state();
        state.departures += 1;
        let departure = state.departures;
        let State { clients, journal, .. } = &mut *state;
        let mine = clients.get_mut(&attached.id).filter(|client| client.is_served_by(attached.connection));
        let Some(client) = mine else {
            // Taken over: a delayed will is for those who do not come back.
            let over = attached.over.load(Ordering::Relaxed);
            return will.filter(|will| over || will.delay.is_zero()).map(|will| will.message);
        };
        client.link = None;
        if !client.session.lasts() {
            state.forget(&attached.id, &self.inner, clock);
            self.told(&state);
            return will.map(|will| will.message);
        }
        client.departure = departure;
        client.session.leave(limits, journal);
        client.session.note_itself(Some(clock.unix_ms), journal);
        client.ends = end(client.session.expiry, Duration::ZERO, clock.now);
        let mut now = None;
        if let Some(will) = will {
            match clock.now.checked_add(will.delay) {
                Some(due) if !will.delay.is_zero() => client.will = Some((due, will.message)),
                _ => now = Some(will.message),
            }
        }
        let absent = || state.clients.iter().filter(|(_, client)| client.link.is_none());
        if absent().count() > limits.absent_sessions
            && let Some(oldest) =
                absent().min_by_key(|(_, client)| client.departure).map(|(id, _)| Arc::clone(id))
        {
            warn!(client = %oldest, "too many absent sessions: the oldest is forgotten");
            if let Some(will) = state.forget(&oldest, &self.inner, clock) {
                state.route(None, &will, &self.inner);
            }
        }
        self.told(&state);
        now
    }

    /// Ends what is over: sessions, retained messages. Returns the wills that are due.
    pub(super) fn expire(&self) -> Vec<Message> {
        let clock = Clock::read();
        let mut state = self.state();
        let over: Vec<Arc<str>> = state
            .clients
            .iter()
            .filter(|(_, client)| client.is_over(clock.now))
            .map(|(id, _)| Arc::clone(id))
            .collect();
        let mut wills: Vec<Message> =
            over.iter().filter_map(|id| state.forget(id, &self.inner, clock)).collect();
        for client in state.clients.values_mut() {
            if client.will.as_ref().is_some_and(|(due, _)| *due <= clock.now) {
                wills.extend(client.will.take().map(|(_, will)| will));
            }
        }
        let State { retained, journal, .. } = &mut *state;
        retained.expire(clock.now, journal);
        self.told(&state);
        wills
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

    /// Goes on from what the disk has, and writes down from now on what must outlive the process.
    pub(super) fn restore(&self, restored: Restored) {
        let clock = Clock::read();
        let mut state = self.state();
        state.journal.enable(restored.last);
        self.inner.durable.send_replace(restored.last);
        for (topic, message) in restored.retained {
            state.retained.restore(topic, message);
        }
        let mut over = Vec::new();
        for (mut session, away) in restored.sessions {
            let id = session.client();
            if away.is_none() {
                // It was connected when the process ended.
                session.note_itself(Some(clock.unix_ms), &mut state.journal);
            }
            for subscription in session.subscriptions.iter().filter(|subscription| subscription.shared) {
                state.shares.join(subscription, &id);
            }
            state.departures += 1;
            let ends = end(session.expiry, away.unwrap_or_default(), clock.now);
            if !session.lasts() {
                over.push(Arc::clone(&id));
            }
            let client = Client { session, link: None, departure: state.departures, ends, will: None };
            state.clients.insert(id, client);
        }
        for id in over {
            state.forget(&id, &self.inner, clock);
        }
        self.told(&state);
    }

    /// What is to be written next; waits until there is something.
    pub(super) async fn changes(&self) -> (Vec<Change>, Ticket) {
        loop {
            let noted = self.inner.noted.notified();
            let (changes, last) = self.state().journal.take();
            if !changes.is_empty() {
                return (changes, last);
            }
            noted.await;
        }
    }

    /// Everything up to `ticket` is on disk.
    pub(super) fn written(&self, ticket: Ticket) {
        self.inner.stuck.store(false, Ordering::Relaxed);
        self.inner.durable.send_replace(ticket);
    }

    /// The disk takes nothing. Wakes those who wait for room.
    pub(super) fn not_written(&self) {
        self.inner.stuck.store(true, Ordering::Relaxed);
        self.inner.durable.send_modify(|_| {});
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

/// When a session of `expiry` seconds ends whose client has been away for `away`.
fn end(expiry: u32, away: Duration, now: Instant) -> Option<Instant> {
    if expiry == FOREVER {
        return None;
    }
    now.checked_add(Duration::from_secs(expiry.into()).saturating_sub(away))
}

impl Client {
    fn new(id: Arc<str>) -> Self {
        Self { session: Session::new(id, 0), link: None, departure: 0, ends: None, will: None }
    }

    fn is_served_by(&self, connection: u64) -> bool {
        self.link.as_ref().is_some_and(|link| link.connection == connection)
    }

    fn is_over(&self, now: Instant) -> bool {
        self.link.is_none() && self.ends.is_some_and(|ends| ends <= now)
    }
}

impl State {
    fn route(&mut self, origin: Option<&str>, message: &Message, inner: &Inner) -> Ticket {
        let limits = &inner.limits;
        let clock = Clock::read();
        let before = self.journal.last();
        let Self { clients, shares, retained, journal, .. } = self;
        if message.retain {
            retained.keep(message, limits, journal, clock);
        }
        for (id, client) in clients.iter_mut() {
            let mut sent = false;
            for delivery in client.session.deliveries(message, origin == Some(&**id)) {
                client.push(delivery, inner, journal, clock);
                sent = true;
            }
            if sent && let Some(link) = &client.link {
                link.wake.notify_one();
            }
        }
        for (id, delivery) in shares.deliveries(message, clients) {
            if let Some(client) = clients.get_mut(&id) {
                client.push(delivery, inner, journal, clock);
                if let Some(link) = &client.link {
                    link.wake.notify_one();
                }
            }
        }
        self.journal.since(before)
    }

    fn subscribe(
        &mut self,
        attached: &Attached,
        subscription: Subscription,
        limits: &Limits,
        clock: Clock,
    ) -> SubscribeReasonCode {
        let Self { clients, shares, retained, journal, .. } = self;
        let Some(client) = clients.get_mut(&attached.id) else {
            return SubscribeReasonCode::UnspecifiedError;
        };
        let Some(new) = client.session.subscribe(subscription.clone(), limits, journal) else {
            return SubscribeReasonCode::QuotaExceeded;
        };
        let (options, identifier) = (subscription.options, subscription.identifier);
        if subscription.shared {
            // MQTT 5 §3.3.1.3: no retained messages by shared subscriptions.
            shares.join(&subscription, &attached.id);
        } else if options.retain_handling == RetainHandling::SendAtSubscribe
            || (options.retain_handling == RetainHandling::SendAtSubscribeIfNotExist && new)
        {
            for message in retained.matching(&subscription.filter, clock.now) {
                let delivery = Delivery {
                    qos: message.qos.min(options.max_qos),
                    message: message.clone(),
                    retain: true,
                    subscription: identifier,
                    share: None,
                };
                client.session.push(delivery, limits, journal, clock);
            }
        }
        match options.max_qos {
            QoS::Level0 => SubscribeReasonCode::GrantedQoS0,
            QoS::Level1 => SubscribeReasonCode::GrantedQoS1,
            QoS::Level2 => SubscribeReasonCode::GrantedQoS2,
        }
    }

    /// The session is over. Returns its will, if that is still to be spoken.
    fn forget(&mut self, id: &Arc<str>, inner: &Inner, clock: Clock) -> Option<Message> {
        let mut client = self.clients.remove(id)?;
        client.session.note_end(&mut self.journal);
        for subscription in client.session.subscriptions.iter().filter(|subscription| subscription.shared) {
            self.shares.leave(&subscription.text, id);
        }
        for delivery in client.session.bequeath() {
            let Some(heir) = delivery.share.as_ref().and_then(|share| self.shares.pick(share, &self.clients))
            else {
                continue;
            };
            if let Some(client) = self.clients.get_mut(&heir) {
                client.push(delivery, inner, &mut self.journal, clock);
                if let Some(link) = &client.link {
                    link.wake.notify_one();
                }
            }
        }
        client.will.map(|(_, will)| will)
    }
}

impl Client {
    fn push(&mut self, delivery: Delivery, inner: &Inner, journal: &mut Journal, clock: Clock) {
        let before = self.session.dropped;
        self.session.push(delivery, &inner.limits, journal, clock);
        if self.session.dropped > before {
            inner.dropped.fetch_add(1, Ordering::Relaxed);
            if before == 0 {
                warn!(client = %self.session.client(), "reads too slowly: messages for it are dropped");
            }
        }
    }
}
