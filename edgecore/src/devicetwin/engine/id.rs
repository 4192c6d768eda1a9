//! A device's identity: `<namespace>/<name>`, two levels everywhere.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Kubernetes' longest name.
const LONGEST: usize = 253;

/// `<namespace>/<name>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceId(Arc<str>);

/// The text is no device id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a device id (need <namespace>/<name> in Kubernetes' letters, each up to {LONGEST} bytes)")]
pub struct InvalidDeviceId;

// === impl DeviceId ===

impl DeviceId {
    /// From its two parts.
    pub fn new(namespace: &str, name: &str) -> Result<Self, InvalidDeviceId> {
        if is_name(namespace) && is_name(name) {
            Ok(Self(format!("{namespace}/{name}").into()))
        } else {
            Err(InvalidDeviceId)
        }
    }

    /// The part before the slash.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.parts().0
    }

    /// The part after the slash.
    #[must_use]
    pub fn name(&self) -> &str {
        self.parts().1
    }

    /// Both, as one text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn parts(&self) -> (&str, &str) {
        self.0.split_once('/').unwrap_or((&self.0, ""))
    }
}

impl FromStr for DeviceId {
    type Err = InvalidDeviceId;

    fn from_str(text: &str) -> Result<Self, InvalidDeviceId> {
        let (namespace, name) = text.split_once('/').ok_or(InvalidDeviceId)?;
        Self::new(namespace, name)
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Kubernetes' letters, and upper case and `_` for those who ask about devices that cannot exist: they get a 404.
fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= LONGEST
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
}
