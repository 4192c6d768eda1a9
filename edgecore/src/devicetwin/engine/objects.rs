//! The node's Device and DeviceModel objects decide who is a member, what values must look like and what is wanted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::answer::{self, MemberBody, MembershipBody, Reason};
use super::device::{Device, Twin};
use super::model::Model;
use super::update::{self, Step};
use super::{Channel, DeviceId, Engine, Notice, Turn, check, payload};

/// Every Device object of this node, with its model's rules.
#[derive(Debug, Clone, Default)]
pub struct Objects(pub BTreeMap<DeviceId, Desired>);

/// What one Device object says.
#[derive(Debug, Clone, Default)]
pub struct Desired {
    /// The object's uid.
    pub uid: String,
    /// Label `description`.
    pub description: Option<String>,
    /// The model's rules; empty while the model is not here yet.
    pub model: Arc<Model>,
    /// `spec.properties[].desired` where it says something: value and `metadata.type`.
    pub values: BTreeMap<String, (String, Option<String>)>,
}

/// Longest desired value that is passed on.
const LONGEST_DESIRED: usize = 4096;

impl Engine {
    /// Makes members, rules and desired values what the objects say. Level-triggered: saying it again changes nothing.
    pub fn sync(&mut self, objects: &Objects, now: i64) -> Turn {
        let mut turn = Turn::default();
        let gone: Vec<DeviceId> = self
            .devices
            .iter()
            .filter(|(id, device)| device.is_member() && self.is_gone(id, device, objects))
            .map(|(id, _)| id.clone())
            .collect();
        for id in gone {
            let replaced = objects.0.contains_key(&id);
            turn.notices.extend(self.leave(&id, replaced, now));
            turn.durable = true;
        }
        for (id, desired) in &objects.0 {
            turn.durable |= self.join(id, desired, now, &mut turn.notices);
            turn.durable |= self.want(id, desired, now, &mut turn.notices);
        }
        turn
    }

    /// Reports of removed devices that have waited since before `deadline` are given up.
    pub fn purge(&mut self, deadline: i64) -> usize {
        let old = |device: &Device| device.removed_at.is_some_and(|since| since < deadline);
        let gone: Vec<DeviceId> =
            self.devices.iter().filter(|(_, device)| old(device)).map(|(id, _)| id.clone()).collect();
        for id in &gone {
            self.forget(id);
        }
        gone.len()
    }

    fn is_gone(&self, id: &DeviceId, device: &Device, objects: &Objects) -> bool {
        objects.0.get(id).is_none_or(|desired| desired.uid != device.uid)
    }

    fn leave(&mut self, id: &DeviceId, replaced: bool, now: i64) -> Option<Notice> {
        let description = self.devices.get(id)?.description.clone();
        let waits = self.is_ahead(id);
        if waits && !replaced {
            // Its last reports are not lost with it: the row goes when the cloud has taken or refused them.
            self.edit(id)?.removed_at = Some(now);
            self.journal.row(id);
        } else {
            self.forget(id);
        }
        let event_id = self.ids.next();
        let devices = Some(vec![MemberBody::new(id, description.as_deref())]);
        Some(membership(&event_id, now, None, devices))
    }

    pub(super) fn forget(&mut self, id: &DeviceId) {
        if let Some(device) = self.devices.remove(id) {
            self.journal.remember(id, Some(&device));
            self.journal.wipe(id);
            self.reindex(id);
        }
    }

    fn join(&mut self, id: &DeviceId, desired: &Desired, now: i64, notices: &mut Vec<Notice>) -> bool {
        if let Some(known) = self.devices.get(id).filter(|known| known.uid != desired.uid) {
            // Another device of the same name, while the old one's reports still waited.
            debug_assert!(!known.is_member());
            self.forget(id);
        }
        if let Some(known) = self.devices.get_mut(id)
            && known.model != desired.model
        {
            // Rules are not on disk: nothing to write.
            Arc::make_mut(known).model = Arc::clone(&desired.model);
        }
        let known = self.devices.get(id);
        if known.is_some_and(|known| known.is_member() && known.description == desired.description) {
            return false;
        }
        let joins = known.is_none_or(|known| !known.is_member());
        if known.is_none() {
            self.journal.remember(id, None);
            let fresh =
                Device { uid: desired.uid.clone(), model: Arc::clone(&desired.model), ..Device::default() };
            self.devices.insert(id.clone(), Arc::new(fresh));
        }
        if let Some(device) = self.edit(id) {
            device.description.clone_from(&desired.description);
            device.removed_at = None;
        }
        self.journal.row(id);
        if joins {
            let event_id = self.ids.next();
            let devices = Some(vec![MemberBody::new(id, desired.description.as_deref())]);
            notices.push(membership(&event_id, now, devices, None));
        }
        true
    }

