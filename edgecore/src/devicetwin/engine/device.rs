//! A device as the edge knows it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::model::Model;
use super::twin::ValueType;

/// One device: who it is, what it reported, what is wanted of it, and how much of that the cloud has.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Device {
    /// The object's uid: another uid under the same name is another device.
    pub uid: String,
    /// Label `description` of the object.
    pub description: Option<String>,
    /// The last accepted state, in the reporter's letters.
    pub state: Option<String>,
    /// When it was online last, RFC 3339; kept when it goes offline.
    pub last_online: Option<String>,
    /// When the state was reported, Unix milliseconds.
    pub state_at: i64,
    /// The sequence at the last change of the state.
    pub state_changed: u64,
    /// The newest state change that the cloud has.
    pub state_confirmed: u64,
    /// The newest twin change that the cloud has.
    pub twin_confirmed: u64,
    /// Since when the object is gone (Unix milliseconds) while reports still wait for the cloud. No member any more.
    pub removed_at: Option<i64>,
    /// By property.
    pub twins: BTreeMap<String, Twin>,
    /// What the model says about properties; not on disk here, the objects are metamanager's.
    pub model: Arc<Model>,
}

/// One property.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Twin {
    /// What values must look like.
    pub value_type: ValueType,
    /// Whether a client may delete it.
    pub optional: bool,
    /// Deleted by a client; the row stays, for the cloud and for the versions.
    pub deleted: bool,
    /// What is wanted.
    pub expected: Half,
    /// What was reported.
    pub actual: Half,
    /// The desired value of the Device object that `expected` was last set to.
    pub desired: Option<String>,
}

/// The expected or the actual side of a twin.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Half {
    /// `None` until first set, and after a delete.
    pub value: Option<String>,
    /// When it was set, Unix milliseconds.
    pub at: i64,
    /// How often each side changed it.
    pub version: Version,
    /// The sequence at its last change; 0 for never.
    pub changed: u64,
}

/// How often each side changed a value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Changes that came from the cloud.
    pub cloud: i64,
    /// Changes made at the edge.
    pub edge: i64,
}

// === impl Device ===

impl Device {
    /// Its object exists: requests about it are served.
    #[must_use]
    pub fn is_member(&self) -> bool {
        self.removed_at.is_none()
    }

    /// The sequence at the newest change of anything.
    #[must_use]
    pub fn newest_change(&self) -> u64 {
        let twins = self.twins.values().map(Twin::newest_change).max().unwrap_or(0);
        twins.max(self.state_changed).max(self.state_confirmed).max(self.twin_confirmed)
    }

    /// The same with all changes later than `sequence`.
    #[must_use]
    pub fn after(mut self, sequence: u64) -> Self {
        let halves = self.twins.values_mut().flat_map(|twin| [&mut twin.expected, &mut twin.actual]);
        let changes = halves.map(|half| &mut half.changed).chain([&mut self.state_changed]);
        changes.filter(|changed| **changed > 0).for_each(|changed| *changed += sequence);
        self
    }

    /// Properties that are there for readers.
    pub fn live(&self) -> impl Iterator<Item = (&str, &Twin)> {
        self.twins.iter().filter(|(_, twin)| !twin.deleted).map(|(name, twin)| (name.as_str(), twin))
    }
}

// === impl Twin ===

impl Twin {
    /// The sequence at the newest change of either half.
    #[must_use]
    pub fn newest_change(&self) -> u64 {
        self.expected.changed.max(self.actual.changed)
    }

    /// Something is wanted, and it is not so.
    #[must_use]
    pub fn differs(&self) -> bool {
        let wanted = self.expected.value.as_deref().filter(|value| !value.is_empty());
        !self.deleted && wanted.is_some() && wanted != self.actual.value.as_deref()
    }
}

// === impl Half ===

impl Half {
    /// A change made at the edge.
    pub fn set(&mut self, value: Option<String>, at: i64, sequence: u64) {
        self.value = value;
        self.at = at;
        self.version.edge += 1;
        self.changed = sequence;
    }
}
