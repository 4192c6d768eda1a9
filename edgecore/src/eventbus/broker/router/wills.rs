//! What clients want to be said when they are gone, from CONNECT until it was said (MQTT 5 §3.1.2.5).

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::eventbus::broker::journal::{Change, Journal};
use crate::eventbus::broker::message::{Delivered, Message};
use crate::eventbus::broker::session::Clock;

/// What a client wants to be said, and how long after it went (MQTT 5 §3.1.3.2.2).
#[derive(Debug, Clone)]
pub(in crate::eventbus::broker) struct Will {
    pub(in crate::eventbus::broker) message: Message,
    pub(in crate::eventbus::broker) delay: Duration,
}

/// A will that is kept until it is due, or its client says goodbye or comes back.
#[derive(Debug)]
pub(super) struct Kept {
    number: u64,
    will: Will,
    /// When it is said; `None`: its client is connected.
    due: Option<Instant>,
    /// When its client went (Unix milliseconds).
    left: Option<i64>,
    said: bool,
}

/// A will that is to be said now. It is kept on disk until it was.
#[derive(Debug)]
pub(in crate::eventbus::broker) struct Due {
    pub(in crate::eventbus::broker) number: u64,
    pub(in crate::eventbus::broker) message: Message,
    /// Clients were told before the process ended; this process has not kept it.
    pub(super) said: bool,
}

/// A will that the disk had.
#[derive(Debug)]
pub(in crate::eventbus::broker) struct Restored {
    pub(in crate::eventbus::broker) number: u64,
    pub(in crate::eventbus::broker) client: Arc<str>,
    pub(in crate::eventbus::broker) will: Will,
    /// How long its client has been away; `None`: it was connected when the process ended.
    pub(in crate::eventbus::broker) away: Option<Duration>,
    /// Clients were told.
    pub(in crate::eventbus::broker) said: bool,
}

impl Kept {
    /// The will of a client that connects.
    pub(super) fn new(
        number: u64,
        client: &Arc<str>,
        will: Will,
        journal: &mut Journal,
        clock: Clock,
    ) -> Self {
        let will = Will { message: will.message.compact(), ..will };
        let kept = Self { number, will, due: None, left: None, said: false };
        journal.note(|| kept.stored(client, clock));
        kept
    }

    fn stored(&self, client: &Arc<str>, clock: Clock) -> Option<Change> {
        let Will { message, delay } = &self.will;
        let (packet, _) = message.stored(Delivered::to_nobody(message), clock.now, clock.unix_ms)?;
        let delay = u32::try_from(delay.as_secs()).unwrap_or(u32::MAX);
        Some(Change::Will { number: self.number, client: Arc::clone(client), delay, packet })
    }

    /// All that the disk should have of it.
    pub(super) fn whole(&self, client: &Arc<str>, clock: Clock) -> impl Iterator<Item = Change> {
        let left = self.left.map(|left| Change::WillWaits { number: self.number, left });
        self.stored(client, clock).into_iter().chain(left)
    }

    /// Goes on from what the disk has. Whose client was connected when the process ended waits from now on: nobody could
    /// have come back before.
    pub(super) fn restored(stored: Restored, journal: &mut Journal, clock: Clock) -> Self {
        let Restored { number, will, away, said, .. } = stored;
        let mut kept = Self { number, will, due: None, left: None, said };
        match away {
            None => kept.wait(journal, clock),
            Some(away) => {
                kept.due = clock.now.checked_add(kept.will.delay.saturating_sub(away));
                let away = i64::try_from(away.as_millis()).unwrap_or(i64::MAX);
                kept.left = Some(clock.unix_ms.saturating_sub(away));
            }
        }
        kept
    }

    /// Its client went.
    pub(super) fn wait(&mut self, journal: &mut Journal, clock: Clock) {
        let (number, left) = (self.number, clock.unix_ms);
        self.left = Some(left);
        journal.note(|| Some(Change::WillWaits { number, left }));
        // Beyond all time: with the session's end.
        self.due = clock.now.checked_add(self.will.delay);
    }

    /// It is said as soon as its client is gone.
    pub(super) fn is_immediate(&self) -> bool {
        self.will.delay.is_zero()
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.due.is_some_and(|due| due <= now)
    }

    /// Now it is to be said.
    pub(super) fn fall_due(self) -> Due {
        Due { number: self.number, message: self.will.message.begun(), said: self.said }
    }

    /// Nobody wants it said any more.
    pub(super) fn renounce(self, journal: &mut Journal) {
        journal.note(|| Some(Change::WillOver { number: self.number }));
    }
}
