//! Keepalives for the cloud's sake, pings for ours.

use std::time::Duration;

use proto::message::Message;
use proto::session::Item;
use tokio::time::Instant;

use super::{Output, Settings};

#[derive(Debug)]
pub(super) struct Liveness {
    heartbeat: Duration,
    ping_every: Duration,
    dead_after: Duration,
    keepalive_due: Instant,
    ping_due: Instant,
    last_heard: Instant,
    pings: u64,
    /// Since when the newest ping is unanswered.
    waiting_since: Option<Instant>,
}

impl Liveness {
    pub(super) fn new(settings: &Settings, now: Instant) -> Self {
        Self {
            heartbeat: settings.heartbeat,
            ping_every: settings.ping_every,
            dead_after: settings.dead_after,
            keepalive_due: now,
            ping_due: now + settings.ping_every,
            last_heard: now,
            pings: 0,
            waiting_since: None,
        }
    }

    pub(super) fn heard(&mut self, now: Instant) {
        self.last_heard = now;
        self.waiting_since = None;
    }

    pub(super) fn last_ping(&self) -> u64 {
        self.pings
    }

    pub(super) fn next_timer(&self) -> Instant {
        let next = self.keepalive_due.min(self.ping_due);
        if self.waiting_since.is_some() { next.min(self.last_heard + self.dead_after) } else { next }
    }

    pub(super) fn tick(&mut self, now: Instant, out: &mut Vec<Output>) {
        if self.waiting_since.is_some() && now >= self.last_heard + self.dead_after {
            out.push(Output::Close("the cloud went silent: not even a ping is answered"));
            return;
        }
        if now >= self.keepalive_due {
            self.keepalive_due = now + self.heartbeat;
            out.push(Output::Send(Item::Message(Message::keepalive())));
        }
        if now >= self.ping_due {
            self.ping(now, out);
        }
    }

    /// Pings now, unless an answer is awaited anyway.
    pub(super) fn probe(&mut self, now: Instant, out: &mut Vec<Output>) {
        if self.waiting_since.is_none() {
            self.ping(now, out);
        }
    }

    fn ping(&mut self, now: Instant, out: &mut Vec<Output>) {
        self.pings += 1;
        self.ping_due = now + self.ping_every;
        self.waiting_since.get_or_insert(now);
        out.push(Output::Ping(self.pings));
    }
}
