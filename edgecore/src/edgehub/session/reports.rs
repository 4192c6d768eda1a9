//! Reports on their way up: a window of rows in flight, the newest version of each, resent until answered.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use proto::message::{MessageId, Operation};
use proto::resource::{Resource, ResourceKind};
use proto::session::{Dialect, Item, Outcome};
use tokio::time::Instant;

use super::limiter::Limiter;
use super::{OutboxId, Output, Report, RowKey, Settings};

/// Rows asked of an outbox at once.
const PULL: usize = 128;
/// Pauses before a row that the cloud could not take is tried again.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_CAP: Duration = Duration::from_secs(60);
/// An outbox that failed is asked again after this.
const OUTBOX_PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Reports {
    window: usize,
    answer_timeout: Duration,
    dialect: Dialect,
    limiter: Limiter,
    outboxes: Vec<Outbox>,
    /// Pulled, waiting for the limiter.
    waiting: VecDeque<(OutboxId, Report)>,
    /// Sent, waiting for the answer.
    sent: HashMap<MessageId, (OutboxId, RowKey)>,
    /// Sent, and nobody will answer: told once a later ping is answered, which the cloud reads in order.
    unanswered: VecDeque<Unanswered>,
}

#[derive(Debug)]
struct Unanswered {
    outbox: OutboxId,
    row: RowKey,
    version: u64,
    /// The first ping that is sent after it.
    ping: u64,
}

#[derive(Debug, Default)]
struct Outbox {
    /// Rows may be ahead that are not in flight.
    dirty: bool,
    /// Rows asked for and not yet given.
    pulling: usize,
    /// Counts `Changed`, so that a change during a row's flight is not missed.
    changes: u64,
    flights: HashMap<RowKey, Flight>,
    /// How often rows were refused in a row.
    attempts: HashMap<RowKey, u32>,
    /// Not to be asked before.
    paused_until: Option<Instant>,
}

#[derive(Debug)]
struct Flight {
    version: u64,
    /// The outbox's `changes` when the row was read.
    seen: u64,
    kind: Option<ResourceKind>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Waits for the limiter, or for the pong that stands in for an answer.
    Waiting,
    /// Sent under this id; sent again from `deadline` on.
    Sent { id: MessageId, deadline: Instant },
    /// Refused for now; may be read again from `until` on.
    Held { until: Instant },
}

impl Reports {
    pub(super) fn new(settings: &Settings, dialect: Dialect, outboxes: usize, now: Instant) -> Self {
        let dirty = || Outbox { dirty: true, ..Outbox::default() };
        Self {
            window: settings.window.max(1),
            answer_timeout: settings.answer_timeout,
            dialect,
            limiter: Limiter::new(settings.rate, now),
            outboxes: std::iter::repeat_with(dirty).take(outboxes).collect(),
            waiting: VecDeque::new(),
            sent: HashMap::new(),
            unanswered: VecDeque::new(),
        }
    }

    /// A request goes out past the limiter, and counts.
    pub(super) fn charge(&mut self, now: Instant) {
        self.limiter.charge(now);
    }

    pub(super) fn changed(&mut self, outbox: OutboxId) {
        if let Some(outbox) = self.outboxes.get_mut(outbox) {
            outbox.changes += 1;
            outbox.dirty = true;
        }
    }

    pub(super) fn ahead(&mut self, id: OutboxId, limit: usize, reports: Option<Vec<Report>>, now: Instant) {
        let Some(outbox) = self.outboxes.get_mut(id) else { return };
        outbox.pulling = 0;
        let Some(reports) = reports else {
            outbox.dirty = true;
            outbox.paused_until = Some(now + OUTBOX_PAUSE);
            return;
        };
        // A full answer means that there may be more.
        outbox.dirty |= reports.len() >= limit;
        for report in reports {
            if outbox.flights.contains_key(&report.row) {
                continue;
            }
            let kind = match &report.message.route.resource {
                Resource::Object(key) => Some(key.kind.clone()),
                _ => None,
            };
            let flight =
                Flight { version: report.version, seen: outbox.changes, kind, state: State::Waiting };
            outbox.flights.insert(report.row.clone(), flight);
            self.waiting.push_back((id, report));
        }
    }

    /// What kind of object a sent report is about; `None` if no report has this id.
    pub(super) fn kind_of(&self, id: &MessageId) -> Option<Option<&ResourceKind>> {
        let (outbox, row) = self.sent.get(id)?;
        let flight = self.outboxes.get(*outbox)?.flights.get(row)?;
        Some(flight.kind.as_ref())
    }

