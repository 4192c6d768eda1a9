//! One session with the cloud, without its socket: what was said, what is awaited, what is due.
//!
//! Pure: [`Session::step`] takes an input and the time and says what to do; the shell around it does it. A session
//! lives as long as its connection. Whatever was in flight when it dies is still ahead in its outbox and
//! comes again on the next one, so nothing here needs to survive.

mod limiter;
mod liveness;
mod pushes;
mod reports;
mod requests;
mod verdict;

use std::collections::HashSet;
use std::time::Duration;

use proto::message::{Group, Message, MessageId, Operation};
use proto::session::{Ack, Dialect, Held, Inventory, Item, Outcome};
use tokio::time::Instant;

use super::{Report, RequestError, RowKey};
use liveness::Liveness;
use pushes::Pushes;
use reports::Reports;
use requests::Requests;

/// Which of the registered outboxes.
pub(crate) type OutboxId = usize;
/// Which of the shell's waiting requests.
pub(crate) type Ticket = u64;

/// Bounds and periods of a session.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How often KubeEdge's keepalive message goes out. The cloud drops a node after twice that.
    pub heartbeat: Duration,
    /// How often the link is probed with a websocket ping.
    pub ping_every: Duration,
    /// A link on which nothing came for so long is dead.
    pub dead_after: Duration,
    /// A report that is not answered for so long is sent again.
    pub answer_timeout: Duration,
    /// Reports that may be in flight.
    pub window: usize,
    /// Reports a second and at once, for a cloud that must be spared: KubeEdge's.
    pub rate: Option<Rate>,
}

/// A bound on reports over time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// On average.
    pub per_second: f64,
    /// At once.
    pub burst: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(15),
            ping_every: Duration::from_secs(5),
            dead_after: Duration::from_secs(10),
            answer_timeout: Duration::from_secs(20),
            window: 512,
            rate: None,
        }
    }
}

/// What happened.
#[expect(
    clippy::large_enum_variant,
    reason = "moved once through a short queue: a box would cost more than it saves"
)]
#[derive(Debug)]
pub(crate) enum Input {
    /// The cloud said something.
    Received(Vec<Item>),
    /// Bytes came, whether or not they make a message yet.
    Heard,
    /// The cloud answered the ping of this number.
    Pong(u64),
    /// A module asks the cloud.
    Request { ticket: Ticket, message: Message, deadline: Duration },
    /// What became of the last [`Output::Store`], message by message.
    Stored(Vec<Outcome>),
    /// What the store holds, to be told to the cloud.
    Inventory(Vec<Held>),
    /// Rows of this outbox got ahead.
    Changed(OutboxId),
    /// The rows that [`Output::Pull`] asked for; `None` if the outbox failed.
    Ahead { outbox: OutboxId, limit: usize, reports: Option<Vec<Report>> },
    /// A message that was to be sent has no form on the wire (it is too long).
    Unsendable { id: MessageId, reason: String },
    /// Time passed.
    Tick,
}

/// What to do.
#[derive(Debug)]
pub(crate) enum Output {
    /// Say this.
    Send(Item),
    /// Send a websocket ping of this number.
    Ping(u64),
    /// Store these in one go, then give [`Input::Stored`]. Only one such order is open at a time.
    Store(Vec<Message>),
    /// Answer the module that asked.
    Answer { ticket: Ticket, answer: Result<Message, RequestError> },
    /// Ask the outbox what is ahead, then give [`Input::Ahead`].
    Pull { outbox: OutboxId, limit: usize, in_flight: HashSet<RowKey> },
    /// The cloud has this version.
    Confirm { outbox: OutboxId, row: RowKey, version: u64 },
    /// The cloud will never take this version.
    Reject { outbox: OutboxId, row: RowKey, version: u64, reason: String },
    /// End the connection; the reason is for people.
    Close(&'static str),
}

/// The state of one session.
#[derive(Debug)]
pub(crate) struct Session {
    dialect: Dialect,
    pushes: Pushes,
    reports: Reports,
    requests: Requests,
    liveness: Liveness,
}

impl Session {
    /// A session on a connection that has just been made. The first outputs come from the first [`Input::Tick`].
    pub(crate) fn new(settings: &Settings, dialect: Dialect, outboxes: usize, now: Instant) -> Self {
        Self {
            dialect,
            pushes: Pushes::default(),
            reports: Reports::new(settings, dialect, outboxes, now),
            requests: Requests::default(),
            liveness: Liveness::new(settings, now),
        }
    }

    /// Whether the shell may read on; if not, the store is behind and the cloud has to wait.
    pub(crate) fn can_receive(&self) -> bool {
        self.pushes.have_room()
    }

    /// Whether the shell may take another request.
    pub(crate) fn can_request(&self) -> bool {
        self.requests.have_room()
    }

