//! What the router takes from the disk and hands to it, and what it does while the disk takes nothing.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::watch;

use super::client::Client;
use super::comings::end;
use super::wills::Kept;
use super::{Router, State};
use crate::eventbus::broker::journal::{Batch, Change, Ticket};
use crate::eventbus::broker::session::Clock;
use crate::eventbus::broker::store::Restored;

impl Router {
    /// Whether the disk keeps up. False: it takes nothing, and enough waits for it.
    pub(in crate::eventbus::broker) async fn has_room(&self) -> bool {
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
    pub(in crate::eventbus::broker) fn durable(&self) -> watch::Receiver<Ticket> {
        self.inner.durable.subscribe()
    }

    /// Goes on from what the disk has, and writes down from now on what must outlive the process.
    pub(in crate::eventbus::broker) fn restore(&self, restored: Restored) {
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
            if stored.said {
                // Whoever comes back, this process is still to keep it.
                orphans.push(Kept::restored(stored, journal, clock));
                continue;
            }
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
    pub(in crate::eventbus::broker) async fn changes(&self) -> Batch {
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
    pub(in crate::eventbus::broker) fn everything(&self) -> Batch {
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
    pub(in crate::eventbus::broker) fn written(&self, ticket: Ticket) {
        self.inner.stuck.store(false, Ordering::Relaxed);
        self.inner.durable.send_replace(ticket);
    }

    /// The disk takes nothing. Wakes those who wait for room.
    pub(in crate::eventbus::broker) fn not_written(&self) {
        self.inner.stuck.store(true, Ordering::Relaxed);
        self.inner.durable.send_modify(|_| {});
    }

    /// The disk takes nothing at the moment.
    pub(in crate::eventbus::broker) fn is_stuck(&self) -> bool {
        self.inner.stuck.load(Ordering::Relaxed)
    }
}
