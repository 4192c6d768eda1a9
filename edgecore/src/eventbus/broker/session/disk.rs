//! What the disk is told of a session, and what is taken back from there.

use std::sync::Arc;

use mqtt_proto::Pid;

use super::incoming::Received;
use super::outgoing::{Queued, Unsettled, delivered};
use super::{Clock, Delivery, Session, Subscription};
use crate::eventbus::broker::journal::{Change, Journal, Ticket};

impl Session {
    /// A session that the disk knows.
    pub(in crate::eventbus::broker) fn stored(
        client: Arc<str>,
        user: Option<Arc<str>>,
        expiry: u32,
        left: Option<i64>,
    ) -> Self {
        Self { stored: true, online: false, user, left, ..Self::new(client, expiry) }
    }

    pub(super) fn note(
        &self,
        journal: &mut Journal,
        change: impl FnOnce(Arc<str>) -> Option<Change>,
    ) -> Ticket {
        if self.lasts() { journal.note(|| change(Arc::clone(&self.client))) } else { 0 }
    }

    /// What has been noted so far is on disk once this is.
    pub(super) fn newest(&self, journal: &Journal) -> Ticket {
        if self.lasts() { journal.last() } else { 0 }
    }

    /// Notes that the session exists, and since when its client is away (Unix milliseconds).
    pub(in crate::eventbus::broker) fn note_itself(
        &mut self,
        left: Option<i64>,
        journal: &mut Journal,
    ) -> Ticket {
        self.left = left;
        if !self.lasts() && !self.stored {
            return 0;
        }
        self.stored = true;
        journal.note(|| Some(self.itself()))
    }

    pub(super) fn itself(&self) -> Change {
        let (client, user) = (Arc::clone(&self.client), self.user.clone());
        Change::Session { client, user, expiry: self.expiry, left: self.left }
    }

    /// All that the disk should have of it.
    pub(in crate::eventbus::broker) fn whole(&self, changes: &mut Vec<Change>, clock: Clock) {
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

    pub(super) fn queued(&self, pid: Pid, delivery: &Delivery, clock: Clock) -> Option<Change> {
        let to = delivered(delivery, Some(pid), false);
        let (packet, expires) = delivery.message.stored(to, clock.now, clock.unix_ms)?;
        Some(Change::Queued { client: self.client(), pid, packet, expires, share: delivery.share.clone() })
    }

    /// Notes that the session is over.
    pub(in crate::eventbus::broker) fn note_end(&self, journal: &mut Journal) -> Ticket {
        let client = Arc::clone(&self.client);
        if self.stored { journal.note(|| Some(Change::Forgotten { client })) } else { 0 }
    }

    /// Takes back what the disk has of it. The first `sent` may have reached the client before.
    pub(in crate::eventbus::broker) fn restore(&mut self, pid: Pid, delivery: Delivery, sent: usize) {
        self.in_use.insert(pid);
        self.last_pid = pid;
        self.queued_bytes += delivery.message.size();
        let dup = self.queue.len() < sent;
        self.queue.push_back(Queued { delivery, pid: Some(pid), dup, ticket: 0 });
    }

    pub(in crate::eventbus::broker) fn restore_released(&mut self, pid: Pid) {
        self.in_use.insert(pid);
        self.last_pid = pid;
        self.unsettled.push_back((pid, Unsettled::Released));
    }

    pub(in crate::eventbus::broker) fn restore_received(&mut self, pid: Pid) {
        self.received.insert(pid, Received::Kept);
    }
}
