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

impl Change {
    /// A device that no store has yet.
    #[must_use]
    pub fn first(id: &DeviceId, device: Device) -> Self {
        Self::whole(id, &Arc::new(device))
    }

    pub(super) fn whole(id: &DeviceId, device: &Arc<Device>) -> Self {
        let twins = device.twins.keys().cloned().collect();
        Self { id: id.clone(), device: Some(Arc::clone(device)), wipe: false, row: true, twins }
    }
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

    /// What this batch changed, and the rows of `others`, which changed between batches.
    pub(super) fn changes(
        &self,
        devices: &BTreeMap<DeviceId, Arc<Device>>,
        others: &BTreeSet<DeviceId>,
    ) -> Changes {
        let changed = |touched: &Touched| touched.wipe || touched.row || !touched.twins.is_empty();
        let of = |(id, touched): (&DeviceId, &Touched)| Change {
            id: id.clone(),
            device: devices.get(id).cloned(),
            wipe: touched.wipe,
            row: touched.row || others.contains(id),
            twins: touched.twins.iter().cloned().collect(),
        };
        let mut changes: Changes =
            self.touched.iter().filter(|(_, touched)| changed(touched)).map(of).collect();
        let covered = |id: &DeviceId| self.touched.get(id).is_some_and(changed);
        changes.extend(others.iter().filter(|id| !covered(id)).map(|id| {
            let device = devices.get(id).cloned();
            Change { id: id.clone(), wipe: device.is_none(), row: true, device, twins: Vec::new() }
        }));
        changes
    }

    pub(super) fn clear(&mut self) {
        self.touched.clear();
    }

    pub(super) fn take_before(&mut self) -> Vec<(DeviceId, Option<Arc<Device>>)> {
        std::mem::take(&mut self.touched).into_iter().map(|(id, touched)| (id, touched.before)).collect()
    }
}
