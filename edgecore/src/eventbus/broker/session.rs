//! What the broker keeps for one client: subscriptions, what is on its way to it, and what of its own is half done. Pure.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use mqtt_proto::v5::{Packet, Pubrel, SubscriptionOptions, VarByteInt};
use mqtt_proto::{Pid, QoS, QosPid};
use tokio::sync::watch;
use tokio::time::Instant;

use super::Limits;
use super::acl::Who;
use super::filter::Filter;
use super::journal::{Change, Journal, Ticket};
use super::message::{Delivered, Message};

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

/// A delivery that waits to be sent.
#[derive(Debug)]
struct Queued {
    delivery: Delivery,
    pid: Option<Pid>,
    dup: bool,
    /// It is sent once this is on disk: an identifier that a crash forgets would be given to another message.
    ticket: Ticket,
}

/// Sent with a QoS and not yet settled.
#[derive(Debug)]
enum Unsettled {
    Published(Delivery),
    Released,
}

/// What is known of a QoS 2 publish whose PUBREL has not come.
#[derive(Debug)]
enum Received {
    /// It was handed on; whether it was stored is not known yet.
    Waiting(watch::Receiver<Option<bool>>),
    Kept,
}

/// What a QoS 2 publish is.
#[derive(Debug)]
pub(super) enum Reception {
    /// New. What becomes of it is to be told here.
    First(watch::Sender<Option<bool>>),
    /// A repetition of one whose outcome is awaited.
    Repeated(watch::Receiver<Option<bool>>),
    /// A repetition of one that is kept, on disk once the ticket is.
    Kept(Ticket),
}

/// What ends a message's way to the client.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ending {
    /// PUBACK.
    Acknowledged,
    /// PUBCOMP.
    Completed,
    /// A PUBREC that refuses it.
    Refused,
    /// The client takes nothing as long.
    TooLong,
}

impl Ending {
    /// An answer of another quality, or before its turn, ends nothing: the message is sent again when the client comes
    /// back (MQTT5-4.3.2-3, 4.3.3-3, 4.3.3-5).
    fn ends(self, state: &Unsettled) -> bool {
        match (self, state) {
            (Self::TooLong, _) | (Self::Completed, Unsettled::Released) => true,
            (Self::Acknowledged, Unsettled::Published(delivery)) => delivery.qos == QoS::Level1,
            (Self::Refused, Unsettled::Published(delivery)) => delivery.qos == QoS::Level2,
            (Self::Completed, Unsettled::Published(_))
            | (Self::Acknowledged | Self::Refused, Unsettled::Released) => false,
        }
    }
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

