//! What must reach the disk, in the order in which it happened. Filled under the router's lock, emptied by the writer.

use std::collections::HashMap;
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
        user: Option<Arc<str>>,
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
    /// All clients were told. This process may not have kept it yet.
    WillSaid {
        number: u64,
    },
    /// This process kept it, too, or nobody wants it said any more.
    WillOver {
        number: u64,
    },
}

impl Change {
    fn size(&self) -> usize {
        match self {
            Self::Queued { packet, .. } | Self::Retained { packet, .. } | Self::Will { packet, .. } => {
                packet.len()
            }
            _ => 0,
        }
    }
}

/// What is written in one transaction.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) changes: Vec<Change>,
    /// Once this ticket is on disk, all of them are. The last has it for a place, the others those before it.
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
    /// Where in `changes` the newest of a retained message's topic is.
    retained: HashMap<Arc<str>, usize>,
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
            self.bytes += change.size();
            self.last += 1;
            match self.earlier(&change) {
                Some(earlier) => {
                    let before = std::mem::replace(earlier, change).size();
                    self.bytes -= before;
                }
                None => self.changes.push(change),
            }
        }
        self.last()
    }

    /// Of what waits for the disk, the one that says something else of the same topic. It is worth nothing any more:
    /// this process does not wait for the disk before it speaks, and may have much to say of a few topics.
    fn earlier(&mut self, change: &Change) -> Option<&mut Change> {
        let (Change::Retained { topic, .. } | Change::Cleared { topic }) = change else { return None };
        let at = *self.retained.entry(Arc::clone(topic)).or_insert(self.changes.len());
        self.changes.get_mut(at)
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
        self.retained = HashMap::new();
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn keep(topic: &str, payload: u8) -> Change {
        Change::Retained { topic: topic.into(), packet: vec![payload; 10], expires: None }
    }

    /// What the disk has after `changes`.
    fn after(changes: &[Change]) -> BTreeMap<Arc<str>, Vec<u8>> {
        let mut disk = BTreeMap::new();
        for change in changes {
            match change {
                Change::Retained { topic, packet, .. } => {
                    disk.insert(Arc::clone(topic), packet.clone());
                }
                Change::Cleared { topic } => {
                    disk.remove(topic);
                }
                _ => {}
            }
        }
        disk
    }

    proptest! {
        #[test]
        fn of_a_topic_the_newest_is_kept_and_the_rest_of_the_journal_as_it_was(
            said in proptest::collection::vec((0u8..4, 0u8..5, any::<u8>()), 1..60),
        ) {
            let mut journal = Journal::default();
            journal.enable(7);
            let (mut all, mut others) = (Vec::new(), 0);
            for (kind, topic, payload) in said {
                let topic = format!("t/{topic}");
                let change = match kind {
                    0 => Change::Cleared { topic: topic.into() },
                    1 => Change::WillOver { number: payload.into() },
                    _ => keep(&topic, payload),
                };
                others += usize::from(kind == 1);
                all.push(change.clone());
                let before = journal.last();
                prop_assert_eq!(journal.note(|| Some(change)), before + 1);
                prop_assert!(journal.since(before) > before, "it waits for the disk all the same");
            }
            let sizes: usize = journal.changes.iter().map(Change::size).sum();
            prop_assert_eq!(journal.bytes, sizes);
            let batch = journal.take();
            prop_assert_eq!(after(&batch.changes), after(&all));
            prop_assert!(batch.changes.len() <= others + 5);
            prop_assert_eq!(batch.last, 7 + all.len() as u64);
            journal.note(|| Some(keep("t/0", 1)));
            prop_assert_eq!(journal.take().changes.len(), 1);
        }
    }

    #[test]
    fn what_is_written_anew_has_tickets_of_its_own() {
        let mut journal = Journal::default();
        journal.enable(3);
        journal.note(|| Some(keep("a", 1)));
        let batch = journal.restart(vec![keep("a", 1), keep("b", 2)]);
        assert_eq!((batch.last, batch.anew, journal.has_changes()), (6, true, false));
        assert_eq!(journal.note(|| Some(keep("a", 3))), 7);
    }
}
