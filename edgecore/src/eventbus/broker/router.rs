//! Who gets what: the sessions, the retained messages and the way between. A short lock guards it; nothing waits in it.

mod retained;
mod share;
#[cfg(test)]
mod tests;
mod wills;

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
use super::acl::{Acl, Deed, Who};
use super::journal::{Batch, Change, Journal, Ticket};
use super::message::Message;
use super::session::{Clock, Delivery, Session, Subscription};
use super::store::Restored;
use super::translate::FOREVER;
use retained::Retained;
use share::Shares;
use wills::Kept;
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

#[derive(Debug, Default)]
struct State {
    /// Who may read and write what; `None`: everybody everything.
    acl: Option<Arc<Acl>>,
    clients: HashMap<Arc<str>, Client>,
    shares: Shares,
    retained: Retained,
    journal: Journal,
    next_connection: u64,
    /// Grows with every departure; says which absent session is the oldest.
    departures: u64,
    /// The number of the newest will.
    last_will: u64,
    /// Older wills of clients that have another one by now, from before a restart.
    orphans: Vec<Kept>,
    /// Wills that are being said.
    speaking: usize,
}

#[derive(Debug)]
struct Client {
    session: Session,
    link: Option<Link>,
    departure: u64,
    /// When an absent session ends, unless its client comes back.
    ends: Option<Instant>,
    will: Option<Kept>,
}

/// The connection that serves a session now.
#[derive(Debug)]
struct Link {
    connection: u64,
    wake: Arc<Notify>,
    /// Cancelled when another connection takes the session over.
    kick: CancellationToken,
}

/// Who connects.
#[derive(Debug)]
pub(super) struct Hello<'a> {
    pub(super) id: &'a str,
    /// Whose session it is; `None`: nobody logs in here.
    pub(super) user: Option<&'a str>,
    /// Nothing of an earlier session is wanted.
    pub(super) clean: bool,
    /// Seconds that the session outlives the connection.
    pub(super) expiry: u32,
    /// What it wants to be said when it is gone.
    pub(super) will: Option<Will>,
}

/// A connection's hold on its session.
#[derive(Debug)]
pub(super) struct Attached {
    pub(super) id: Arc<str>,
    connection: u64,
    pub(super) wake: Arc<Notify>,
    pub(super) kick: CancellationToken,
    pub(super) session_present: bool,
    /// What must be sent again before anything new.
    pub(super) repeat: Vec<Packet>,
    /// The session is on disk once this is.
    pub(super) ticket: Ticket,
    /// Its will is on disk once this is, and an earlier one gone from there.
    pub(super) will_ticket: Ticket,
    /// The will of the connection or session that ended with this.
    pub(super) orphaned: Option<Due>,
}

