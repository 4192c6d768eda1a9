//! What is known of the health of a pod's containers.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::Kind;
use crate::edged::runtime::ContainerId;

/// How a running container is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    /// It has come up.
    pub started: bool,
    /// It takes work.
    pub ready: bool,
    /// It is to be started anew, because this probe said so.
    pub failed: Option<Kind>,
}

impl Health {
    /// A container of which nobody asks anything.
    pub const UNASKED: Self = Self { started: true, ready: true, failed: None };
}

/// The health of those containers that are probed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Healths(pub BTreeMap<ContainerId, Health>);

impl Healths {
    /// How this container is, if it runs.
    pub fn of(&self, container: &ContainerId) -> Health {
        self.0.get(container).copied().unwrap_or(Health::UNASKED)
    }
}

/// Where runners write and the worker reads.
#[derive(Debug, Default)]
pub(super) struct Board(Mutex<Healths>);

impl Board {
    pub(super) fn read(&self) -> Healths {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn add(&self, container: ContainerId, health: Health) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0.insert(container, health);
    }

    pub(super) fn remove(&self, container: &ContainerId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0.remove(container);
    }

    /// Writes a verdict down; the answer is whether it is news.
    pub(super) fn judge(&self, container: &ContainerId, kind: Kind, good: bool) -> bool {
        let mut healths = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(health) = healths.0.get_mut(container) else { return false };
        let before = *health;
        match kind {
            Kind::Readiness => health.ready = good,
            Kind::Startup if good => health.started = true,
            Kind::Liveness if good => {}
            Kind::Startup | Kind::Liveness => health.failed = Some(kind),
        }
        *health != before
    }
}
