//! Twins are read, reported, expected and deleted. All of a request is taken, or nothing of it.

use std::collections::BTreeMap;

use super::answer::{self, DocumentBody, HalfBody, LastAndCurrent, Reason, TwinBody, TwinsBody};
use super::device::{Device, Half, Twin};
use super::payload::{self, Entry};
use super::twin::ValueType;
use super::{Channel, DeviceId, Engine, Notice, Turn, Unstored, check};

/// What a request does to one property.
pub(super) struct Step {
    key: String,
    twin: Option<Twin>,
    touches: Touches,
}

/// What the request said about the property, for its answer.
#[derive(Clone, Copy)]
enum Touches {
    Deleted,
    Halves { expected: bool, actual: bool, frame: bool },
}

impl Engine {
    pub(super) fn get(&mut self, id: &DeviceId, payload: &[u8], now: i64) -> Turn {
        let to = Channel::GetResult(id.clone());
        let event_id = match payload::event_id(payload, &self.limits) {
            Ok(event_id) => event_id,
            Err(refused) => return refuse(to, &refused.event_id, now, refused.reason),
        };
        match self.device(id) {
            None => refuse(to, &event_id, now, Reason::GetNoDevice(id.clone())),
            Some(device) => {
                let twin = answer::live_twins(device);
                let body = TwinsBody { event_id: &event_id, timestamp: now, twin, delta: None };
                Turn { notices: vec![answer::notice(to, &body)], ..Turn::default() }
            }
        }
    }

    pub(super) fn update(&mut self, id: &DeviceId, payload: &[u8], now: i64) -> Turn {
        let to = Channel::UpdateResult(id.clone());
        let update = match payload::update(payload, &self.limits) {
            Ok(update) => update,
            Err(refused) => return refuse(to, &refused.event_id, now, refused.reason),
        };
        let event_id = update.event_id;
        let Some(device) = self.device(id) else {
            return refuse(to, &event_id, now, Reason::UpdateNoDevice);
        };
        // Who only wants something is an application.
        let heard =
            update.twins.iter().any(|(_, entry)| entry.as_ref().is_some_and(|entry| entry.actual.is_some()));
        let before = device.clone_twins(update.twins.iter().map(|(key, _)| key.as_str()));
        let sequence = self.sequence + 1;
        let steps = match plan(device, update.twins, self.limits.properties, now, sequence) {
            Ok(steps) => steps,
            Err(reason) => return refuse(to, &event_id, now, reason),
        };
        let changed: Vec<String> =
            steps.iter().filter(|step| step.twin.is_some()).map(|step| step.key.clone()).collect();
        let named: Vec<(String, Touches)> =
            steps.iter().map(|step| (step.key.clone(), step.touches)).collect();
        self.apply(id, steps);
        let mut turn = Turn {
            durable: !changed.is_empty(),
            heard,
            on_failure: Some(Unstored { to: to.clone(), event_id: event_id.clone() }),
            ..Turn::default()
        };
        let delta_id = self.ids.next();
        let Some(device) = self.device(id) else { return turn };
        turn.notices.push(result(to, device, &named, &event_id, now));
        if !changed.is_empty() {
            turn.notices.push(document(id, device, &before, &changed, &event_id, now));
        }
        // An update that neither changes nor names a wanted property is no reason to repeat what is wanted.
        let reminds = named.iter().any(|(key, _)| device.twins.get(key).is_some_and(Twin::differs));
        if !changed.is_empty() || reminds {
            turn.notices.extend(delta(id, device, &delta_id, now));
        }
        turn
    }

    /// Puts planned twins in place and marks their rows.
    pub(super) fn apply(&mut self, id: &DeviceId, steps: Vec<Step>) {
        if steps.iter().all(|step| step.twin.is_none()) {
            return;
        }
        self.next_sequence();
        if self.edit(id).is_none() {
            return;
        }
        for step in steps {
            let Some(twin) = step.twin else { continue };
            self.journal.twin(id, &step.key);
            if let Some(device) = self.edit(id) {
                device.twins.insert(step.key, twin);
            }
        }
        self.reindex(id);
    }
}