    /// What the objects want becomes `expected`. Only a change of the object does: what a local client expected
    /// meanwhile stays until the cloud changes its mind.
    fn want(&mut self, id: &DeviceId, desired: &Desired, now: i64, notices: &mut Vec<Notice>) -> bool {
        let Some(device) = self.device(id) else { return false };
        let mut steps = Vec::new();
        let sequence = self.sequence + 1;
        let mut refused = Vec::new();
        for (key, (value, type_word)) in &desired.values {
            let stored = device.twins.get(key);
            if stored.is_some_and(|twin| twin.desired.as_ref() == Some(value)) {
                continue;
            }
            match take_desired(device, key, value, type_word.as_deref()) {
                Ok(mut twin) => {
                    twin.desired = Some(value.clone());
                    from_cloud(&mut twin, Some(value.clone()), now, sequence);
                    steps.push(Step::set(key.clone(), twin));
                }
                Err(reason) => refused.push((key, reason)),
            }
        }
        for (key, twin) in &device.twins {
            if twin.desired.is_some() && !desired.values.contains_key(key) {
                let mut unwanted = Twin { desired: None, ..twin.clone() };
                if twin.expected.value == twin.desired {
                    from_cloud(&mut unwanted, None, now, sequence);
                }
                steps.push(Step::set(key.clone(), unwanted));
            }
        }
        for (key, reason) in refused {
            tracing::warn!(device = %id, property = key, "the desired value is not passed on: {reason}");
        }
        if steps.is_empty() {
            return false;
        }
        let event_id = self.ids.next();
        self.take(id, steps, &event_id, now, notices);
        true
    }

    /// `twin/cloud_updated`: expected values with versions. A request that is behind is answered upwards with what
    /// is here; there is no result topic.
    pub(super) fn cloud_updated(&mut self, id: &DeviceId, payload: &[u8], now: i64) -> Turn {
        let refused = |reason| Turn { refused: Some(reason), ..Turn::default() };
        let update = match payload::update(payload, &self.limits) {
            Ok(update) => update,
            Err(error) => return refused(error.reason),
        };
        let Some(device) = self.device(id) else { return refused(Reason::UpdateNoDevice) };
        let sequence = self.sequence + 1;
        let mut steps = Vec::new();
        let mut seen = BTreeSet::new();
        for (key, entry) in update.twins {
            let (Some(entry), true) = (entry, seen.insert(key.clone())) else { continue };
            let (Some(value), Some(version)) = (entry.expected, entry.expected_version) else { continue };
            let mut twin = match take_desired(device, &key, &value, entry.type_word.as_deref()) {
                Ok(twin) => twin,
                Err(reason) => return refused(reason),
            };
            let here = twin.expected.version;
            if here.cloud > version.cloud || here.edge > version.edge {
                // Behind: nothing is taken, but the cloud shall learn what is here.
                twin.expected.changed = sequence;
            } else {
                twin.expected.value = Some(value);
                twin.expected.at = now;
                twin.expected.version = version;
                twin.expected.changed = sequence;
            }
            steps.push(Step::set(key, twin));
        }
        if steps.is_empty() {
            return Turn::default();
        }
        let mut turn = Turn { durable: true, ..Turn::default() };
        self.take(id, steps, &update.event_id, now, &mut turn.notices);
        turn
    }

    /// Applies what came from the cloud; MQTT hears of it if a value changed.
    fn take(&mut self, id: &DeviceId, steps: Vec<Step>, event_id: &str, now: i64, notices: &mut Vec<Notice>) {
        let before = self.devices.get(id).map(|device| device.twins.clone()).unwrap_or_default();
        let keys: Vec<String> = steps.iter().map(|step| step.key().to_owned()).collect();
        self.apply(id, steps);
        let delta_id = self.ids.next();
        let Some(device) = self.device(id) else { return };
        let wanted = |twins: &BTreeMap<String, Twin>, key: &str| {
            twins.get(key).filter(|twin| !twin.deleted).and_then(|twin| twin.expected.value.clone())
        };
        let changed: Vec<String> =
            keys.into_iter().filter(|key| wanted(&before, key) != wanted(&device.twins, key)).collect();
        if !changed.is_empty() {
            notices.push(update::document(id, device, &before, &changed, event_id, now));
            notices.extend(update::delta(id, device, &delta_id, now));
        }
    }
}

/// The twin that would take `value`, if the model lets it.
fn take_desired(device: &Device, key: &str, value: &str, type_word: Option<&str>) -> Result<Twin, Reason> {
    let value_type = update::desired_type(device, key, type_word)?;
    if value.len() > LONGEST_DESIRED {
        return Err(Reason::TooLong { limit: LONGEST_DESIRED });
    }
    check::typed(key, value, value_type, device.model.rules.get(key))?;
    let stored = device.twins.get(key).filter(|twin| !twin.deleted).cloned();
    Ok(Twin { value_type, ..stored.unwrap_or(Twin { optional: true, ..Twin::default() }) })
}

fn from_cloud(twin: &mut Twin, value: Option<String>, now: i64, sequence: u64) {
    if twin.expected.value == value {
        return;
    }
    twin.expected.value = value;
    twin.expected.at = now;
    twin.expected.version.cloud += 1;
    twin.expected.changed = sequence;
}

fn membership(
    event_id: &str,
    now: i64,
    added_devices: Option<Vec<MemberBody<'_>>>,
    removed_devices: Option<Vec<MemberBody<'_>>>,
) -> Notice {
    let body = MembershipBody { event_id, timestamp: now, added_devices, removed_devices };
    answer::notice(Channel::MembershipUpdated, &body)
}