/// Why a client cannot come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// Every client's place is taken.
    Full,
    /// The session of that client id is another user's.
    Foreign,
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

    /// Whether the disk keeps up. False: it takes nothing, and enough waits for it.
    pub(super) async fn has_room(&self) -> bool {
        let mut durable = self.inner.durable.subscribe();
        loop {
            durable.mark_unchanged();
            if !self.state().journal.is_full() {
                return true;
            }
            if self.is_stuck() || durable.changed().await.is_err() {
                return false;
            }
        }
    }

    /// Up to where the changes are on disk.
    pub(super) fn durable(&self) -> watch::Receiver<Ticket> {
        self.inner.durable.subscribe()
    }

    /// A client connects. A connection that holds the same id is put out.
    pub(super) fn attach(&self, hello: Hello<'_>) -> Result<Attached, Refused> {
        let clock = Clock::read();
        let mut state = self.state();
        state.next_connection += 1;
        let connection = state.next_connection;
        let id: Arc<str> = hello.id.into();
        let known = state.clients.get(&id).is_some_and(|client| client.link.is_some());
        let connected = state.clients.values().filter(|client| client.link.is_some()).count();
        if !known && connected >= self.inner.limits.connections {
            return Err(Refused::Full);
        }
        let owned = state.clients.get(&id).filter(|client| !client.is_over(clock.now));
        let owner = owned.and_then(|client| client.session.user.as_deref());
        if owner.is_some() && hello.user.is_some() && owner != hello.user {
            return Err(Refused::Foreign);
        }
        let goes_on = !hello.clean
            && state
                .clients
                .get(&id)
                .is_some_and(|client| client.session.lasts() && !client.is_over(clock.now));
        if let Some(link) = state.clients.get(&id).and_then(|client| client.link.as_ref()) {
            link.kick.cancel();
        }
        let mut orphaned = if goes_on { None } else { state.forget(&id, &self.inner, clock) };
        let State { clients, journal, last_will, .. } = &mut *state;
        let client = clients.entry(Arc::clone(&id)).or_insert_with(|| Client::new(Arc::clone(&id)));
        client.session.user = hello.user.map(Into::into);
        client.session.expiry = hello.expiry;
        client.ends = None;
        let repeat = client.session.resume();
        let noted = client.session.note_itself(None, journal);
        let before = journal.last();
        match client.will.take() {
            // The connection that is put out here ended, and its client wants that said at once.
            Some(will) if client.link.is_some() && will.is_immediate() => orphaned = Some(will.fall_due()),
            // MQTT5-3.1.3-9: a delayed will is for those who do not come back.
            Some(will) => will.renounce(journal),
            None => {}
        }
        client.will = hello.will.map(|will| {
            *last_will += 1;
            Kept::new(*last_will, &id, will, journal, clock)
        });
        // What the disk knows already need not wait for it.
        let ticket = if goes_on { 0 } else { noted };
        let will_ticket = journal.since(before);
        let (wake, kick) = (Arc::new(Notify::new()), CancellationToken::new());
        // What waited while the client was away is written at once.
        wake.notify_one();
        client.link = Some(Link { connection, wake: Arc::clone(&wake), kick: kick.clone() });
        state.speaking += usize::from(orphaned.is_some());
        self.told(&state);
        Ok(Attached {
            id,
            connection,
            wake,
            kick,
            session_present: goes_on,
            repeat,
            ticket,
            will_ticket,
            orphaned,
        })
    }

    /// Nobody wants the will of the connection said any more.
    pub(super) fn renounce(&self, attached: &Attached) {
        let mut state = self.state();
        let State { clients, journal, .. } = &mut *state;
        let mine = clients.get_mut(&attached.id).filter(|client| client.is_served_by(attached.connection));
        if let Some(will) = mine.and_then(|client| client.will.take()) {
            will.renounce(journal);
        }
        self.told(&state);
    }

    /// A connection ended. Its session goes with it or stays, as the client asked. Returns the wills that are to be
    /// spoken now.
    pub(super) fn detach(&self, attached: &Attached) -> Vec<Due> {
        let limits = &self.inner.limits;
        let clock = Clock::read();
        let mut state = self.state();
        state.departures += 1;
        let departure = state.departures;
        let State { clients, journal, .. } = &mut *state;
        let mine = clients.get_mut(&attached.id).filter(|client| client.is_served_by(attached.connection));
        // Taken over: who did that has the will.
        let Some(client) = mine else { return Vec::new() };
        client.link = None;
        let mut wills = Vec::new();
        if client.session.lasts() {
            client.departure = departure;
            client.session.leave(limits, journal);
            client.session.note_itself(Some(clock.unix_ms), journal);
            client.ends = end(client.session.expiry, Duration::ZERO, clock.now);
            match client.will.take() {
                Some(will) if will.is_immediate() => wills.push(will.fall_due()),
                Some(mut will) => {
                    will.wait(journal, clock);
                    client.will = Some(will);
                }
                None => {}
            }
        } else {
            wills.extend(state.forget(&attached.id, &self.inner, clock));
        }
        let absent = || state.clients.iter().filter(|(_, client)| client.link.is_none());
        if absent().count() > limits.absent_sessions
            && let Some(oldest) =
                absent().min_by_key(|(_, client)| client.departure).map(|(id, _)| Arc::clone(id))
        {
            warn!(client = %oldest, "too many absent sessions: the oldest is forgotten");
            wills.extend(state.forget(&oldest, &self.inner, clock));
        }
        state.speaking += wills.len();
        self.told(&state);
        wills
    }

    /// The will was said, and `heard` by whom this process keeps it for; if not, it is said again after a restart.
    pub(super) fn spoken(&self, number: u64, heard: bool) {
        let mut state = self.state();
        state.speaking = state.speaking.saturating_sub(1);
        if heard {
            state.journal.note(|| Some(Change::WillOver { number }));
        }
        self.told(&state);
    }

    /// Whether clients are connected, or something is being said for those who are not.
    pub(super) fn is_busy(&self) -> bool {
        let state = self.state();
        state.speaking > 0 || state.clients.values().any(|client| client.link.is_some())
    }

    /// Ends what is over: sessions, retained messages. Returns the wills that are due.
    pub(super) fn expire(&self) -> Vec<Due> {
        let clock = Clock::read();
        let mut state = self.state();
        let over: Vec<Arc<str>> = state
            .clients
            .iter()
            .filter(|(_, client)| client.is_over(clock.now))
            .map(|(id, _)| Arc::clone(id))
            .collect();
        let mut wills: Vec<Due> = state.orphans.drain(..).map(Kept::fall_due).collect();
        wills.extend(over.iter().filter_map(|id| state.forget(id, &self.inner, clock)));
        for client in state.clients.values_mut() {
            wills.extend(client.will.take_if(|will| will.is_due(clock.now)).map(Kept::fall_due));
        }
        state.speaking += wills.len();
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
            let client = Client { session, link: None, departure: state.departures, ends, will: None };
            state.clients.insert(id, client);
        }
        for stored in restored.wills {
            let State { clients, journal, orphans, last_will, .. } = &mut *state;
            *last_will = stored.number.max(*last_will);
            let id = Arc::clone(&stored.client);
            // A session that did not last ended with its connection, and so it will be found.
            let client = clients
                .entry(Arc::clone(&id))
                .or_insert_with(|| Client { ends: Some(clock.now), ..Client::new(id) });
            orphans.extend(client.will.replace(Kept::restored(stored, journal, clock)));
        }
        self.told(&state);
    }

    /// What is to be written next; waits until there is something.
    pub(super) async fn changes(&self) -> Batch {
        loop {
            let noted = self.inner.noted.notified();
            let batch = self.state().journal.take();
            if !batch.changes.is_empty() {
                return batch;
            }
            noted.await;
        }
    }

    /// All that the disk should have, in the place of what was noted so far.
    pub(super) fn everything(&self) -> Batch {
        let clock = Clock::read();
        let mut state = self.state();
        let mut everything: Vec<Change> = state.retained.whole(clock).collect();
        for (id, client) in &state.clients {
            client.session.whole(&mut everything, clock);
            everything.extend(client.will.iter().flat_map(|will| will.whole(id, clock)));
        }
        state.journal.restart(everything)
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

    /// The disk takes nothing at the moment.
    pub(super) fn is_stuck(&self) -> bool {
        self.inner.stuck.load(Ordering::Relaxed)
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
    fn allows(&self, who: Who<'_>, deed: Deed, topic: &str) -> bool {
        self.acl.as_ref().is_none_or(|acl| acl.allows(who, deed, topic))
    }

    fn route(&mut self, origin: Option<&str>, message: &Message, inner: &Inner) -> Ticket {
        let limits = &inner.limits;
        let clock = Clock::read();
        let before = self.journal.last();
        let Self { acl, clients, shares, retained, journal, .. } = self;
        let may_read = |session: &Session| {
            acl.as_ref().is_none_or(|acl| acl.allows(session.who(), Deed::Read, &message.topic))
        };
        if message.retain {
            retained.keep(message, limits, journal, clock);
        }
        for (id, client) in clients.iter_mut() {
            let deliveries = client.session.deliveries(message, origin == Some(&**id));
            if deliveries.is_empty() || !may_read(&client.session) {
                continue;
            }
            for delivery in deliveries {
                client.push(delivery, inner, journal, clock);
            }
            if let Some(link) = &client.link {
                link.wake.notify_one();
            }
        }
        for (id, delivery) in shares.deliveries(message, clients, &may_read) {
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
        let Self { acl, clients, shares, retained, journal, .. } = self;
        let Some(client) = clients.get_mut(&attached.id) else {
            return SubscribeReasonCode::UnspecifiedError;
        };
        let who = client.session.who();
        if acl.as_ref().is_some_and(|acl| !acl.may_subscribe(who, &subscription.filter)) {
            return SubscribeReasonCode::NotAuthorized;
        }
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
                let who = client.session.who();
                if acl.as_ref().is_some_and(|acl| !acl.allows(who, Deed::Read, &message.topic)) {
                    continue;
                }
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
    fn forget(&mut self, id: &Arc<str>, inner: &Inner, clock: Clock) -> Option<Due> {
        let mut client = self.clients.remove(id)?;
        client.session.note_end(&mut self.journal);
        for subscription in client.session.subscriptions.iter().filter(|subscription| subscription.shared) {
            self.shares.leave(&subscription.text, id);
        }
        for delivery in client.session.bequeath() {
            let Self { acl, clients, shares, .. } = self;
            let may_read = |session: &Session| {
                let topic = &delivery.message.topic;
                acl.as_ref().is_none_or(|acl| acl.allows(session.who(), Deed::Read, topic))
            };
            let heir = delivery.share.as_ref().and_then(|share| shares.pick(share, clients, &may_read));
            let Some(heir) = heir else { continue };
            if let Some(client) = self.clients.get_mut(&heir) {
                client.push(delivery, inner, &mut self.journal, clock);
                if let Some(link) = &client.link {
                    link.wake.notify_one();
                }
            }
        }
        client.will.map(Kept::fall_due)
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
