//! What the client publishes with QoS 2 and has not released: whether a message is new or came before.

use mqtt_proto::Pid;
use tokio::sync::watch;

use super::Session;
use crate::eventbus::broker::journal::{Change, Journal, Ticket};

/// What is known of a QoS 2 publish whose PUBREL has not come.
#[derive(Debug)]
pub(super) enum Received {
    /// It was handed on; whether it was stored is not known yet.
    Waiting(watch::Receiver<Option<bool>>),
    Kept,
}

/// What a QoS 2 publish is.
#[derive(Debug)]
pub(in crate::eventbus::broker) enum Reception {
    /// New. What becomes of it is to be told here.
    First(watch::Sender<Option<bool>>),
    /// A repetition of one whose outcome is awaited.
    Repeated(watch::Receiver<Option<bool>>),
    /// A repetition of one that is kept, on disk once the ticket is.
    Kept(Ticket),
}

impl Session {
    /// A QoS 2 publish arrived.
    pub(in crate::eventbus::broker) fn receive(&mut self, pid: Pid, journal: &mut Journal) -> Reception {
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
    pub(in crate::eventbus::broker) fn kept(&mut self, pid: Pid, journal: &mut Journal) -> Ticket {
        match self.received.get_mut(&pid) {
            Some(state @ Received::Waiting(_)) => *state = Received::Kept,
            _ => return self.newest(journal),
        }
        self.note(journal, |client| Some(Change::Received { client, pid }))
    }

    /// PUBREL: done. False: no such publish is known.
    pub(in crate::eventbus::broker) fn complete(
        &mut self,
        pid: Pid,
        journal: &mut Journal,
    ) -> (bool, Ticket) {
        match self.received.remove(&pid) {
            Some(Received::Kept) => {
                (true, self.note(journal, |client| Some(Change::Completed { client, pid })))
            }
            Some(Received::Waiting(_)) => (true, 0),
            None => (false, 0),
        }
    }

    /// QoS 2 publishes of the client that are not released.
    pub(in crate::eventbus::broker) fn unreleased(&self) -> usize {
        self.received.len()
    }
}
