use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::message::{Content, Group, Message, Source};
use crate::resource::Resource;

/// Devices come to a node or leave it. The list that does not apply is `null`, never absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MembershipUpdate {
    /// For the reader's log.
    pub event_id: String,
    /// Unix milliseconds.
    pub timestamp: i64,
    /// Those that come.
    pub added_devices: Option<Vec<Member>>,
    /// Those that leave.
    pub removed_devices: Option<Vec<Member>>,
}

/// A device as membership messages name it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Member {
    /// `<namespace>/<name>`.
    pub id: String,
    /// The name alone.
    pub name: String,
    /// The device's label `description`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// An edge asks which devices are its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MembershipRequest {
    /// `group_membership_event`.
    pub event_type: String,
    /// For the reader's log.
    pub event_id: String,
    /// The node.
    pub group_id: String,
    /// `detail`.
    pub operation: String,
    /// Unix milliseconds.
    pub timestamp: i64,
}

/// What an edge reports of a device's twins: the content of `…/twin/edge_updated`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TwinReport {
    /// For the reader's log.
    pub event_id: String,
    /// Unix milliseconds.
    pub timestamp: i64,
    /// The properties that changed. `null` is one that was removed at the edge.
    pub twin: BTreeMap<String, Option<TwinEntry>>,
}

/// One property of a report: only the halves that changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TwinEntry {
    /// What the device should be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<TwinValue>,
    /// What it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actual: Option<TwinValue>,
    /// KubeEdge always says true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub optional: Option<bool>,
    /// Type of the values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<TwinType>,
    /// Version of `expected`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_version: Option<TwinVersion>,
    /// Version of `actual`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actual_version: Option<TwinVersion>,
}

/// A value and when it was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TwinValue {
    /// The value, as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// When it was taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<ValueTime>,
}

/// When a value was taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ValueTime {
    /// Unix milliseconds.
    pub timestamp: i64,
}

/// Type of a property's values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TwinType {
    /// `int`, `float`, `string` and so on; `deleted` for a twin that was removed.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
}

/// How often each side changed a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TwinVersion {
    /// By the cloud.
    pub cloud: i64,
    /// By the edge.
    pub edge: i64,
}

/// What an edge reports of a device's state: the content of `…/state/update`. KubeEdge sends it as a string that holds
/// JSON: read it with [`Content::parse_lenient`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StateUpdate {
    /// For the reader's log.
    pub event_id: String,
    /// Unix milliseconds.
    pub timestamp: i64,
    /// The device.
    pub device: ReportedDevice,
}

/// A device's name and state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReportedDevice {
    /// Its name.
    pub name: String,
    /// Its state, in the letter case of the reporter.
    pub state: String,
    /// When it was last online, RFC 3339; empty if the state says that it is not.
    pub last_online_time: String,
}

/// The states that a device can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the words of the protocol")]
pub enum DeviceState {
    Online,
    Offline,
    Ok,
    Unknown,
    Unhealthy,
}

/// A word that is no state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no device state: it is online, offline, ok, unknown or unhealthy")]
pub struct UnknownState(String);

impl DeviceState {
    const ALL: [Self; 5] = [Self::Online, Self::Offline, Self::Ok, Self::Unknown, Self::Unhealthy];

    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Offline => "offline",
            Self::Ok => "ok",
            Self::Unknown => "unknown",
            Self::Unhealthy => "unhealthy",
        }
    }

    /// True for the states that mean the device can be reached.
    pub fn is_online(self) -> bool {
        matches!(self, Self::Online | Self::Ok)
    }
}

impl FromStr for DeviceState {
    type Err = UnknownState;

    /// In any letter case.
    fn from_str(word: &str) -> Result<Self, UnknownState> {
        let known = Self::ALL.into_iter().find(|state| state.as_str().eq_ignore_ascii_case(word));
        known.ok_or_else(|| UnknownState(word.chars().take(64).collect()))
    }
}

impl fmt::Display for DeviceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The cloud's confirmation of a twin or state report, exactly as an edge of KubeEdge expects it.
pub fn confirm(report: &Message) -> Message {
    let mut answer = report.respond_as(Source::DeviceController, Group::Twin, Content::ok());
    answer.route.resource = Resource::Twin;
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip<T: Serialize + for<'de> Deserialize<'de>>(json: &str) -> T {
        let value: T = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&value).unwrap(), json);
        value
    }

    #[test]
    fn recorded_reports_read_and_write_without_loss() {
        let report: TwinReport = round_trip(
            r#"{"event_id":"a2","timestamp":1795246318925,"twin":{"temperature":{"actual":{"value":"41","metadata":{"timestamp":1795246318922}},"optional":true,"metadata":{"type":"int"},"actual_version":{"cloud":0,"edge":1}}}}"#,
        );
        let entry = report.twin["temperature"].as_ref().unwrap();
        assert_eq!(entry.actual.as_ref().unwrap().value.as_deref(), Some("41"));
        round_trip::<MembershipUpdate>(
            r#"{"event_id":"f9","timestamp":1795246313936,"added_devices":[{"id":"default/sensor1","name":"sensor1"}],"removed_devices":null}"#,
        );
        round_trip::<StateUpdate>(
            r#"{"event_id":"6a","timestamp":1795246322934,"device":{"name":"sensor1","state":"online","lastOnlineTime":"2026-11-21T07:32:02Z"}}"#,
        );
    }

    #[test]
    fn states_are_five_words_in_any_letter_case() {
        assert_eq!("OnLine".parse::<DeviceState>().unwrap(), DeviceState::Online);
        assert!("disconnected".parse::<DeviceState>().is_err());
    }
}
