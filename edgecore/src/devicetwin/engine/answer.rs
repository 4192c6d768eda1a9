//! The shapes of what is said on MQTT and to the cloud, and why something is refused.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Serialize;

use super::device::{Device, Half, Twin, Version};
use super::twin::WrongValue;
use super::{Channel, DeviceId, Notice};

/// Why a request is refused: what the sensor's developer reads. KubeEdge's words where it has them.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[expect(missing_docs, reason = "each variant is its message")]
pub enum Reason {
    #[error("Unmarshal update request body failed, please check the request")]
    Malformed,
    #[error("the payload is longer than {limit} bytes")]
    TooLong { limit: usize },
    #[error("Update twin error, the update request body not have key:twin")]
    NoTwin,
    #[error("expected and actual need a value: send {{\"value\":\"...\"}} or leave them out")]
    NoValue,
    #[error(
        "The key of twin must only include upper or lowercase letters, number, english, and special letter - _ . , : / @ # and the length of key should be less than 128 bytes"
    )]
    KeyCharacters,
    #[error(
        "The value of twin must only include upper or lowercase letters, number, english, and special letter - _ . , : / @ # and the length of value should be less than 512 bytes"
    )]
    ValueCharacters,
    #[error("the value type is not allowed")]
    TypeNotAllowed,
    #[error(transparent)]
    WrongValue(WrongValue),
    #[error("the value {value} of {key} is below the model's minimum {minimum}")]
    BelowMinimum { key: String, value: String, minimum: f64 },
    #[error("the value {value} of {key} is above the model's maximum {maximum}")]
    AboveMaximum { key: String, value: String, maximum: f64 },
    #[error("{key} is ReadOnly in the device's model: it can be reported, not expected")]
    ReadOnly { key: String },
    #[error("a device has at most {limit} properties")]
    TooManyProperties { limit: usize },
    #[error("update rejected due to the device is not existed")]
    UpdateNoDevice,
    #[error("Device {0} not found while getting twin")]
    GetNoDevice(DeviceId),
    #[error("state rejected: device {0} is not on this node")]
    StateNoDevice(DeviceId),
    #[error(transparent)]
    UnknownState(proto::devices::UnknownState),
    #[error("nothing was stored: {0}")]
    NotStored(String),
}

impl Reason {
    /// In one word, for who counts.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::TooLong { .. } => "oversized",
            Self::NoTwin => "no_twin",
            Self::NoValue => "no_value",
            Self::KeyCharacters => "key",
            Self::ValueCharacters => "characters",
            Self::TypeNotAllowed => "type_word",
            Self::WrongValue(_) => "type",
            Self::BelowMinimum { .. } | Self::AboveMaximum { .. } => "range",
            Self::ReadOnly { .. } => "read_only",
            Self::TooManyProperties { .. } => "too_many",
            Self::UpdateNoDevice | Self::GetNoDevice(_) | Self::StateNoDevice(_) => "no_device",
            Self::UnknownState(_) => "state",
            Self::NotStored(_) => "unstored",
        }
    }

    /// KubeEdge's code for it.
    #[must_use]
    pub fn code(&self) -> u16 {
        match self {
            Self::UpdateNoDevice | Self::GetNoDevice(_) | Self::StateNoDevice(_) => 404,
            Self::NotStored(_) => 500,
            _ => 400,
        }
    }
}

/// Makes event ids that only depend on the seed.
#[derive(Debug)]
pub(super) struct Ids(fastrand::Rng);

impl Ids {
    pub(super) fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    pub(super) fn next(&mut self) -> String {
        uuid::Builder::from_random_bytes(self.0.u128(..).to_be_bytes()).into_uuid().to_string()
    }
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    event_id: &'a str,
    timestamp: i64,
    code: u16,
    reason: String,
}

/// An error on the requester's own topic.
pub(super) fn error(to: Channel, event_id: &str, now: i64, reason: &Reason) -> Notice {
    notice(to, &ErrorBody { event_id, timestamp: now, code: reason.code(), reason: reason.to_string() })
}

/// A map of twins by property, `null` for a deleted one.
pub(super) type Twins<'a> = BTreeMap<&'a str, Option<TwinBody<'a>>>;

#[derive(Serialize)]
pub(super) struct TwinsBody<'a> {
    pub(super) event_id: &'a str,
    pub(super) timestamp: i64,
    pub(super) twin: Twins<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) delta: Option<BTreeMap<&'a str, &'a str>>,
}

