//! What a client is still to be told, in the order in which it asked (MQTT-4.6.0-2): first the outcome must be known,
//! then what it promises must be on disk.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use mqtt_proto::Pid;
use mqtt_proto::v5::{
    Packet, Puback, PubackReasonCode, Pubcomp, PubcompReasonCode, Pubrec, PubrecReasonCode, Pubrel, Suback,
    SubscribeReasonCode, Unsuback, UnsubscribeReasonCode,
};
use tokio::sync::watch;

use crate::eventbus::broker::Outcome;
use crate::eventbus::broker::journal::Ticket;

/// What is said.
#[derive(Debug)]
pub(super) enum Reply {
    Acknowledged {
        pid: Pid,
    },
    Received {
        pid: Pid,
    },
    /// The client may not write to that topic. Who speaks 3.1.1 takes it for an acknowledgement (MQTT-3.3.5-2).
    Denied {
        pid: Pid,
        exactly_once: bool,
    },
    /// To the PUBREC of a message that we sent.
    Release {
        pid: Pid,
    },
    Completed {
        pid: Pid,
        found: bool,
    },
    Subscribed {
        pid: Pid,
        codes: Vec<SubscribeReasonCode>,
    },
    Unsubscribed {
        pid: Pid,
        codes: Vec<UnsubscribeReasonCode>,
    },
}

impl Reply {
    pub(super) fn packet(self) -> Packet {
        match self {
            Self::Acknowledged { pid } => Puback::new_success(pid).into(),
            Self::Received { pid } => Pubrec::new_success(pid).into(),
            Self::Denied { pid, exactly_once: false } => {
                Puback::new(pid, PubackReasonCode::NotAuthorized).into()
            }
            Self::Denied { pid, exactly_once: true } => {
                Pubrec::new(pid, PubrecReasonCode::NotAuthorized).into()
            }
            Self::Release { pid } => Pubrel::new_success(pid).into(),
            Self::Completed { pid, found: true } => Pubcomp::new_success(pid).into(),
            Self::Completed { pid, found: false } => {
                Pubcomp::new(pid, PubcompReasonCode::PacketIdentifierNotFound).into()
            }
            Self::Subscribed { pid, codes } => Suback::new(pid, codes).into(),
            Self::Unsubscribed { pid, codes } => Unsuback::new(pid, codes).into(),
        }
    }

    fn is_to_publish(&self) -> bool {
        matches!(self, Self::Acknowledged { .. } | Self::Received { .. })
    }
}

/// What an answer waits for.
enum Waits {
    Nothing,
    Store(Outcome),
    /// The same message came before, and its outcome is not known.
    First(Pin<Box<dyn Future<Output = bool> + Send>>),
}

/// An answer that may not be given yet.
pub(super) struct Answer {
    pub(super) reply: Reply,
    waits: Waits,
    /// Who asks what became of the message is told here.
    told: Option<watch::Sender<Option<bool>>>,
    ticket: Ticket,
}

impl Answer {
    pub(super) fn new(
        reply: Reply,
        outcome: Outcome,
        told: Option<watch::Sender<Option<bool>>>,
        ticket: Ticket,
    ) -> Self {
        Self { reply, waits: Waits::Store(outcome), told, ticket }
    }

    /// An answer that waits for the disk alone.
    pub(super) fn settled(reply: Reply, ticket: Ticket) -> Self {
        Self { reply, waits: Waits::Nothing, told: None, ticket }
    }

    /// The answer to a repetition of a QoS 2 publish.
    pub(super) fn repeated(pid: Pid, mut outcome: watch::Receiver<Option<bool>>) -> Self {
        let first = async move {
            let known = outcome.wait_for(Option::is_some).await;
            known.is_ok_and(|known| *known == Some(true))
        };
        Self { reply: Reply::Received { pid }, waits: Waits::First(Box::pin(first)), told: None, ticket: 0 }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        let stored = match &mut self.waits {
            Waits::Nothing | Waits::Store(Outcome::Settled) => true,
            Waits::Store(Outcome::Waiting(verdict)) => match Pin::new(verdict).poll(context) {
                Poll::Ready(verdict) => verdict.is_ok_and(|verdict| verdict.is_settled()),
                Poll::Pending => return Poll::Pending,
            },
            Waits::First(first) => match first.as_mut().poll(context) {
                Poll::Ready(stored) => stored,
                Poll::Pending => return Poll::Pending,
            },
        };
        if let Some(told) = self.told.take() {
            told.send_replace(Some(stored));
        }
        Poll::Ready(stored)
    }
}

/// The answers of one connection.
#[derive(Default)]
pub(super) struct Answers {
    /// Whose outcome is not known.
    open: VecDeque<Answer>,
    /// Whose outcome was heard and not yet looked at.
    heard: VecDeque<(Answer, bool)>,
    /// Which wait for the disk.
    known: VecDeque<Answer>,
}

impl Answers {
    pub(super) fn push(&mut self, answer: Answer) {
        self.open.push_back(answer);
    }

    pub(super) fn len(&self) -> usize {
        self.open.len() + self.heard.len() + self.known.len()
    }

    fn all(&self) -> impl Iterator<Item = &Answer> {
        self.open.iter().chain(self.heard.iter().map(|(answer, _)| answer)).chain(&self.known)
    }

    /// Publishes that are not answered.
    pub(super) fn publishes(&self) -> usize {
        self.all().filter(|answer| matches!(answer.reply, Reply::Acknowledged { .. })).count()
    }

    /// A SUBACK comes before the messages that the subscription brings.
    pub(super) fn holds_deliveries(&self) -> bool {
        self.all().any(|answer| matches!(answer.reply, Reply::Subscribed { .. }))
    }

    /// Waits until the outcome of the first is known, and takes all that are known after it.
    pub(super) async fn hear(&mut self) {
        poll_fn(|context| self.poll(context)).await;
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut some = false;
        while let Some(front) = self.open.front_mut() {
            let Poll::Ready(stored) = front.poll(context) else { break };
            if let Some(answer) = self.open.pop_front() {
                self.heard.push_back((answer, stored));
                some = true;
            }
        }
        if some { Poll::Ready(()) } else { Poll::Pending }
    }

    /// The next answer whose outcome is known.
    pub(super) fn heard(&mut self) -> Option<(Answer, bool)> {
        // What waits for nothing needs no waker.
        let _ = self.poll(&mut Context::from_waker(std::task::Waker::noop()));
        self.heard.pop_front()
    }

    /// The answer is good once the disk has both its own and this ticket.
    pub(super) fn wait_for_disk(&mut self, mut answer: Answer, ticket: Ticket) {
        answer.ticket = answer.ticket.max(ticket);
        self.known.push_back(answer);
    }

    /// The next answer that may be given now that the disk has everything up to `durable`.
    pub(super) fn due(&mut self, durable: Ticket) -> Option<Reply> {
        if self.known.front()?.ticket > durable {
            return None;
        }
        self.known.pop_front().map(|answer| answer.reply)
    }

    /// The client is gone. Who repeats its publishes elsewhere still wants to know what became of them.
    pub(super) async fn see_off(mut self) {
        self.open.retain(|answer| answer.told.is_some() && answer.reply.is_to_publish());
        while !self.open.is_empty() {
            self.hear().await;
        }
    }
}
