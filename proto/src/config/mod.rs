//! `cloudcore.yaml` and `edgecore.yaml` in KubeEdge's schema, with our additions marked as such.
//!
//! Owns: the two files' types, defaults, reading and rendering. A file is laid over the defaults: keys match in any
//! letter case, `null` keeps the default, a list replaces the default's list, and a key that nobody knows is a
//! [`Warning`] that names its path. Called by the two `main.rs` and by keadm.

mod cloud;
mod edge;
mod kubelet;
mod overlay;
mod runtime;
mod units;

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use cloud::{
    Authorization, AuthorizationMode, CloudCore, CloudHub, CloudModules, CloudStream, CommonConfig,
    ControlPlane, DeviceController, DynamicController, EdgeController, IptablesManager, KubeApi,
    MonitorServer, NodeMode, Quic, Router, RouterMode, SyncController, UnixSocket,
};
pub use edge::{
    Backoff, DBTest, Database, DeviceTwin, EdgeCore, EdgeHub, EdgeModules, EdgeStream, Edged, EventBus,
    EventBusTls, Link, MetaManager, MetaServer, MqttMode, ServiceBus,
};
pub use kubelet::{CONTAINERD_SOCKET, KubeletConfig, Taint};
pub use runtime::{DOCKER_SOCKET, RuntimeApi, RuntimeType, UnknownRuntime};
pub use units::{HostPort, InvalidUnit, Seconds, Span};

/// Larger files are no configuration.
const FILE_LIMIT: u64 = 1 << 20;

/// A module that can only be on or off.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Toggle {
    /// Whether it runs.
    pub enable: bool,
}

/// RFC 6455 pings, our addition: how soon a dead link is noticed.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Ping {
    /// Time between two pings.
    pub interval: Span,
    /// A link that has said nothing for this long after a ping is dead.
    pub timeout: Span,
}

impl Default for Ping {
    fn default() -> Self {
        Self { interval: Span::seconds(5), timeout: Span::seconds(5) }
    }
}

/// An address to listen at.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Listener {
    /// Whether to listen at all.
    pub enable: bool,
    /// The local address.
    pub address: std::net::IpAddr,
    /// The port.
    pub port: u16,
}

/// Something in a file that a person should look at; the process starts all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// A key that neither KubeEdge nor Skerry knows.
    UnknownKey {
        /// Dotted path of the key.
        key: String,
        /// The nearest known key beside it.
        similar: Option<String>,
    },
    /// A key of KubeEdge's that has no effect in Skerry.
    NoEffect {
        /// Dotted path of the key.
        key: String,
    },
    /// A key was given twice in different letter case; the last one counts.
    Repeated {
        /// Dotted path of the key.
        key: String,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKey { key, similar: Some(similar) } => {
                write!(f, "unknown key {key} is ignored: did you mean {similar}?")
            }
            Self::UnknownKey { key, similar: None } => {
                write!(f, "unknown key {key} is ignored: remove it, or compare with --defaultconfig")
            }
            Self::NoEffect { key } => {
                write!(f, "{key} is KubeEdge's and has no effect here: it may be removed")
            }
            Self::Repeated { key } => write!(f, "{key} is given more than once: the last one counts"),
        }
    }
}

/// A file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("cannot read {}: {source}; write one with --defaultconfig or --minconfig", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is too long to be a configuration.
    #[error("{} is larger than 1 MiB: that is no configuration file", file.display())]
    TooLarge {
        /// The file.
        file: PathBuf,
    },
    /// It is not YAML.
    #[error("{} is not valid YAML: {reason}", file.display())]
    NotYaml {
        /// The file.
        file: PathBuf,
        /// What is wrong, and where.
        reason: String,
    },
    /// A key has a value that it cannot have.
    #[error("{}: {key}: {reason}", file.display())]
    Invalid {
        /// The file.
        file: PathBuf,
        /// Dotted path of the key.
        key: String,
        /// What is wrong and what to write instead.
        reason: String,
    },
}

/// What is wrong with a key's value, found after reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Objection {
    /// Dotted path of the key.
    pub key: &'static str,
    /// What is wrong and what to write instead.
    pub reason: String,
}

