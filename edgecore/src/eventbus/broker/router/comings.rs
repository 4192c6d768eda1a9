//! Clients that come and go: whose session it is, when it ends, and which wills are due then.

use std::sync::Arc;
use std::time::Duration;

use mqtt_proto::v5::Packet;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::client::{Client, Link};
use super::wills::{Due, Kept, Will};
use super::{Router, State};
use crate::eventbus::broker::journal::{Change, Ticket};
use crate::eventbus::broker::session::Clock;
use crate::eventbus::broker::translate::FOREVER;

/// Who connects.
#[derive(Debug)]
pub(in crate::eventbus::broker) struct Hello<'a> {
    pub(in crate::eventbus::broker) id: &'a str,
    /// Whose session it is; `None`: nobody logs in here.
    pub(in crate::eventbus::broker) user: Option<&'a str>,
    /// Nothing of an earlier session is wanted.
    pub(in crate::eventbus::broker) clean: bool,
    /// Seconds that the session outlives the connection.
    pub(in crate::eventbus::broker) expiry: u32,
    /// What it wants to be said when it is gone.
    pub(in crate::eventbus::broker) will: Option<Will>,
}

/// A connection's hold on its session.
#[derive(Debug)]
pub(in crate::eventbus::broker) struct Attached {
    pub(in crate::eventbus::broker) id: Arc<str>,
    pub(super) connection: u64,
    pub(in crate::eventbus::broker) wake: Arc<Notify>,
    pub(in crate::eventbus::broker) kick: CancellationToken,
    pub(in crate::eventbus::broker) session_present: bool,
    /// What must be sent again before anything new.
    pub(in crate::eventbus::broker) repeat: Vec<Packet>,
    /// The session is on disk once this is.
    pub(in crate::eventbus::broker) ticket: Ticket,
    /// Its will is on disk once this is, and an earlier one gone from there.
    pub(in crate::eventbus::broker) will_ticket: Ticket,
    /// The will of the connection or session that ended with this.
    pub(in crate::eventbus::broker) orphaned: Option<Due>,
}

/// Why a client cannot come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::eventbus::broker) enum Refused {
    /// Every client's place is taken.
    Full,
    /// The session of that client id is another user's.
    Foreign,
}

impl Router {
    /// A client connects. A connection that holds the same id is put out.
    pub(in crate::eventbus::broker) fn attach(&self, hello: Hello<'_>) -> Result<Attached, Refused> {
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
    pub(in crate::eventbus::broker) fn renounce(&self, attached: &Attached) {
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
    pub(in crate::eventbus::broker) fn detach(&self, attached: &Attached) -> Vec<Due> {
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

    /// Gives the will to every client that wants it. The commit with what waits for lasting sessions says that they were
    /// told, so that a crash does not make it said to them twice.
    pub(in crate::eventbus::broker) fn say(&self, will: &Due) {
        if will.said {
            return;
        }
        let mut state = self.state();
        state.route(None, &will.message, &self.inner);
        state.journal.note(|| Some(Change::WillSaid { number: will.number }));
        self.told(&state);
    }

    /// The will was said, and `heard` by whom this process keeps it for; if not, it is offered again after a restart.
    pub(in crate::eventbus::broker) fn spoken(&self, number: u64, heard: bool) {
        let mut state = self.state();
        state.speaking = state.speaking.saturating_sub(1);
        if heard {
            state.journal.note(|| Some(Change::WillOver { number }));
        }
        self.told(&state);
    }

    /// Whether clients are connected, or something is being said for those who are not.
    pub(in crate::eventbus::broker) fn is_busy(&self) -> bool {
        let state = self.state();
        state.speaking > 0 || state.clients.values().any(|client| client.link.is_some())
    }

    /// Ends what is over: sessions, retained messages. Returns the wills that are due.
    pub(in crate::eventbus::broker) fn expire(&self) -> Vec<Due> {
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
}

/// When a session of `expiry` seconds ends whose client has been away for `away`.
pub(super) fn end(expiry: u32, away: Duration, now: Instant) -> Option<Instant> {
    if expiry == FOREVER {
        return None;
    }
    now.checked_add(Duration::from_secs(expiry.into()).saturating_sub(away))
}
