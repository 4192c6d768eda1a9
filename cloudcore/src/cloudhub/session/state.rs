//! The session as a pure state machine: what came in and the time go in, what to send and to do comes out.
//!
//! Every object has a [`Slot`]: what the edge should have, what it confirmed, and what is under way. One version of an
//! object is under way at a time; newer ones wait in the slot and replace each other there. A window bounds how many
//! objects are under way; one that is not confirmed leaves the window and comes back after a growing pause, so it
//! never holds up the others.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use proto::message::{MessageId, Operation};
use proto::resource::{ObjectKey, ResourceKind};
use proto::session::{Dialect, Item, Outcome};

use super::io::{Farewell, Input, Moment, Output};
use super::lanes::Lanes;
use super::push::{self, Target};
use super::slot::{Slot, Stage, Version};
use super::{Reply, Settings};
use crate::desired::{Change, Object, Plane};

mod inventory;

/// One node's session.
#[derive(Debug)]
pub struct Session {
    settings: Settings,
    dialect: Dialect,
    slots: HashMap<ObjectKey, Slot>,
    queue: BTreeMap<u64, ObjectKey>,
    next_place: u64,
    timers: BTreeSet<(Moment, ObjectKey)>,
    sent: HashMap<MessageId, ObjectKey>,
    flying: usize,
    synced: HashSet<Plane>,
    /// What the edge said it holds, per plane that is not yet compared.
    inventory: HashMap<ObjectKey, (String, String)>,
    inventory_complete: bool,
    /// When a peer that owes an inventory is treated as one that has none.
    inventory_until: Moment,
    /// Device memberships announced to a KubeEdge edge in this session.
    members: HashSet<ObjectKey>,
    lanes: Lanes,
    unwritten: usize,
    heard: Moment,
    pinged: Moment,
}

// === impl Session ===

impl Session {
    /// A session that begins now. `stored` is what a peer without an inventory is known to have from earlier sessions.
    #[must_use]
    pub fn new(settings: Settings, dialect: Dialect, stored: HashMap<ObjectKey, String>) -> Self {
        let waits = matches!(dialect, Dialect::SkerryV1);
        // Versions are not trusted: an edge that lost its store does not tell.
        let inventory = stored.into_iter().map(|(key, uid)| (key, (uid, String::new()))).collect();
        Self {
            inventory_until: settings.inventory_within,
            lanes: Lanes::new(settings.requests, settings.request_bytes),
            settings,
            dialect,
            slots: HashMap::new(),
            queue: BTreeMap::new(),
            next_place: 0,
            timers: BTreeSet::new(),
            sent: HashMap::new(),
            flying: 0,
            synced: HashSet::new(),
            inventory,
            inventory_complete: !waits,
            members: HashSet::new(),
            unwritten: 0,
            heard: Moment::ZERO,
            pinged: Moment::ZERO,
        }
    }

    /// Takes one input and says what follows from it.
    pub fn step(&mut self, input: Input, now: Moment) -> Vec<Output> {
        let mut out = Vec::new();
        match input {
            Input::Changed(change) => self.changed(change),
            Input::Received(item) => {
                self.heard = now;
                self.received(item, now, &mut out);
            }
            Input::Tell(message) => out.push(Output::Send(Item::Message(message))),
            Input::Heard => self.heard = now,
            Input::Answered { to, reply } => self.answered(&to, reply, &mut out),
            Input::Written(items) => self.unwritten = self.unwritten.saturating_sub(items),
            Input::Tick => self.tick(now, &mut out),
        }
        self.fill_window(now, &mut out);
        self.unwritten += out.iter().filter(|output| matches!(output, Output::Send(_))).count();
        out
    }

    /// Whether more may be read from the peer; false pushes back on it until requests are dealt with and written.
    #[must_use]
    pub fn wants_input(&self) -> bool {
        self.lanes.have_room() && self.unwritten < self.settings.requests
    }

