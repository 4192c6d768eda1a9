//! The twin engine: devices, their twins and states, and what follows from a message. Pure: no clock, no disk, no net.
//!
//! Owns: membership, twins with versions, validation against the model, which rows are ahead of the cloud, and every
//! answer's shape. May call: nothing that waits. Called by: [`super::run`], which makes each batch of steps durable
//! before anyone hears of it, or takes the batch back.

mod answer;
mod check;
mod device;
mod id;
mod journal;
mod model;
mod objects;
mod payload;
mod report;
mod state;
mod twin;
mod update;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;

pub use answer::Reason;
pub use device::{Device, Half, Twin, Version};
pub use id::{DeviceId, InvalidDeviceId};
pub use journal::{Change, Changes};
pub use model::{Model, Rule};
pub use objects::{Desired, Objects};
pub use payload::Limits;
pub use report::{Ahead, Row};
pub use twin::{ValueType, WrongValue};

use answer::Ids;
use journal::Journal;

/// What a device or application asks over MQTT (or a mapper over DMI).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// About one device.
    Device {
        /// Which one.
        device: DeviceId,
        /// What is asked.
        verb: Verb,
        /// The message as it came: hostile until parsed.
        payload: Bytes,
    },
    /// Which devices are mine?
    Membership {
        /// The message as it came.
        payload: Bytes,
    },
}

/// The four things that can be asked about a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Read all twins.
    TwinGet,
    /// Report actual values, or set expected ones.
    TwinUpdate,
    /// Expected values with versions, as a cloud would push them.
    CloudUpdated,
    /// Online, offline and the like.
    StateUpdate,
}

/// What the engine wants said. The topic's text is eventbus' business.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Where it belongs.
    pub to: Channel,
    /// JSON.
    pub payload: Bytes,
}

/// The places where the engine speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Channel {
    /// Answer to [`Verb::TwinGet`].
    GetResult(DeviceId),
    /// Answer to [`Verb::TwinUpdate`].
    UpdateResult(DeviceId),
    /// What changed: last and current.
    Document(DeviceId),
    /// What is expected and not yet so.
    Delta(DeviceId),
    /// Answer to [`Verb::StateUpdate`].
    StateResult(DeviceId),
    /// Answer to [`Request::Membership`].
    MembershipResult,
    /// A device came or went.
    MembershipUpdated,
}

/// What one step led to.
#[derive(Debug, Default)]
pub struct Turn {
    /// To be said once the step is on disk.
    pub notices: Vec<Notice>,
    /// To be said instead if the step cannot be written.
    pub on_failure: Option<Unstored>,
    /// The step changed rows that must be on disk before anyone hears of it.
    pub durable: bool,
    /// The request was refused, and why.
    pub refused: Option<Reason>,
    /// It was the device itself, or its mapper, that spoke.
    pub heard: bool,
}

/// Who must hear that a step could not be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unstored {
    to: Channel,
    event_id: String,
}

/// All devices of this node.
#[derive(Debug)]
pub struct Engine {
    devices: BTreeMap<DeviceId, Arc<Device>>,
    /// Rows that the cloud has not confirmed, by their oldest unconfirmed change.
    ahead: BTreeMap<u64, Row>,
    /// Where each row stands in `ahead`.
    listed: HashMap<Row, u64>,
    /// Grows with every change of a row; a row's version is the sequence at its last change.
    sequence: u64,
    journal: Journal,
    /// Devices whose confirmations are not on disk. Losing one costs a resend, so they wait for company.
    unwritten: BTreeSet<DeviceId>,
    ids: Ids,
    limits: Limits,
}

// === impl Unstored ===

impl Unstored {
    /// What they hear.
    #[must_use]
    pub fn notice(self, why: &str, now: i64) -> Notice {
        answer::error(self.to, &self.event_id, now, &Reason::NotStored(why.to_owned()))
    }
}

// === impl Engine ===

impl Engine {
    /// An engine over what was on disk. `seed` makes event ids, so that a run can be repeated.
    #[must_use]
    pub fn new(devices: BTreeMap<DeviceId, Device>, limits: Limits, seed: u64) -> Self {
        let sequence = devices.values().map(Device::newest_change).max().unwrap_or(0);
        let devices = devices.into_iter().map(|(id, device)| (id, Arc::new(device))).collect();
        let ids = Ids::new(seed);
        let mut engine = Self {
            devices,
            ahead: BTreeMap::new(),
            listed: HashMap::new(),
            sequence,
            journal: Journal::default(),
            unwritten: BTreeSet::new(),
            ids,
            limits,
        };
        engine.index_all();
        engine
    }

    /// One request. Nothing in the turn may be said before [`Engine::commit`].
    pub fn handle(&mut self, request: &Request, now: i64) -> Turn {
        match request {
            Request::Membership { payload } => self.membership(payload, now),
            Request::Device { device, verb, payload } => match verb {
                Verb::TwinGet => self.get(device, payload, now),
                Verb::TwinUpdate => self.update(device, payload, now),
                Verb::CloudUpdated => self.cloud_updated(device, payload, now),
                Verb::StateUpdate => self.state_update(device, payload, now),
            },
        }
    }

    /// The device, if it is a member.
    #[must_use]
    pub fn device(&self, id: &DeviceId) -> Option<&Device> {
        self.devices.get(id).map(Arc::as_ref).filter(|device| device.is_member())
    }

    /// How many devices are members.
    #[must_use]
    pub fn members(&self) -> usize {
        self.devices.values().filter(|device| device.is_member()).count()
    }

    /// What must be written so that the disk says what the engine says.
    #[must_use]
    pub fn changes(&self) -> Changes {
        self.journal.changes(&self.devices, &self.unwritten)
    }

    /// Confirmations wait to be written.
    #[must_use]
    pub fn has_unwritten(&self) -> bool {
        !self.unwritten.is_empty()
    }

    /// All rows, for a store that was found corrupt and is empty now.
    #[must_use]
    pub fn everything(&self) -> Changes {
        self.devices.iter().map(|(id, device)| Change::whole(id, device)).collect()
    }

    /// The changes are on disk.
    pub fn commit(&mut self) {
        self.journal.clear();
        self.unwritten.clear();
    }

    /// The changes could not be written: back to what the disk says. Sequence numbers are not reused.
    pub fn roll_back(&mut self) {
        for (id, before) in self.journal.take_before() {
            match before {
                Some(device) => self.devices.insert(id.clone(), device),
                None => self.devices.remove(&id),
            };
            self.reindex(&id);
        }
    }

    fn next_sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    /// The device for writing; the state before the batch is remembered.
    fn edit(&mut self, id: &DeviceId) -> Option<&mut Device> {
        let device = self.devices.get_mut(id)?;
        self.journal.remember(id, Some(device));
        Some(Arc::make_mut(device))
    }
}