    /// When the next [`Input::Tick`] is due at the latest.
    pub(crate) fn next_tick(&self) -> Instant {
        let timers =
            [Some(self.liveness.next_timer()), self.reports.next_timer(), self.requests.next_timer()];
        timers.into_iter().flatten().min().unwrap_or_else(|| self.liveness.next_timer())
    }

    /// Takes an input; what is to be done is appended to `out`, in order.
    pub(crate) fn step(&mut self, input: Input, now: Instant, out: &mut Vec<Output>) {
        match input {
            Input::Received(items) => {
                self.liveness.heard(now);
                for item in items {
                    self.receive(item, now, out);
                }
            }
            Input::Heard => self.liveness.heard(now),
            Input::Pong(number) => {
                self.liveness.heard(now);
                self.reports.ponged(number, out);
            }
            Input::Request { ticket, message, deadline } => {
                self.reports.charge(now);
                self.requests.add(ticket, message.header.id.clone(), now + deadline);
                out.push(Output::Send(Item::Message(message)));
            }
            Input::Stored(outcomes) => self.pushes.stored(outcomes, self.dialect, out),
            Input::Inventory(held) => self.tell_inventory(held, out),
            Input::Changed(outbox) => self.reports.changed(outbox),
            Input::Ahead { outbox, limit, reports } => self.reports.ahead(outbox, limit, reports, now),
            Input::Unsendable { id, reason } => {
                if let Some(ticket) = self.requests.take(&id) {
                    out.push(Output::Answer { ticket, answer: Err(RequestError::Rejected(reason)) });
                } else {
                    self.reports.answered(&id, Outcome::Rejected(reason), now, out);
                }
            }
            Input::Tick => {}
        }
        if !self.pushes.have_room() {
            // We do not read now, so silence proves nothing.
            self.liveness.heard(now);
        }
        self.liveness.tick(now, out);
        self.requests.tick(now, out);
        let last_ping = self.liveness.last_ping();
        self.reports.tick(last_ping, now, out);
        if self.reports.wants_ping_after(last_ping) {
            self.liveness.probe(now, out);
        }
        self.pushes.pump(out);
    }

    fn receive(&mut self, item: Item, now: Instant, out: &mut Vec<Output>) {
        match item {
            Item::Ack(ack) => {
                if !self.requests.acked(&ack, out) {
                    self.reports.answered(&ack.of, ack.outcome, now, out);
                }
            }
            Item::Message(message) if message.header.parent.is_some() => self.answer(message, now, out),
            Item::Message(message) => self.push(message, out),
            // Only edges have inventories.
            Item::Inventory(_) => {}
        }
    }

    /// An answer belongs to a request, to a report, or to nobody any more; an object in it is kept either way,
    /// because the cloud counts it as delivered once it is acknowledged.
    fn answer(&mut self, message: Message, now: Instant, out: &mut Vec<Output>) {
        let Some(parent) = message.header.parent.clone() else { return };
        let keep = pushes::is_object_to_keep(&message);
        if let Some(ticket) = self.requests.take(&parent) {
            match () {
                () if message.route.operation == Operation::Error => {
                    let reason = message.content.as_str().unwrap_or_default().into_owned();
                    out.push(Output::Answer { ticket, answer: Err(RequestError::Rejected(reason)) });
                }
                () if keep => self.pushes.add(message, Some(ticket)),
                () => out.push(Output::Answer { ticket, answer: Ok(message) }),
            }
        } else if let Some(kind) = self.reports.kind_of(&parent) {
            let outcome = verdict::of(kind, &message);
            self.reports.answered(&parent, outcome, now, out);
        } else if keep {
            self.pushes.add(message, None);
        }
    }

    fn push(&mut self, message: Message, out: &mut Vec<Output>) {
        match message.route.group {
            Group::Resource | Group::Func | Group::TaskManager | Group::User => {
                self.pushes.add(message, None)
            }
            // Devices come as objects of their own; the old membership list says nothing that they do not.
            Group::Twin => self.acknowledge(&message, Outcome::Done, out),
            ref group => {
                let reason = format!("this edge has no module for group {group}");
                self.acknowledge(&message, Outcome::Rejected(reason), out);
            }
        }
    }

    /// KubeEdge's cloud wants no acknowledgement for these groups, and would take one as an answer.
    fn acknowledge(&self, message: &Message, outcome: Outcome, out: &mut Vec<Output>) {
        if self.dialect == Dialect::SkerryV1 {
            out.push(Output::Send(Item::Ack(Ack::of(message, outcome))));
        }
    }

    fn tell_inventory(&self, held: Vec<Held>, out: &mut Vec<Output>) {
        if self.dialect == Dialect::SkerryV1 {
            out.push(Output::Send(Item::Inventory(Inventory { held, last: true })));
        }
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