    /// A session that the disk knows.
    pub(super) fn stored(client: Arc<str>, user: Option<Arc<str>>, expiry: u32, left: Option<i64>) -> Self {
        Self { stored: true, online: false, user, left, ..Self::new(client, expiry) }
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

    fn note(&self, journal: &mut Journal, change: impl FnOnce(Arc<str>) -> Option<Change>) -> Ticket {
        if self.lasts() { journal.note(|| change(Arc::clone(&self.client))) } else { 0 }
    }

    /// What has been noted so far is on disk once this is.
    fn newest(&self, journal: &Journal) -> Ticket {
        if self.lasts() { journal.last() } else { 0 }
    }

    /// Notes that the session exists, and since when its client is away (Unix milliseconds).
    pub(super) fn note_itself(&mut self, left: Option<i64>, journal: &mut Journal) -> Ticket {
        self.left = left;
        if !self.lasts() && !self.stored {
            return 0;
        }
        self.stored = true;
        journal.note(|| Some(self.itself()))
    }

    fn itself(&self) -> Change {
        let (client, user) = (Arc::clone(&self.client), self.user.clone());
        Change::Session { client, user, expiry: self.expiry, left: self.left }
    }

    /// All that the disk should have of it.
    pub(super) fn whole(&self, changes: &mut Vec<Change>, clock: Clock) {
        if !self.lasts() {
            return;
        }
        let client = || Arc::clone(&self.client);
        changes.push(self.itself());
        let subscribed = |subscription: &Subscription| Change::Subscribed {
            client: client(),
            subscription: subscription.clone(),
        };
        changes.extend(self.subscriptions.iter().map(subscribed));
        for (pid, state) in &self.unsettled {
            match state {
                Unsettled::Published(delivery) => changes.extend(self.queued(*pid, delivery, clock)),
                Unsettled::Released => {
                    // Of a message that its receiver has only the identifier is needed.
                    let (client, pid, packet) = (client(), *pid, Vec::new());
                    let again = Arc::clone(&client);
                    changes.push(Change::Queued { client, pid, packet, expires: None, share: None });
                    changes.push(Change::Released { client: again, pid });
                }
            }
        }
        for queued in &self.queue {
            changes.extend(queued.pid.and_then(|pid| self.queued(pid, &queued.delivery, clock)));
        }
        let received = self.received.iter().filter(|(_, state)| matches!(state, Received::Kept));
        changes.extend(received.map(|(pid, _)| Change::Received { client: client(), pid: *pid }));
    }

    fn queued(&self, pid: Pid, delivery: &Delivery, clock: Clock) -> Option<Change> {
        let to = delivered(delivery, Some(pid), false);
        let (packet, expires) = delivery.message.stored(to, clock.now, clock.unix_ms)?;
        Some(Change::Queued { client: self.client(), pid, packet, expires, share: delivery.share.clone() })
    }

    /// Notes that the session is over.
    pub(super) fn note_end(&self, journal: &mut Journal) -> Ticket {
        let client = Arc::clone(&self.client);
        if self.stored { journal.note(|| Some(Change::Forgotten { client })) } else { 0 }
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

    /// Whether there is a place for one more message of `size` bytes.
    fn has_room(&self, size: usize, limits: &Limits) -> bool {
        let messages = if self.online { limits.queue_messages } else { limits.offline_messages };
        self.queue.len() < messages && self.queued_bytes + size <= limits.queue_bytes
    }

    /// Queues a message. Who does not read loses what has no room: the twins do not wait for a slow reader.
    pub(super) fn push(&mut self, delivery: Delivery, limits: &Limits, journal: &mut Journal, clock: Clock) {
        let size = delivery.message.size();
        let worthless = !self.online && delivery.qos == QoS::Level0;
        if worthless || !self.has_room(size, limits) {
            self.dropped += u64::from(!worthless);
            return;
        }
        let pid = (delivery.qos != QoS::Level0).then(|| self.next_pid());
        let mut ticket = 0;
        if let Some(pid) = pid {
            ticket = self.note(journal, |_| self.queued(pid, &delivery, clock));
        }
        self.queued_bytes += size;
        self.queue.push_back(Queued { delivery, pid, dup: false, ticket });
    }

    /// Takes back what the disk has of it. The first `sent` may have reached the client before.
    pub(super) fn restore(&mut self, pid: Pid, delivery: Delivery, sent: usize) {
        self.in_use.insert(pid);
        self.last_pid = pid;
        self.queued_bytes += delivery.message.size();
        let dup = self.queue.len() < sent;
        self.queue.push_back(Queued { delivery, pid: Some(pid), dup, ticket: 0 });
    }

    pub(super) fn restore_released(&mut self, pid: Pid) {
        self.in_use.insert(pid);
        self.last_pid = pid;
        self.unsettled.push_back((pid, Unsettled::Released));
    }

    pub(super) fn restore_received(&mut self, pid: Pid) {
        self.received.insert(pid, Received::Kept);
    }

    /// The next packet to write, as far as the window of unsettled ones and the disk allow.
    pub(super) fn next(
        &mut self,
        window: usize,
        durable: Ticket,
        journal: &mut Journal,
        now: Instant,
    ) -> Option<Packet> {
        loop {
            let front = self.queue.front()?;
            let room = self.unsettled.len() < window;
            if (front.pid.is_some() && !room) || front.ticket > durable {
                return None;
            }
            let Queued { delivery, pid, dup, .. } = self.queue.pop_front()?;
            self.queued_bytes -= delivery.message.size();
            if delivery.message.is_expired(now) && !dup {
                if let Some(pid) = pid {
                    self.give_up(pid, journal);
                }
                continue;
            }
            let packet = delivery.message.packet(delivered(&delivery, pid, dup), now);
            if let Some(pid) = pid {
                self.unsettled.push_back((pid, Unsettled::Published(delivery)));
            }
            return Some(packet.into());
        }
    }

    fn give_up(&mut self, pid: Pid, journal: &mut Journal) {
        self.in_use.remove(&pid);
        self.note(journal, |client| Some(Change::Settled { client, pid }));
    }

    /// The client has it, or does not want it. Identifiers that are unknown are ignored.
    pub(super) fn settled(&mut self, pid: Pid, ending: Ending, journal: &mut Journal) {
        let before = self.unsettled.len();
        self.unsettled.retain(|(known, state)| *known != pid || !ending.ends(state));
        if self.unsettled.len() < before {
            self.give_up(pid, journal);
        }
    }

    /// PUBREC: from now on only the PUBREL is repeated, which is sent when the ticket is on disk. `None`: nobody knows
    /// of such a message.
    pub(super) fn recorded(&mut self, pid: Pid, journal: &mut Journal) -> Option<Ticket> {
        let (_, state) = self.unsettled.iter_mut().find(|(known, _)| *known == pid)?;
        if matches!(state, Unsettled::Published(delivery) if delivery.qos != QoS::Level2) {
            return None;
        }
        *state = Unsettled::Released;
        Some(self.note(journal, |client| Some(Change::Released { client, pid })))
    }

    /// A QoS 2 publish arrived.
    pub(super) fn receive(&mut self, pid: Pid, journal: &mut Journal) -> Reception {
        let told = match self.received.get(&pid) {
            Some(Received::Kept) => return Reception::Kept(self.newest(journal)),
            Some(Received::Waiting(outcome)) => {
                let told = *outcome.borrow();
                // The sender is gone without a word if its task is: nothing was acknowledged then.
                if told.is_none() && outcome.has_changed().is_ok() {
                    return Reception::Repeated(outcome.clone());
                }
                told
            }
            None => None,
        };
        if told == Some(true) {
            return Reception::Kept(self.kept(pid, journal));
        }
        let (told, outcome) = watch::channel(None);
        self.received.insert(pid, Received::Waiting(outcome));
        Reception::First(told)
    }

    /// The QoS 2 publish is stored: a repetition is one from now on.
    pub(super) fn kept(&mut self, pid: Pid, journal: &mut Journal) -> Ticket {
        match self.received.get_mut(&pid) {
            Some(state @ Received::Waiting(_)) => *state = Received::Kept,
            _ => return self.newest(journal),
        }
        self.note(journal, |client| Some(Change::Received { client, pid }))
    }

    /// PUBREL: done. False: no such publish is known.
    pub(super) fn complete(&mut self, pid: Pid, journal: &mut Journal) -> (bool, Ticket) {
        match self.received.remove(&pid) {
            Some(Received::Kept) => {
                (true, self.note(journal, |client| Some(Change::Completed { client, pid })))
            }
            Some(Received::Waiting(_)) => (true, 0),
            None => (false, 0),
        }
    }

    /// QoS 2 publishes of the client that are not released.
    pub(super) fn unreleased(&self) -> usize {
        self.received.len()
    }

    /// The client came back: what was sent and not settled goes first again (MQTT-4.4.0-1).
    pub(super) fn resume(&mut self) -> Vec<Packet> {
        self.online = true;
        let mut releases = Vec::new();
        let mut again = Vec::new();
        for (pid, state) in std::mem::take(&mut self.unsettled) {
            match state {
                Unsettled::Published(delivery) => again.push((pid, delivery)),
                Unsettled::Released => {
                    releases.push(Pubrel::new_success(pid).into());
                    self.unsettled.push_back((pid, Unsettled::Released));
                }
            }
        }
        for (pid, delivery) in again.into_iter().rev() {
            self.queued_bytes += delivery.message.size();
            self.queue.push_front(Queued { delivery, pid: Some(pid), dup: true, ticket: 0 });
        }
        releases
    }

    /// The client went: what is not worth keeping goes with it.
    pub(super) fn leave(&mut self, limits: &Limits, journal: &mut Journal) {
        self.online = false;
        self.queue.retain(|queued| queued.pid.is_some());
        let sent = self.queue.iter().take_while(|queued| queued.dup).count();
        for over in self.queue.split_off(self.queue.len().min(sent + limits.offline_messages)) {
            if let Some(pid) = over.pid {
                self.give_up(pid, journal);
            }
        }
        self.queue.shrink_to_fit();
        self.queued_bytes = self.queue.iter().map(|queued| queued.delivery.message.size()).sum();
    }

    /// What others of its shared subscriptions should get now that it is over (MQTT 5 §4.8.2): what the client may have
    /// seen goes on only if it may be seen twice.
    pub(super) fn bequeath(&mut self) -> Vec<Delivery> {
        let sent = std::mem::take(&mut self.unsettled).into_iter().filter_map(|(_, state)| match state {
            Unsettled::Published(delivery) if delivery.qos == QoS::Level1 => Some(delivery),
            _ => None,
        });
        let waiting = std::mem::take(&mut self.queue);
        let waiting = waiting.into_iter().filter(|queued| !queued.dup || queued.delivery.qos != QoS::Level2);
        sent.chain(waiting.map(|queued| queued.delivery))
            .filter(|delivery| delivery.share.is_some())
            .collect()
    }

    fn next_pid(&mut self) -> Pid {
        loop {
            self.last_pid += 1;
            // Window and queue are far smaller than the 65,535 identifiers, so one is free.
            if self.in_use.insert(self.last_pid) {
                return self.last_pid;
            }
        }
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

fn delivered(delivery: &Delivery, pid: Option<Pid>, dup: bool) -> Delivered {
    let qos_pid = match (pid, delivery.qos) {
        (Some(pid), QoS::Level2) => QosPid::Level2(pid),
        (Some(pid), _) => QosPid::Level1(pid),
        (None, _) => QosPid::Level0,
    };
    Delivered { qos_pid, dup, retain: delivery.retain, subscription: delivery.subscription }
}
