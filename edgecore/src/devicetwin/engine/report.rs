//! Which rows the cloud does not have yet, and what would tell it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::answer::{self, HalfBody, TwinBody, TwinsBody};
use super::device::Device;
use super::state::state_body;
use super::{DeviceId, Engine};

/// A row as the cloud hears of it: all changed properties of a device in one, its state in another.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Row {
    /// `device/<ns>/<name>/twin/edge_updated`.
    Twins(DeviceId),
    /// `device/<ns>/<name>/state/update`.
    State(DeviceId),
}

/// A row that is ahead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ahead {
    /// Which.
    pub row: Row,
    /// The newest change that `content` tells; to be confirmed with it.
    pub version: u64,
    /// JSON text.
    pub content: String,
}

impl Engine {
    /// At most `limit` rows that are ahead, oldest change first, without those that `skip` names. Only to be
    /// called between batches: nothing leaves that is not on disk.
    pub fn ahead(&mut self, limit: usize, skip: impl Fn(&Row) -> bool, now: i64) -> Vec<Ahead> {
        let rows: Vec<Row> = self.ahead.values().filter(|row| !skip(row)).take(limit).cloned().collect();
        rows.into_iter().filter_map(|row| self.tell(row, now)).collect()
    }

    /// How many rows are ahead.
    #[must_use]
    pub fn backlog(&self) -> usize {
        self.ahead.len()
    }

    /// The cloud has `row` up to `version`, or will never take it. Only to be called between batches: a batch that is
    /// taken back takes no confirmation with it.
    pub fn confirm(&mut self, row: &Row, version: u64) {
        let (Row::Twins(id) | Row::State(id)) = row;
        let Some(device) = self.devices.get_mut(id) else { return };
        let confirmed = match row {
            Row::Twins(_) => device.twin_confirmed,
            Row::State(_) => device.state_confirmed,
        };
        if version <= confirmed || version > self.sequence {
            return;
        }
        let device = Arc::make_mut(device);
        match row {
            Row::Twins(_) => device.twin_confirmed = version,
            Row::State(_) => device.state_confirmed = version,
        }
        let member = device.is_member();
        self.unwritten.insert(id.clone());
        if !member && !self.is_ahead(id) {
            self.devices.remove(id);
        }
        self.reindex(id);
    }

    pub(super) fn is_ahead(&self, id: &DeviceId) -> bool {
        self.devices
            .get(id)
            .is_some_and(|device| twins_ahead(device).is_some() || state_ahead(device).is_some())
    }

    pub(super) fn index_all(&mut self) {
        let ids: Vec<DeviceId> = self.devices.keys().cloned().collect();
        for id in ids {
            self.reindex(&id);
        }
    }

    /// Puts the device's rows where their oldest unconfirmed change belongs.
    pub(super) fn reindex(&mut self, id: &DeviceId) {
        let device = self.devices.get(id);
        for (row, since) in [
            (Row::Twins(id.clone()), device.and_then(|device| twins_ahead(device))),
            (Row::State(id.clone()), device.and_then(|device| state_ahead(device))),
        ] {
            let listed = self.listed.get(&row).copied();
            if listed == since {
                continue;
            }
            if let Some(at) = listed {
                self.ahead.remove(&at);
                self.listed.remove(&row);
            }
            if let Some(at) = since {
                self.ahead.insert(at, row.clone());
                self.listed.insert(row, at);
            }
        }
    }

    fn tell(&mut self, row: Row, now: i64) -> Option<Ahead> {
        let event_id = self.ids.next();
        let (Row::Twins(id) | Row::State(id)) = &row;
        let device = self.devices.get(id)?;
        let (version, content) = match &row {
            Row::State(id) => {
                (device.state_changed, answer::json(&state_body(id, device, &event_id, device.state_at)))
            }
            Row::Twins(_) => {
                let confirmed = device.twin_confirmed;
                let ahead = device.twins.iter().filter(|(_, twin)| twin.newest_change() > confirmed);
                let twin: BTreeMap<&str, _> = ahead
                    .map(|(key, twin)| {
                        let expected = twin.expected.changed > confirmed;
                        let actual = twin.actual.changed > confirmed;
                        let body = TwinBody {
                            expected: expected.then(|| HalfBody::set_or_gone(&twin.expected)),
                            actual: actual.then(|| HalfBody::set_or_gone(&twin.actual)),
                            expected_version: expected.then_some(twin.expected.version),
                            actual_version: actual.then_some(twin.actual.version),
                            ..TwinBody::frame(twin)
                        };
                        (key.as_str(), Some(body))
                    })
                    .collect();
                let version = device.twins.values().map(|twin| twin.newest_change()).max().unwrap_or(0);
                let body = TwinsBody { event_id: &event_id, timestamp: now, twin, delta: None };
                (version, answer::json(&body))
            }
        };
        Some(Ahead { row, version, content })
    }
}

/// The oldest twin change that the cloud does not have.
fn twins_ahead(device: &Device) -> Option<u64> {
    let halves = device.twins.values().flat_map(|twin| [twin.expected.changed, twin.actual.changed]);
    halves.filter(|changed| *changed > device.twin_confirmed).min()
}

/// The state change that the cloud does not have.
fn state_ahead(device: &Device) -> Option<u64> {
    Some(device.state_changed).filter(|changed| *changed > device.state_confirmed)
}