    /// The cloud decided on the report with this id; unknown ids are answers to what was since sent again.
    pub(super) fn answered(&mut self, id: &MessageId, outcome: Outcome, now: Instant, out: &mut Vec<Output>) {
        let Some((id, row)) = self.sent.remove(id) else { return };
        let Some(outbox) = self.outboxes.get_mut(id) else { return };
        let Some(flight) = outbox.flights.get_mut(&row) else { return };
        let version = flight.version;
        match outcome {
            Outcome::Retry(reason) => {
                let attempts = outbox.attempts.entry(row.clone()).or_default();
                *attempts += 1;
                let pause = RETRY_CAP.min(RETRY_FIRST * 2_u32.saturating_pow((*attempts - 1).min(6)));
                tracing::debug!(row = %row, "the cloud cannot take the report now, again in {pause:?}: {reason}");
                flight.state = State::Held { until: now + pause };
            }
            Outcome::Done => {
                self.finish(id, &row);
                out.push(Output::Confirm { outbox: id, row, version });
            }
            Outcome::Rejected(reason) => {
                self.finish(id, &row);
                out.push(Output::Reject { outbox: id, row, version, reason });
            }
        }
    }

    /// The row is out of flight; if it changed meanwhile, its outbox is asked again.
    fn finish(&mut self, id: OutboxId, row: &RowKey) {
        let Some(outbox) = self.outboxes.get_mut(id) else { return };
        outbox.attempts.remove(row);
        if let Some(flight) = outbox.flights.remove(row) {
            outbox.dirty |= outbox.changes > flight.seen;
        }
    }

    // --- reports that nobody answers

    /// Whether a report waits for a ping that is not sent yet.
    pub(super) fn wants_ping_after(&self, last_ping: u64) -> bool {
        self.unanswered.back().is_some_and(|last| last.ping > last_ping)
    }

    pub(super) fn ponged(&mut self, number: u64, out: &mut Vec<Output>) {
        while let Some(first) = self.unanswered.pop_front_if(|first| first.ping <= number) {
            let Unanswered { outbox, row, version, .. } = first;
            self.finish(outbox, &row);
            out.push(Output::Confirm { outbox, row, version });
        }
    }

    // --- time

    pub(super) fn next_timer(&self) -> Option<Instant> {
        let limiter = self.waiting.front().map(|_| self.limiter.next());
        let outboxes = self.outboxes.iter().flat_map(|outbox| {
            let flights = outbox.flights.values().filter_map(|flight| match flight.state {
                State::Waiting => None,
                State::Sent { deadline: at, .. } | State::Held { until: at } => Some(at),
            });
            flights.chain(outbox.paused_until)
        });
        outboxes.chain(limiter).min()
    }

    pub(super) fn tick(&mut self, last_ping: u64, now: Instant, out: &mut Vec<Output>) {
        for outbox in &mut self.outboxes {
            let before = outbox.flights.len();
            outbox.flights.retain(|_, flight| match &flight.state {
                State::Waiting => true,
                State::Held { until } => *until > now,
                State::Sent { id, deadline } => {
                    let late = *deadline <= now;
                    if late {
                        self.sent.remove(id);
                    }
                    !late
                }
            });
            outbox.dirty |= outbox.flights.len() < before;
            outbox.paused_until = outbox.paused_until.filter(|until| *until > now);
        }
        self.send(last_ping, now, out);
        self.pull(out);
    }

    fn send(&mut self, last_ping: u64, now: Instant, out: &mut Vec<Output>) {
        while !self.waiting.is_empty() && self.limiter.take(now) {
            let Some((id, report)) = self.waiting.pop_front() else { return };
            let Some(flight) =
                self.outboxes.get_mut(id).and_then(|outbox| outbox.flights.get_mut(&report.row))
            else {
                continue;
            };
            // KubeEdge's cloud answers everything but events, the steps of tasks and what rules carry.
            let operation = &report.message.route.operation;
            let is_step = matches!(operation, Operation::UpdateNodeActionStatus | Operation::Upload);
            let silent = is_step || flight.kind == Some(ResourceKind::Event);
            if self.dialect == Dialect::KubeEdge && silent {
                let Report { row, version, .. } = report;
                self.unanswered.push_back(Unanswered { outbox: id, row, version, ping: last_ping + 1 });
            } else {
                let message_id = report.message.header.id.clone();
                flight.state = State::Sent { id: message_id.clone(), deadline: now + self.answer_timeout };
                self.sent.insert(message_id, (id, report.row));
            }
            out.push(Output::Send(Item::Message(report.message)));
        }
    }

    /// Asks the outboxes that have something, as much as the window still holds.
    fn pull(&mut self, out: &mut Vec<Output>) {
        let taken: usize = self.outboxes.iter().map(|outbox| outbox.flights.len() + outbox.pulling).sum();
        let mut room = self.window.saturating_sub(taken);
        for (id, outbox) in self.outboxes.iter_mut().enumerate() {
            let limit = room.min(PULL);
            if limit == 0 || !outbox.dirty || outbox.pulling > 0 || outbox.paused_until.is_some() {
                continue;
            }
            room -= limit;
            outbox.dirty = false;
            outbox.pulling = limit;
            let in_flight: HashSet<RowKey> = outbox.flights.keys().cloned().collect();
            out.push(Output::Pull { outbox: id, limit, in_flight });
        }
    }
}
