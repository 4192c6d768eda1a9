use std::fmt;
use std::str::FromStr;

/// The name of a node: a DNS subdomain, so it can stand in URLs, certificates and object names as it is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeName(Box<str>);

/// Text that cannot name a node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} cannot name a node: use lower case letters, digits, '-' and '.', starting and ending with a letter or digit"
)]
pub struct InvalidNodeName(String);

impl NodeName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The user that Kubernetes knows a node as, and the common name of its certificate: `system:node:<name>`.
    pub fn user(&self) -> String {
        format!("{USER_PREFIX}{self}")
    }

    /// The node behind `system:node:<name>`.
    pub fn from_user(user: &str) -> Option<Self> {
        user.strip_prefix(USER_PREFIX)?.parse().ok()
    }
}

const USER_PREFIX: &str = "system:node:";

impl FromStr for NodeName {
    type Err = InvalidNodeName;

    fn from_str(name: &str) -> Result<Self, InvalidNodeName> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let label = |label: &str| {
            let bytes = label.as_bytes();
            bytes.first().copied().is_some_and(plain)
                && bytes.last().copied().is_some_and(plain)
                && bytes.iter().all(|b| plain(*b) || *b == b'-')
        };
        if name.len() <= 253 && name.split('.').all(label) {
            Ok(Self(name.into()))
        } else {
            Err(InvalidNodeName(name.chars().take(260).collect()))
        }
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
