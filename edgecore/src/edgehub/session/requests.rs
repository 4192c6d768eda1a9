//! Questions of modules that the cloud has not answered yet.

use std::collections::HashMap;

use proto::message::MessageId;
use proto::session::{Ack, Outcome};
use tokio::time::Instant;

use super::{Output, RequestError, Ticket};

/// Questions that may wait for their answers at once.
const ROOM: usize = 256;

#[derive(Debug, Default)]
pub(super) struct Requests {
    waiting: HashMap<MessageId, (Ticket, Instant)>,
}

impl Requests {
    pub(super) fn have_room(&self) -> bool {
        self.waiting.len() < ROOM
    }

    pub(super) fn add(&mut self, ticket: Ticket, id: MessageId, deadline: Instant) {
        self.waiting.insert(id, (ticket, deadline));
    }

    /// The one who waits for this answer waits no longer.
    pub(super) fn take(&mut self, id: &MessageId) -> Option<Ticket> {
        self.waiting.remove(id).map(|(ticket, _)| ticket)
    }

    /// Whether the acknowledgement was for a request. `Done` only says that the answer will come.
    pub(super) fn acked(&mut self, ack: &Ack, out: &mut Vec<Output>) -> bool {
        let reason = match &ack.outcome {
            Outcome::Done => return self.waiting.contains_key(&ack.of),
            Outcome::Retry(reason) | Outcome::Rejected(reason) => reason.clone(),
        };
        let Some(ticket) = self.take(&ack.of) else { return false };
        out.push(Output::Answer { ticket, answer: Err(RequestError::Rejected(reason)) });
        true
    }

    pub(super) fn next_timer(&self) -> Option<Instant> {
        self.waiting.values().map(|(_, deadline)| *deadline).min()
    }

    pub(super) fn tick(&mut self, now: Instant, out: &mut Vec<Output>) {
        self.waiting.retain(|_, (ticket, deadline)| {
            let late = *deadline <= now;
            if late {
                out.push(Output::Answer { ticket: *ticket, answer: Err(RequestError::Timeout) });
            }
            !late
        });
    }
}