#[derive(Serialize)]
pub(super) struct DocumentBody<'a> {
    pub(super) event_id: &'a str,
    pub(super) timestamp: i64,
    pub(super) twin: BTreeMap<&'a str, LastAndCurrent<'a>>,
}

#[derive(Serialize)]
pub(super) struct LastAndCurrent<'a> {
    pub(super) last: Option<TwinBody<'a>>,
    pub(super) current: Option<TwinBody<'a>>,
}

/// One twin; which halves it shows depends on who is told.
#[derive(Serialize, Default)]
pub(super) struct TwinBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) expected: Option<HalfBody<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) actual: Option<HalfBody<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) optional: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) metadata: Option<TypeBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) expected_version: Option<Version>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) actual_version: Option<Version>,
}

#[derive(Serialize)]
pub(super) struct HalfBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<TimeBody>,
}

#[derive(Serialize)]
struct TimeBody {
    timestamp: i64,
}

#[derive(Serialize)]
pub(super) struct TypeBody {
    #[serde(rename = "type")]
    value_type: &'static str,
}

impl<'a> HalfBody<'a> {
    /// A half that has a value; one without is not shown.
    pub(super) fn set(half: &'a Half) -> Option<Self> {
        let value = half.value.as_deref()?;
        Some(Self { value: Some(value), metadata: Some(TimeBody { timestamp: half.at }) })
    }

    /// A half for the cloud: an empty object says that the value is gone.
    pub(super) fn set_or_gone(half: &'a Half) -> Self {
        Self::set(half).unwrap_or(Self { value: None, metadata: None })
    }
}

impl<'a> TwinBody<'a> {
    /// Both halves, without versions: what MQTT clients see.
    pub(super) fn whole(twin: &'a Twin) -> Self {
        Self {
            expected: HalfBody::set(&twin.expected),
            actual: HalfBody::set(&twin.actual),
            ..Self::frame(twin)
        }
    }

    /// No halves yet.
    pub(super) fn frame(twin: &Twin) -> Self {
        let value_type = if twin.deleted { "deleted" } else { twin.value_type.as_str() };
        Self { optional: Some(twin.optional), metadata: Some(TypeBody { value_type }), ..Self::default() }
    }
}

/// All live twins of a device.
pub(super) fn live_twins(device: &Device) -> Twins<'_> {
    device.live().map(|(name, twin)| (name, Some(TwinBody::whole(twin)))).collect()
}

#[derive(Serialize)]
pub(super) struct StateBody<'a> {
    pub(super) event_id: &'a str,
    pub(super) timestamp: i64,
    pub(super) device: StateOf<'a>,
}

#[derive(Serialize)]
pub(super) struct StateOf<'a> {
    pub(super) name: &'a str,
    pub(super) state: &'a str,
    #[serde(rename = "lastOnlineTime", skip_serializing_if = "Option::is_none")]
    pub(super) last_online: Option<&'a str>,
}

#[derive(Serialize)]
pub(super) struct MembersBody<'a> {
    pub(super) event_id: &'a str,
    pub(super) timestamp: i64,
    pub(super) devices: Vec<MemberBody<'a>>,
}

#[derive(Serialize)]
pub(super) struct MembershipBody<'a> {
    pub(super) event_id: &'a str,
    pub(super) timestamp: i64,
    pub(super) added_devices: Option<Vec<MemberBody<'a>>>,
    pub(super) removed_devices: Option<Vec<MemberBody<'a>>>,
}

#[derive(Serialize)]
pub(super) struct MemberBody<'a> {
    id: &'a str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_online: Option<&'a str>,
}

impl<'a> MemberBody<'a> {
    pub(super) fn new(id: &'a DeviceId, description: Option<&'a str>) -> Self {
        Self { id: id.as_str(), name: id.name(), description, state: None, last_online: None }
    }

    pub(super) fn with_state(id: &'a DeviceId, device: &'a Device) -> Self {
        Self {
            state: device.state.as_deref(),
            last_online: device.last_online.as_deref(),
            ..Self::new(id, device.description.as_deref())
        }
    }
}

/// The body as a notice. The bodies here are maps with string keys and numbers: they always serialize.
pub(super) fn notice(to: Channel, body: &impl Serialize) -> Notice {
    Notice { to, payload: Bytes::from(json(body)) }
}

/// The body as text, for the cloud.
pub(super) fn json(body: &impl Serialize) -> String {
    serde_json::to_string(body).unwrap_or_default()
}
