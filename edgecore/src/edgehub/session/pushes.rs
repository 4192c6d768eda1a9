//! What the cloud sent to be kept: stored in groups, in order, acknowledged when on disk.

use std::collections::VecDeque;

use proto::answer;
use proto::message::{Group, Message, Operation, Source};
use proto::resource::{Resource, ResourceKind};
use proto::session::{Ack, Dialect, Item, Outcome};

use super::{Output, Ticket};

/// Messages in one transaction.
const GROUP: usize = 128;
/// Messages and bytes that may wait for the store before the cloud has to wait.
const ROOM_MESSAGES: usize = 512;
const ROOM_BYTES: usize = 4 << 20;

#[derive(Debug, Default)]
pub(super) struct Pushes {
    waiting: VecDeque<(Message, Option<Ticket>)>,
    bytes: usize,
    /// Handed to the store: how to acknowledge each, and whom to answer with it.
    storing: Vec<(Ack, Option<(Ticket, Message)>)>,
}

impl Pushes {
    pub(super) fn have_room(&self) -> bool {
        self.waiting.len() < ROOM_MESSAGES && self.bytes < ROOM_BYTES
    }

    /// `ticket`: whoever asked for this object gets it after it is stored.
    pub(super) fn add(&mut self, message: Message, ticket: Option<Ticket>) {
        self.bytes += message.content.get().len();
        self.waiting.push_back((message, ticket));
    }

    pub(super) fn pump(&mut self, out: &mut Vec<Output>) {
        if !self.storing.is_empty() || self.waiting.is_empty() {
            return;
        }
        let mut group = Vec::with_capacity(self.waiting.len().min(GROUP));
        while group.len() < GROUP
            && let Some((message, ticket)) = self.waiting.pop_front()
        {
            self.bytes -= message.content.get().len();
            let answer = ticket.map(|ticket| (ticket, message.clone()));
            self.storing.push((acknowledgement(&message), answer));
            group.push(message);
        }
        out.push(Output::Store(group));
    }

    /// What is on disk is acknowledged; what is not, is not. Whoever asked gets the object either way: it is
    /// true, only not kept.
    pub(super) fn stored(&mut self, outcomes: Vec<Outcome>, dialect: Dialect, out: &mut Vec<Output>) {
        for ((mut ack, answer), outcome) in self.storing.drain(..).zip(outcomes) {
            ack.outcome = outcome;
            // KubeEdge's cloud wants to hear of a task's steps, not of its arrival, and of what rules want nothing.
            let silent = matches!(ack.route.group, Group::TaskManager | Group::User);
            if dialect == Dialect::SkerryV1 || !silent {
                out.push(Output::Send(Item::Ack(ack)));
            }
            if let Some((ticket, message)) = answer {
                out.push(Output::Answer { ticket, answer: Ok(message) });
            }
        }
    }
}

/// KubeEdge's edge confirms that a device comes or goes in its twin module's name, and so do we to its cloud.
fn acknowledgement(message: &Message) -> Ack {
    let mut ack = Ack::of(message, Outcome::Done);
    let comes_or_goes = matches!(message.route.operation, Operation::Insert | Operation::Delete);
    if comes_or_goes && message.route.source == Source::DeviceController {
        ack.route.source = Source::Meta;
        ack.route.group = Group::Twin;
    }
    ack
}

/// Answers that bring an object which the cloud then tracks as held by this node. Failures and empty
/// objects are never kept: KubeEdge's edge does, and runs pods on config maps that do not exist.
pub(super) fn is_object_to_keep(message: &Message) -> bool {
    let Resource::Object(key) = &message.route.resource else { return false };
    let kept = matches!(
        key.kind,
        ResourceKind::ConfigMap
            | ResourceKind::Secret
            | ResourceKind::PersistentVolume
            | ResourceKind::PersistentVolumeClaim
            | ResourceKind::VolumeAttachment
    );
    kept && message.route.operation == Operation::Response
        && matches!(message.route.group, Group::Resource | Group::Func | Group::Meta)
        && answer::parse(&message.content).is_ok_and(|object| object.pointer("/metadata/uid").is_some())
}