/// A kind of configuration file.
pub trait ConfigFile: Serialize + DeserializeOwned + Default {
    /// Keys of KubeEdge's that are accepted without effect, with KubeEdge's defaults.
    fn without_effect() -> Value;

    /// The keys that a minimal file shows, as dotted paths.
    const MINIMAL: &'static [&'static str];

    /// Where the file is looked for.
    const PATH: &'static str;

    /// Rules that go beyond one key's type.
    fn check(&self) -> Result<(), Objection>;

    /// Reads a file. The warnings are for the log.
    fn load(file: &Path) -> Result<(Self, Vec<Warning>), ConfigError> {
        let unreadable = |source| ConfigError::Unreadable { file: file.into(), source };
        if std::fs::metadata(file).map_err(unreadable)?.len() > FILE_LIMIT {
            return Err(ConfigError::TooLarge { file: file.into() });
        }
        Self::parse(&std::fs::read_to_string(file).map_err(unreadable)?, file)
    }

    /// Reads the text of a file; the path is for messages only.
    fn parse(text: &str, file: &Path) -> Result<(Self, Vec<Warning>), ConfigError> {
        let written: Value = if text.trim().is_empty() {
            Value::Null
        } else {
            serde_saphyr::from_str(text)
                .map_err(|error| ConfigError::NotYaml { file: file.into(), reason: error.to_string() })?
        };
        let invalid =
            |key: &str, reason: String| ConfigError::Invalid { file: file.into(), key: key.into(), reason };
        let defaults =
            serde_json::to_value(Self::default()).map_err(|e| invalid("(defaults)", e.to_string()))?;
        if !written.is_object() && !written.is_null() {
            return Err(invalid("(whole file)", "expected keys and values".into()));
        }
        let (merged, warnings) = overlay::lay(defaults, &Self::without_effect(), written);
        let config: Self = serde_path_to_error::deserialize(merged).map_err(|error| {
            let key = error.path().to_string();
            invalid(&key, error.into_inner().to_string())
        })?;
        config.check().map_err(|objection| invalid(objection.key, objection.reason))?;
        Ok((config, warnings))
    }

    /// Every key with its default, as `--defaultconfig` prints it.
    fn default_yaml() -> String {
        let defaults = serde_json::to_value(Self::default()).unwrap_or_default();
        render(
            "With --defaultconfig, every key that exists is shown with its default.",
            &overlay::union(defaults, &Self::without_effect()),
        )
    }

    /// The keys that an installation usually sets, as `--minconfig` prints it.
    fn min_yaml() -> String {
        let defaults = serde_json::to_value(Self::default()).unwrap_or_default();
        render(
            "With --minconfig, only the keys that are usually set are shown.",
            &overlay::pick(&defaults, Self::MINIMAL),
        )
    }

    /// This configuration as YAML, for keadm to write.
    fn to_yaml(&self) -> String {
        yaml(&serde_json::to_value(self).unwrap_or_default())
    }
}

fn render(first: &str, value: &Value) -> String {
    format!(
        "# {first}\n# Keys may be left out: their defaults hold. Unknown keys are warned about at start.\n# Docs: docs/ in the repository, https://kubeedge.io/docs/setup/config for the KubeEdge ones.\n\n{}",
        yaml(value)
    )
}

fn yaml(value: &Value) -> String {
    // Our own values: scalars, lists and maps with string keys, which every YAML writer can write.
    serde_saphyr::to_string(value).unwrap_or_default()
}

/// The address that this host would use to reach others; no packet is sent. Loopback if there is no route.
pub fn host_address() -> std::net::IpAddr {
    let route = |bind: &str, towards: &str| {
        let socket = std::net::UdpSocket::bind(bind).ok()?;
        socket.connect(towards).ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    route("0.0.0.0:0", "192.0.2.1:9")
        .or_else(|| route("[::]:0", "[2001:db8::1]:9"))
        .unwrap_or(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST))
}

/// The host's name in the form that a node's name needs.
pub fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_ascii_lowercase()
}

#[cfg(test)]
mod tests;