// === impl Step ===

impl Step {
    /// Which property.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// A property set from the cloud's side.
    pub(super) fn set(key: String, twin: Twin) -> Self {
        Self {
            key,
            twin: Some(twin),
            touches: Touches::Halves { expected: true, actual: false, frame: true },
        }
    }
}

impl Device {
    fn clone_twins<'a>(&self, keys: impl Iterator<Item = &'a str>) -> BTreeMap<String, Twin> {
        keys.filter_map(|key| Some((key.to_owned(), self.twins.get(key)?.clone()))).collect()
    }
}

/// What every entry of the request would do, or why the request is refused.
fn plan(
    device: &Device,
    twins: Vec<(String, Option<Entry>)>,
    limit: usize,
    now: i64,
    sequence: u64,
) -> Result<Vec<Step>, Reason> {
    let added =
        twins.iter().filter(|(key, entry)| entry.is_some() && !device.twins.contains_key(key)).count();
    if device.twins.len() + added > limit {
        return Err(Reason::TooManyProperties { limit });
    }
    let mut steps = Vec::with_capacity(twins.len());
    for (key, entry) in twins {
        let stored = device.twins.get(&key);
        let step = match entry {
            None => plan_delete(key, stored, now, sequence),
            // KubeEdge's clients delete with null; the word `deleted` alone changes nothing there, nor here.
            Some(entry) if entry.type_word.as_deref() == Some("deleted") => {
                let known = stored.is_some_and(|twin| !twin.deleted);
                known.then_some(Step {
                    key,
                    twin: None,
                    touches: Touches::Halves { expected: false, actual: false, frame: false },
                })
            }
            Some(entry) => Some(plan_set(device, key, &entry, now, sequence)?),
        };
        steps.extend(step);
    }
    Ok(steps)
}

fn plan_delete(key: String, stored: Option<&Twin>, now: i64, sequence: u64) -> Option<Step> {
    let touches = Touches::Deleted;
    match stored {
        Some(twin) if !twin.optional && !twin.deleted => None,
        Some(twin) if !twin.deleted => {
            let mut twin = Twin { deleted: true, ..twin.clone() };
            twin.expected.set(None, now, sequence);
            twin.actual.set(None, now, sequence);
            Some(Step { key, twin: Some(twin), touches })
        }
        _ => Some(Step { key, twin: None, touches }),
    }
}

fn plan_set(device: &Device, key: String, entry: &Entry, now: i64, sequence: u64) -> Result<Step, Reason> {
    let rule = device.model.rules.get(&key);
    let stored = device.twins.get(&key);
    let live = stored.filter(|twin| !twin.deleted);
    let value_type =
        check::type_in_force(rule, live.map(|twin| twin.value_type), entry.type_word.as_deref())?;
    // An empty expected value means that nothing is wanted.
    let wanted = entry.expected.as_ref().filter(|value| !value.is_empty());
    for value in entry.actual.iter().chain(wanted) {
        check::value(&key, value, value_type, rule)?;
    }
    let wanted = wanted.is_some();
    if wanted && rule.is_some_and(|rule| rule.read_only) {
        return Err(Reason::ReadOnly { key });
    }
    let base = match (stored, live) {
        (_, Some(twin)) => twin.clone(),
        (Some(deleted), None) => {
            Twin { value_type, optional: entry.optional.unwrap_or(true), deleted: false, ..deleted.clone() }
        }
        (None, None) => Twin { value_type, optional: entry.optional.unwrap_or(true), ..Twin::default() },
    };
    let mut twin = Twin { value_type, ..base };
    // KubeEdge's rule: what must stay can never become deletable again.
    twin.optional = twin.optional && entry.optional.unwrap_or(true);
    let expected = entry.expected.as_deref().filter(|_| wanted || twin.expected.value.is_some());
    set_if_new(&mut twin.expected, expected, now, sequence);
    set_if_new(&mut twin.actual, entry.actual.as_deref(), now, sequence);
    let (expected, actual) = (entry.expected.is_some(), entry.actual.is_some());
    let frame = live.is_none() || expected || actual || entry.optional.is_some();
    let touches = Touches::Halves { expected, actual, frame };
    let changed = live != Some(&twin);
    Ok(Step { key, twin: changed.then_some(twin), touches })
}