    /// When [`Input::Tick`] is due, if nothing else happens before.
    #[must_use]
    pub fn wake_at(&self) -> Moment {
        let silence = self.heard + self.settings.silent_for;
        let ping = self.heard.max(self.pinged) + self.settings.ping_every;
        let timer = self.timers.first().map_or(Moment::MAX, |(due, _)| *due);
        let inventory = if self.inventory_complete { Moment::MAX } else { self.inventory_until };
        silence.min(ping).min(timer).min(inventory)
    }

    /// Objects sent and not yet confirmed.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.flying
    }

    /// Whether the edge has confirmed everything that it should have.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.inventory_complete && self.slots.values().all(|slot| slot.stage == Stage::Idle)
    }

    fn changed(&mut self, change: Change) {
        match change {
            Change::Object(key, newest) => self.retarget(key, newest),
            Change::Again(key) => {
                if let Some(slot) = self.slots.get_mut(&key) {
                    (slot.confirmed, slot.refused, slot.initial) = (None, None, false);
                    slot.again = matches!(slot.stage, Stage::Flying(_));
                    if self.dialect == Dialect::KubeEdge {
                        // As an insert: its edge passes over an update that is equal to what it has.
                        slot.edge_uid = None;
                    }
                    self.schedule(&key);
                }
            }
            Change::Synced(plane) => {
                self.synced.insert(plane);
                self.compare(plane);
            }
        }
    }

    fn retarget(&mut self, key: ObjectKey, newest: Option<Arc<Object>>) {
        match newest {
            Some(object) => {
                let initial = Plane::of(&key.kind).is_some_and(|plane| !self.synced.contains(&plane));
                let slot = self
                    .slots
                    .entry(key.clone())
                    .or_insert_with(|| Slot::new(Target::Present(object.clone())));
                slot.target = Target::Present(object);
                slot.initial |= initial;
            }
            None => {
                let Some(slot) = self.slots.get_mut(&key) else { return };
                if let Target::Present(last) = &slot.target {
                    slot.target = Target::Gone { uid: last.uid.clone(), last: Some(last.clone()) };
                }
                // A KubeEdge edge may hold what an earlier cloudcore sent it; a Skerry edge would have said so.
                let unknown = slot.edge_uid.is_none() && self.inventory_complete;
                if unknown && self.dialect == Dialect::SkerryV1 {
                    self.forget(&key);
                    return;
                }
            }
        }
        self.schedule(&key);
    }

    /// Puts an object into the queue if the edge does not have what it should, and is not busy with it.
    fn schedule(&mut self, key: &ObjectKey) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        let wanted = slot.target.version();
        let settled = slot.confirmed.as_ref() == Some(&wanted) || slot.refused.as_ref() == Some(&wanted);
        match slot.stage {
            // What is under way is waited for; its confirmation schedules again.
            Stage::Flying(_) => {}
            Stage::Queued(place) if settled => {
                self.queue.remove(&place);
                slot.stage = Stage::Idle;
            }
            Stage::Queued(_) => {}
            Stage::Resting(until) => {
                // A newer version need not wait for the pause that an older one earned, except after failures.
                let newer = slot.sent.as_ref().is_none_or(|(_, version)| *version != wanted);
                if settled || (newer && slot.attempts <= 3) {
                    self.timers.remove(&(until, key.clone()));
                    slot.stage = Stage::Idle;
                    self.schedule(key);
                }
            }
            Stage::Idle if settled => {
                if matches!(slot.target, Target::Gone { .. }) {
                    self.forget(key);
                }
            }
            Stage::Idle => {
                slot.stage = Stage::Queued(self.next_place);
                self.queue.insert(self.next_place, key.clone());
                self.next_place += 1;
            }
        }
    }

    fn forget(&mut self, key: &ObjectKey) {
        let Some(slot) = self.slots.remove(key) else { return };
        match slot.stage {
            Stage::Queued(place) => {
                self.queue.remove(&place);
            }
            Stage::Flying(until) | Stage::Resting(until) => {
                self.timers.remove(&(until, key.clone()));
                self.flying -= usize::from(matches!(slot.stage, Stage::Flying(_)));
            }
            Stage::Idle => {}
        }
        if let Some((id, _)) = slot.sent {
            self.sent.remove(&id);
        }
    }

    fn may_push(&self, key: &ObjectKey) -> bool {
        self.inventory_complete && Plane::of(&key.kind).is_some_and(|plane| self.synced.contains(&plane))
    }

    fn fill_window(&mut self, now: Moment, out: &mut Vec<Output>) {
        while self.flying < self.settings.window {
            let next = self.queue.iter().find(|(_, key)| self.may_push(key)).map(|(place, _)| *place);
            let Some(key) = next.and_then(|place| self.queue.remove(&place)) else { return };
            self.transmit(&key, now, out);
        }
    }

    fn transmit(&mut self, key: &ObjectKey, now: Moment, out: &mut Vec<Output>) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        // A namesake of a deleted pod is a different pod: the old one is taken away first.
        let replaced = match (&slot.target, &slot.edge_uid) {
            (Target::Present(object), Some(held)) if *held != object.uid && key.kind == ResourceKind::Pod => {
                Some(Target::Gone { uid: held.clone(), last: None })
            }
            _ => None,
        };
        let target = replaced.as_ref().unwrap_or(&slot.target);
        let version = target.version();
        let repeated = slot.sent.as_ref().filter(|(_, sent)| *sent == version).map(|(id, _)| id.clone());
        if repeated.is_some() {
            out.push(Output::Resent(key.clone()));
        } else {
            slot.attempts = 0;
        }
        if self.dialect == Dialect::KubeEdge {
            push::membership(key, target, &mut self.members)
                .into_iter()
                .for_each(|m| out.push(Output::Send(Item::Message(m))));
        }
        // A KubeEdge mapper takes an update of a device that it may know already, but not a second registration.
        // Of a model it takes an insert at any time, but no update of one that it does not know.
        let known = match key.kind {
            ResourceKind::Device if slot.initial && self.dialect == Dialect::KubeEdge => true,
            ResourceKind::DeviceModel if slot.initial && self.dialect == Dialect::KubeEdge => false,
            _ => slot.edge_uid.is_some(),
        };
        let message = push::message(key, target, known, repeated);
        let id = message.header.id.clone();
        if let Some((old, _)) = slot.sent.replace((id.clone(), version.clone())) {
            self.sent.remove(&old);
        }
        if let Version::Present { uid, .. } = version {
            out.push(Output::Offered(key.clone(), uid.clone()));
            slot.edge_uid = Some(uid);
        }
        // Until this is answered, the edge may hold either.
        slot.confirmed = None;
        self.sent.insert(id, key.clone());
        let until = now + self.settings.ack_within;
        slot.attempts = slot.attempts.saturating_add(1);
        slot.stage = Stage::Flying(until);
        self.flying += 1;
        self.timers.insert((until, key.clone()));
        out.push(Output::Send(Item::Message(message)));
    }

    fn received(&mut self, item: Item, now: Moment, out: &mut Vec<Output>) {
        match item {
            Item::Ack(ack) => self.acknowledged(&ack.of, ack.outcome, now, out),
            Item::Inventory(inventory) => self.inventoried(inventory, out),
            Item::Message(message) => match (&message.route.operation, &message.header.parent) {
                (Operation::Keepalive, _) => {}
                // Acknowledgements of answers need no bookkeeping: their id is simply unknown here.
                (Operation::Response, Some(parent)) => {
                    self.acknowledged(&parent.clone(), Outcome::Done, now, out)
                }
                (Operation::Error, Some(parent)) => {
                    let reason = message.content.as_str().map_or_else(String::new, |text| text.into_owned());
                    self.acknowledged(&parent.clone(), Outcome::Retry(reason), now, out);
                }
                (Operation::Response | Operation::Error, None) => {}
                _ => {
                    if let Some(message) = self.lanes.arrive(message) {
                        out.push(Output::Ask(message));
                    }
                }
            },
        }
    }

    fn acknowledged(&mut self, of: &MessageId, outcome: Outcome, now: Moment, out: &mut Vec<Output>) {
        let Some(key) = self.sent.get(of).cloned() else { return };
        let Some(slot) = self.slots.get_mut(&key) else { return };
        let Some((_, version)) = slot.sent.clone() else { return };
        match slot.stage {
            Stage::Flying(until) | Stage::Resting(until) => {
                self.timers.remove(&(until, key.clone()));
                self.flying -= usize::from(matches!(slot.stage, Stage::Flying(_)));
                slot.stage = Stage::Idle;
            }
            Stage::Queued(_) | Stage::Idle => {}
        }
        match outcome {
            Outcome::Done => {
                slot.attempts = 0;
                slot.sent = None;
                self.sent.remove(of);
                let uid = match &version {
                    Version::Present { uid, .. } => Some(uid.clone()),
                    Version::Absent => None,
                };
                let again = std::mem::take(&mut slot.again);
                slot.edge_uid = uid.clone().filter(|_| !again || self.dialect == Dialect::SkerryV1);
                slot.confirmed = Some(version).filter(|_| !again);
                out.push(Output::Stored(key.clone(), uid));
            }
            Outcome::Rejected(reason) => {
                slot.sent = None;
                self.sent.remove(of);
                slot.refused = Some(version);
                out.push(Output::Refused(key.clone(), reason));
            }
            Outcome::Retry(_) => {
                if let Stage::Queued(place) = slot.stage {
                    self.queue.remove(&place);
                }
                let until = now + self.settings.pause(slot.attempts);
                slot.stage = Stage::Resting(until);
                self.timers.insert((until, key.clone()));
            }
        }
        self.schedule(&key);
    }

    fn answered(&mut self, to: &MessageId, reply: Reply, out: &mut Vec<Output>) {
        let (answered, next) = self.lanes.done(to);
        if let Some(request) = answered {
            out.extend(reply.into_items(&request, self.dialect).into_iter().map(Output::Send));
        }
        out.extend(next.map(Output::Ask));
    }

    fn tick(&mut self, now: Moment, out: &mut Vec<Output>) {
        if !self.inventory_complete && now >= self.inventory_until {
            self.complete_inventory();
        }
        while let Some((due, key)) = self.timers.first().cloned().filter(|(due, _)| *due <= now) {
            self.timers.remove(&(due, key.clone()));
            let Some(slot) = self.slots.get_mut(&key) else { continue };
            match slot.stage {
                // What has not left this host cannot have been confirmed.
                Stage::Flying(_) if self.unwritten > 0 => {
                    let until = now + self.settings.ack_within;
                    slot.stage = Stage::Flying(until);
                    self.timers.insert((until, key));
                }
                Stage::Flying(_) => {
                    self.flying -= 1;
                    let until = now + self.settings.pause(slot.attempts);
                    slot.stage = Stage::Resting(until);
                    self.timers.insert((until, key.clone()));
                    self.schedule(&key);
                }
                Stage::Resting(_) => {
                    slot.stage = Stage::Idle;
                    self.schedule(&key);
                }
                Stage::Idle | Stage::Queued(_) => {}
            }
        }
        if !self.wants_input() {
            // Nothing is read just now, so silence says nothing about the peer.
            self.heard = now;
        }
        let silent = now.saturating_sub(self.heard);
        if silent >= self.settings.silent_for {
            out.push(Output::Close(Farewell::Silent(silent)));
        } else if now.saturating_sub(self.heard.max(self.pinged)) >= self.settings.ping_every {
            self.pinged = now;
            out.push(Output::Ping);
        }
    }
}
