//! Device states, and who is a member.

use proto::devices::DeviceState;

use super::answer::{self, MemberBody, MembersBody, Reason, StateBody, StateOf};
use super::update::refuse;
use super::{Channel, Device, DeviceId, Engine, Notice, Turn, Unstored, payload};

/// An equal state is written and sent again only after this long: a heartbeat must not wear the flash out.
const SAME_STATE_MS: i64 = 30_000;

impl Engine {
    pub(super) fn state_update(&mut self, id: &DeviceId, payload: &[u8], now: i64) -> Turn {
        let to = Channel::StateResult(id.clone());
        let (event_id, state) = match payload::state(payload, &self.limits) {
            Ok(read) => read,
            Err(refused) => return refuse(to, &refused.event_id, now, refused.reason),
        };
        let word = match state.parse::<DeviceState>() {
            Ok(word) => word,
            Err(unknown) => return refuse(to, &event_id, now, Reason::UnknownState(unknown)),
        };
        let event_id = if event_id.is_empty() { self.ids.next() } else { event_id };
        let Some(device) = self.device(id) else {
            return refuse(to, &event_id, now, Reason::StateNoDevice(id.clone()));
        };
        let same = device.state.as_deref() == Some(&state);
        if same && (0..SAME_STATE_MS).contains(&(now - device.state_at)) {
            let notices = vec![state_result(to, id, device, &event_id, now)];
            return Turn { notices, heard: true, ..Turn::default() };
        }
        let sequence = self.next_sequence();
        let Some(device) = self.edit(id) else { return Turn::default() };
        device.state = Some(state);
        device.state_at = now;
        device.state_changed = sequence;
        if word.is_online() {
            device.last_online = Some(seconds(now));
        }
        let notices = vec![state_result(to.clone(), id, device, &event_id, now)];
        self.journal.row(id);
        self.reindex(id);
        let on_failure = Some(Unstored { to, event_id });
        Turn { notices, on_failure, durable: true, heard: true, refused: None }
    }

    pub(super) fn membership(&mut self, payload: &[u8], now: i64) -> Turn {
        let to = Channel::MembershipResult;
        let event_id = match payload::event_id(payload, &self.limits) {
            Ok(event_id) => event_id,
            Err(refused) => return refuse(to, &refused.event_id, now, refused.reason),
        };
        let members = self.devices.iter().filter(|(_, device)| device.is_member());
        let devices = members.map(|(id, device)| MemberBody::with_state(id, device)).collect();
        let body = MembersBody { event_id: &event_id, timestamp: now, devices };
        Turn { notices: vec![answer::notice(to, &body)], ..Turn::default() }
    }
}

/// The device's state for the cloud.
pub(super) fn state_body<'a>(
    id: &'a DeviceId,
    device: &'a Device,
    event_id: &'a str,
    now: i64,
) -> StateBody<'a> {
    let state = device.state.as_deref().unwrap_or_default();
    let device = StateOf { name: id.name(), state, last_online: device.last_online.as_deref() };
    StateBody { event_id, timestamp: now, device }
}

fn state_result(to: Channel, id: &DeviceId, device: &Device, event_id: &str, now: i64) -> Notice {
    answer::notice(to, &state_body(id, device, event_id, now))
}

/// RFC 3339 in UTC, whole seconds, as Go writes it.
fn seconds(now: i64) -> String {
    jiff::Timestamp::from_second(now.div_euclid(1000)).map(|at| at.to_string()).unwrap_or_default()
}
