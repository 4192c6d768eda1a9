//! What must reach the disk, in the order in which it happened. Filled under the router's lock, emptied by the writer.

use std::sync::Arc;

use mqtt_proto::Pid;

use super::session::Subscription;

/// Changes that wait for the disk before clients that publish are made to wait.
const CHANGES: usize = 4096;
/// Bytes of them.
const BYTES: usize = 4 << 20;

/// One change of what outlives the process.
#[derive(Debug, Clone)]
pub(super) enum Change {
    /// A lasting session, and how long it lasts after its client went (seconds).
    Session {
        client: Arc<str>,
        expiry: u32,
        left: Option<i64>,
    },
    /// The session and all that hangs on it is over.
    Forgotten {
        client: Arc<str>,
    },
    Subscribed {
        client: Arc<str>,
        subscription: Subscription,
    },
    Unsubscribed {
        client: Arc<str>,
        filter: Box<str>,
    },
    /// A message for the client, under the identifier that it will have.
    Queued {
        client: Arc<str>,
        pid: Pid,
        packet: Vec<u8>,
        expires: Option<i64>,
        share: Option<Arc<str>>,
    },
    /// The client has it (QoS 2); only the PUBREL is repeated from now on.
    Released {
        client: Arc<str>,
        pid: Pid,
    },
    /// The client has it, or it was given up.
    Settled {
        client: Arc<str>,
        pid: Pid,
    },
    /// A QoS 2 message of the client was taken; its PUBREL is awaited.
    Received {
        client: Arc<str>,
        pid: Pid,
    },
    /// The PUBREL came.
    Completed {
        client: Arc<str>,
        pid: Pid,
    },
    Retained {
        topic: Arc<str>,
        packet: Vec<u8>,
        expires: Option<i64>,
    },
    Cleared {
        topic: Arc<str>,
    },
    /// What is to be said when the client is gone, and how many seconds after.
    Will {
        number: u64,
        client: Arc<str>,
        delay: u32,
        packet: Vec<u8>,
    },
    /// The client of the will went (Unix milliseconds).
    WillWaits {
        number: u64,
        left: i64,
    },
    /// It was said, or nobody wants it said any more.
    WillOver {
        number: u64,
    },
}

/// What is written in one transaction.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) changes: Vec<Change>,
    /// The ticket of the last of them; the others have those before it.
    pub(super) last: Ticket,
    /// It is all that there is: nothing that the disk has is good any more.
    pub(super) anew: bool,
}

/// The place of a change in the order; 0 is before all.
pub(super) type Ticket = u64;

/// The changes that nobody has written yet.
#[derive(Debug, Default)]
pub(super) struct Journal {
    /// Without a store nothing is noted.
    enabled: bool,
    changes: Vec<Change>,
    bytes: usize,
    last: Ticket,
}

impl Journal {
    /// Starts to note, after `last`.
    pub(super) fn enable(&mut self, last: Ticket) {
        self.enabled = true;
        self.last = last;
    }

    /// The ticket says when the change is on disk. `change` is only made if it is noted.
    pub(super) fn note(&mut self, change: impl FnOnce() -> Option<Change>) -> Ticket {
        if self.enabled
            && let Some(change) = change()
        {
            self.bytes += match &change {
                Change::Queued { packet, .. }
                | Change::Retained { packet, .. }
                | Change::Will { packet, .. } => packet.len(),
                _ => 0,
            };
            self.changes.push(change);
            self.last += 1;
        }
        self.last()
    }

    /// The newest change.
    pub(super) fn last(&self) -> Ticket {
        if self.enabled { self.last } else { 0 }
    }

    /// The newest change if there is one after `before`; else 0.
    pub(super) fn since(&self, before: Ticket) -> Ticket {
        if self.last() == before { 0 } else { self.last() }
    }

    pub(super) fn has_changes(&self) -> bool {
        !self.changes.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.changes.len() >= CHANGES || self.bytes >= BYTES
    }

    /// Everything noted so far.
    pub(super) fn take(&mut self) -> Batch {
        self.bytes = 0;
        Batch { changes: std::mem::take(&mut self.changes), last: self.last, anew: false }
    }

    /// What was noted so far is in `everything`.
    pub(super) fn restart(&mut self, everything: Vec<Change>) -> Batch {
        self.take();
        // Each has a ticket that nothing had before.
        self.last += everything.len() as u64;
        Batch { changes: everything, last: self.last, anew: true }
    }
}