/// An equal value is no change: it costs no write, no message, no version.
fn set_if_new(half: &mut Half, value: Option<&str>, now: i64, sequence: u64) {
    if let Some(value) = value.filter(|value| half.value.as_deref() != Some(value)) {
        half.set(Some(value.to_owned()), now, sequence);
    }
}

fn result(to: Channel, device: &Device, named: &[(String, Touches)], event_id: &str, now: i64) -> Notice {
    let body = |key: &str, touches: Touches| match (touches, device.twins.get(key)) {
        (Touches::Deleted, _) | (_, None) => None,
        (Touches::Halves { expected, actual, frame }, Some(twin)) => Some(TwinBody {
            expected: HalfBody::set(&twin.expected).filter(|_| expected),
            actual: HalfBody::set(&twin.actual).filter(|_| actual),
            ..if frame { TwinBody::frame(twin) } else { TwinBody::default() }
        }),
    };
    let twin = named.iter().map(|(key, touches)| (key.as_str(), body(key, *touches))).collect();
    answer::notice(to, &TwinsBody { event_id, timestamp: now, twin, delta: None })
}

/// Last and current of the changed properties.
pub(super) fn document(
    id: &DeviceId,
    device: &Device,
    before: &BTreeMap<String, Twin>,
    changed: &[String],
    event_id: &str,
    now: i64,
) -> Notice {
    let shown = |twin: Option<&'_ Twin>| twin.is_some_and(|twin| !twin.deleted);
    let twin = changed
        .iter()
        .map(|key| {
            let last = before.get(key).filter(|twin| shown(Some(twin))).map(TwinBody::whole);
            let current = device.twins.get(key).filter(|twin| shown(Some(twin))).map(TwinBody::whole);
            (key.as_str(), LastAndCurrent { last, current })
        })
        .collect();
    answer::notice(Channel::Document(id.clone()), &DocumentBody { event_id, timestamp: now, twin })
}

/// What is wanted and not so, if anything.
pub(super) fn delta(id: &DeviceId, device: &Device, event_id: &str, now: i64) -> Option<Notice> {
    let wanted = |twin: &Twin| twin.expected.value.as_deref().is_some_and(|value| !value.is_empty());
    let delta: BTreeMap<&str, &str> = device
        .live()
        .filter(|(_, twin)| twin.differs())
        .filter_map(|(key, twin)| Some((key, twin.expected.value.as_deref()?)))
        .collect();
    if delta.is_empty() {
        return None;
    }
    let twin = device
        .live()
        .filter(|(_, twin)| wanted(twin))
        .map(|(key, twin)| (key, Some(TwinBody::whole(twin))))
        .collect();
    let body = TwinsBody { event_id, timestamp: now, twin, delta: Some(delta) };
    Some(answer::notice(Channel::Delta(id.clone()), &body))
}

/// A request that changes nothing but is answered.
pub(super) fn refuse(to: Channel, event_id: &str, now: i64, reason: Reason) -> Turn {
    let notices = vec![answer::error(to, event_id, now, &reason)];
    Turn { notices, refused: Some(reason), ..Turn::default() }
}

/// Whether a desired value from the cloud may become `expected`, and as which type.
pub(super) fn desired_type(device: &Device, key: &str, type_word: Option<&str>) -> Result<ValueType, Reason> {
    let stored = device.twins.get(key).filter(|twin| !twin.deleted).map(|twin| twin.value_type);
    let rule = device.model.rules.get(key);
    if rule.is_some_and(|rule| rule.read_only) {
        return Err(Reason::ReadOnly { key: key.to_owned() });
    }
    let named = type_word.filter(|word| ValueType::from_client(word).is_some());
    check::type_in_force(rule, stored, named)
}
