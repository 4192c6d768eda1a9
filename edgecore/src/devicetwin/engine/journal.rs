//! What a batch of steps changed, so that it can be written in one go or taken back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::DeviceId;
use super::device::Device;

/// What one device's rows need.
#[derive(Debug, Clone)]
pub struct Change {
    /// Which device.
    pub id: DeviceId,
    /// The device as it is now; `None` if its rows must go.
    pub device: Option<Arc<Device>>,
    /// Its rows must go first, even if it is there again.
    pub wipe: bool,
    /// Its own row changed.
    pub row: bool,
    /// These properties changed.
    pub twins: Vec<String>,
}

/// Everything that a batch changed.
pub type Changes = Vec<Change>;

/// What the batch at hand changed.
#[derive(Debug, Default)]
pub(super) struct Journal {
    touched: BTreeMap<DeviceId, Touched>,
}

#[derive(Debug, Default)]
struct Touched {
    before: Option<Arc<Device>>,
    wipe: bool,
    row: bool,
    twins: BTreeSet<String>,
}

impl Journal {
    /// To be called before the first change of a device in a batch; later calls change nothing.
    pub(super) fn remember(&mut self, id: &DeviceId, before: Option<&Arc<Device>>) {
        if !self.touched.contains_key(id) {
            self.touched.insert(id.clone(), Touched { before: before.cloned(), ..Touched::default() });
        }
    }

    pub(super) fn row(&mut self, id: &DeviceId) {
        if let Some(touched) = self.touched.get_mut(id) {
            touched.row = true;
        }
    }

    pub(super) fn twin(&mut self, id: &DeviceId, name: &str) {
        if let Some(touched) = self.touched.get_mut(id).filter(|touched| !touched.twins.contains(name)) {
            touched.twins.insert(name.to_owned());
        }
    }

    pub(super) fn wipe(&mut self, id: &DeviceId) {
        if let Some(touched) = self.touched.get_mut(id) {
            *touched = Touched { before: touched.before.take(), wipe: true, ..Touched::default() };
        }
    }

    pub(super) fn changes(&self, devices: &BTreeMap<DeviceId, Arc<Device>>) -> Changes {
        let changed = |touched: &Touched| touched.wipe || touched.row || !touched.twins.is_empty();
        let of = |(id, touched): (&DeviceId, &Touched)| Change {
            id: id.clone(),
            device: devices.get(id).cloned(),
            wipe: touched.wipe,
            row: touched.row,
            twins: touched.twins.iter().cloned().collect(),
        };
        self.touched.iter().filter(|(_, touched)| changed(touched)).map(of).collect()
    }

    pub(super) fn clear(&mut self) {
        self.touched.clear();
    }

    pub(super) fn take_before(&mut self) -> Vec<(DeviceId, Option<Arc<Device>>)> {
        std::mem::take(&mut self.touched).into_iter().map(|(id, touched)| (id, touched.before)).collect()
    }
}
