//! What a DeviceStatus says: a pure merge of reports into it.

use std::collections::{BTreeMap, BTreeSet};

use proto::devices::Twin;
use serde::Deserialize;
use serde_json::{Value, json};

use super::report::{Change, TwinChange};

/// The part of a DeviceStatus that cloudcore writes.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Status {
    twins: BTreeMap<String, Twin>,
    state: Option<String>,
    last_online: Option<String>,
}

// === impl Status ===

impl Status {
    /// Reads the `status` of an object; parts that cannot be read count as absent and are written anew.
    pub(super) fn read(status: Option<&Value>) -> Self {
        let Some(status) = status else { return Self::default() };
        let text = |field: &str| status.get(field).and_then(Value::as_str).map(str::to_owned);
        let twins = status.get("twins").and_then(Value::as_array).into_iter().flatten();
        let twins = twins
            .filter_map(|twin| Twin::deserialize(twin).ok())
            .map(|twin| (twin.property_name.clone(), twin));
        Self { twins: twins.collect(), state: text("state"), last_online: text("lastOnlineTime") }
    }

    /// Merges a report. What is not a property of the device is left out.
    pub(super) fn merge(&mut self, change: Change, properties: &BTreeSet<String>) {
        for (name, TwinChange { reported, observed }) in change.twins {
            if properties.contains(&name) && (reported.is_some() || observed.is_some()) {
                let new = || Twin { property_name: name.clone(), ..Twin::default() };
                let twin = self.twins.entry(name.clone()).or_insert_with(new);
                twin.reported = reported.or(twin.reported.take());
                twin.observed_desired = observed.or(twin.observed_desired.take());
            }
        }
        self.state = change.state.or(self.state.take());
        self.last_online = change.last_online.or(self.last_online.take());
    }

    /// When the newest of the reported values was read, by the clock of the edge (Unix milliseconds).
    pub(super) fn last_reported(&self) -> Option<i64> {
        let reported = self.twins.values().filter_map(|twin| twin.reported.as_ref());
        reported.filter_map(|value| value.metadata.get("timestamp")?.parse().ok()).max()
    }

    /// What the device or its mapper says it is: `online`, `offline` and the like.
    pub(super) fn state(&self) -> Option<&str> {
        self.state.as_deref()
    }

    /// Drops twins of properties that the device has no more.
    pub(super) fn retain(&mut self, properties: &BTreeSet<String>) {
        self.twins.retain(|name, _| properties.contains(name));
    }

    /// The `status` field, whole; other fields of an existing status are untouched by a merge patch with it.
    pub(super) fn to_json(&self) -> Value {
        let mut status = json!({ "twins": self.twins.values().collect::<Vec<_>>() });
        for (field, text) in [("state", &self.state), ("lastOnlineTime", &self.last_online)] {
            if let Some(text) = text {
                status[field] = text.as_str().into();
            }
        }
        status
    }
}

#[cfg(test)]
mod tests {
    use proto::devices::TwinText;

    use super::*;

    fn reading(value: &str) -> Option<TwinText> {
        Some(TwinText { value: value.into(), ..TwinText::default() })
    }

    fn reported(name: &str, value: &str) -> Change {
        let twin = TwinChange { reported: reading(value), observed: None };
        Change { twins: BTreeMap::from([(name.into(), twin)]), ..Change::default() }
    }

    fn properties(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn the_newest_value_of_each_property_and_half_remains() {
        let known = properties(&["t", "h"]);
        let mut status = Status::default();
        status.merge(reported("t", "1"), &known);
        status.merge(reported("h", "50"), &known);
        let wanted = TwinChange { reported: None, observed: reading("20") };
        status.merge(Change { twins: BTreeMap::from([("t".into(), wanted)]), ..Change::default() }, &known);
        status.merge(reported("t", "2"), &known);
        let expected = json!({"twins": [
            {"propertyName": "h", "reported": {"value": "50"}},
            {"propertyName": "t", "reported": {"value": "2"}, "observedDesired": {"value": "20"}},
        ]});
        assert_eq!(status.to_json(), expected);
        assert_eq!(Status::read(Some(&expected)), status);
    }

    #[test]
    fn what_is_no_property_of_the_device_is_left_out() {
        let mut status = Status::default();
        status.merge(reported("x", "1"), &properties(&["t"]));
        assert_eq!(status, Status::default());
        status.merge(reported("t", "1"), &properties(&["t"]));
        status.retain(&properties(&[]));
        assert_eq!(status, Status::default());
    }

    #[test]
    fn a_state_without_a_time_keeps_the_time() {
        let mut status = Status::default();
        let online =
            Change { state: Some("online".into()), last_online: Some("now".into()), ..Change::default() };
        status.merge(online, &properties(&[]));
        status.merge(Change { state: Some("offline".into()), ..Change::default() }, &properties(&[]));
        assert_eq!(status.to_json(), json!({"twins": [], "state": "offline", "lastOnlineTime": "now"}));
    }

    #[test]
    fn a_status_that_someone_else_wrote_strangely_does_not_stop_the_reports() {
        let strange = json!({"twins": [{"reported": 5}, {"propertyName": "t", "reported": {"value": "1"}}], "state": 7});
        assert_eq!(
            Status::read(Some(&strange)).to_json(),
            json!({"twins": [{"propertyName": "t", "reported": {"value": "1"}}]})
        );
    }
}
