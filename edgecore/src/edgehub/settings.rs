//! The settings of the link, taken from `edgecore.yaml`.

use std::path::PathBuf;
use std::time::Duration;

use proto::config::{EdgeCore, HostPort};
use proto::pki::NodeName;
use proto::session::Limits;

use super::session;

/// Everything that the link needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Who this node is.
    pub node: NodeName,
    /// The websocket's address.
    pub server: HostPort,
    /// The certificate service's address.
    pub https: HostPort,
    /// Part of the websocket's URL.
    pub project_id: String,
    /// The KubeEdge CA's certificate.
    pub ca_file: PathBuf,
    /// This node's certificate.
    pub cert_file: PathBuf,
    /// This node's key.
    pub key_file: PathBuf,
    /// A join token from the configuration file; may be empty.
    pub token: String,
    /// A file that may hold a join token, which then counts.
    pub bootstrap_file: PathBuf,
    /// The configuration file, from which a used token is removed.
    pub config_file: Option<PathBuf>,
    /// Whether the certificate is renewed before it expires.
    pub rotate: bool,
    /// How long connecting may take.
    pub handshake_timeout: Duration,
    /// How long a write may take.
    pub write_timeout: Duration,
    /// The first and the longest pause between two attempts to connect.
    pub backoff: (Duration, Duration),
    /// Bounds of messages.
    pub limits: Limits,
    /// Periods and bounds of a session.
    pub session: session::Settings,
    /// What a KubeEdge cloud is spared.
    pub kubeedge_rate: session::Rate,
}

/// A value that only shows to be wrong when it is used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {reason}")]
pub struct InvalidSetting {
    /// Dotted path of the key.
    pub key: &'static str,
    /// What is wrong.
    pub reason: String,
}

impl Settings {
    /// From a configuration; `config_file` is where it came from.
    pub fn from_config(config: &EdgeCore, config_file: Option<PathBuf>) -> Result<Self, InvalidSetting> {
        let hub = &config.modules.edge_hub;
        let node = config.node_name().parse().map_err(|error: proto::pki::InvalidNodeName| {
            InvalidSetting { key: "modules.edged.hostnameOverride", reason: error.to_string() }
        })?;
        let wrong = |reason: String| InvalidSetting { key: "modules.edgeHub.httpServer", reason };
        let https = hub
            .http_server
            .strip_prefix("https://")
            .ok_or_else(|| wrong("must start with https://".into()))?
            .trim_end_matches('/')
            .parse()
            .map_err(|error: proto::config::InvalidUnit| wrong(error.to_string()))?;
        Ok(Self {
            node,
            server: hub.websocket.server.clone(),
            https,
            project_id: hub.project_id.clone(),
            ca_file: hub.tls_ca_file.clone(),
            cert_file: hub.tls_cert_file.clone(),
            key_file: hub.tls_private_key_file.clone(),
            token: hub.token.clone(),
            bootstrap_file: hub.bootstrap_file.clone(),
            config_file,
            rotate: hub.rotate_certificates,
            handshake_timeout: hub.websocket.handshake_timeout.get(),
            write_timeout: hub.websocket.write_deadline.get(),
            backoff: (hub.backoff.initial.get(), hub.backoff.max.get()),
            limits: Limits { message_bytes: hub.max_message_bytes, ..Limits::default() },
            session: session::Settings {
                heartbeat: hub.heartbeat.get(),
                ping_every: hub.ping.interval.get(),
                dead_after: hub.ping.interval.get() + hub.ping.timeout.get(),
                ..session::Settings::default()
            },
            kubeedge_rate: session::Rate {
                per_second: f64::from(hub.message_qps),
                burst: f64::from(hub.message_burst),
            },
        })
    }
}
