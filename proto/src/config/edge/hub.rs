//! The link to the cloud.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::etc;
use crate::config::{HostPort, Ping, Seconds, Span, host_address};

/// The link to the cloud.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EdgeHub {
    /// Whether it runs.
    pub enable: bool,
    /// Seconds between two keepalives.
    pub heartbeat: Seconds,
    /// Most messages a second to a KubeEdge cloud; 0 for no limit.
    #[serde(rename = "messageQPS")]
    pub message_qps: u32,
    /// Most messages at once to a KubeEdge cloud.
    pub message_burst: u32,
    /// Part of the URL; any text.
    #[serde(rename = "projectID")]
    pub project_id: String,
    /// The KubeEdge CA's certificate.
    pub tls_ca_file: PathBuf,
    /// This node's certificate.
    pub tls_cert_file: PathBuf,
    /// This node's key.
    pub tls_private_key_file: PathBuf,
    /// The message channel.
    pub websocket: Link,
    /// Not implementable with today's QUIC; must stay off.
    pub quic: Link,
    /// URL of the certificate service.
    pub http_server: String,
    /// The join token; empty once there is a certificate.
    pub token: String,
    /// Whether the certificate is renewed before it expires.
    pub rotate_certificates: bool,
    /// Our addition: a file that holds a join token until there is a certificate (KubeEdge has it built in).
    pub bootstrap_file: PathBuf,
    /// Our addition.
    pub ping: Ping,
    /// Our addition: waiting between two attempts to connect.
    pub backoff: Backoff,
    /// Our addition: the longest message.
    pub max_message_bytes: usize,
}

/// A way to the cloud.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Link {
    /// Whether it is used.
    pub enable: bool,
    /// Host and port.
    pub server: HostPort,
    /// How long connecting may take.
    pub handshake_timeout: Seconds,
    /// Kept for KubeEdge's files: a dead link is noticed by `ping`.
    pub read_deadline: Seconds,
    /// How long a write may take.
    pub write_deadline: Seconds,
}

/// Waiting between two attempts to connect: doubling from `initial` to `max`, each time a random part of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Backoff {
    /// The first wait.
    pub initial: Span,
    /// The longest wait.
    pub max: Span,
}

impl Default for EdgeHub {
    fn default() -> Self {
        let host = host_address().to_string();
        let link = |enable, port| Link {
            enable,
            server: HostPort::new(host.clone(), port),
            handshake_timeout: Seconds(30),
            read_deadline: Seconds(15),
            write_deadline: Seconds(15),
        };
        Self {
            enable: true,
            heartbeat: Seconds(15),
            message_qps: 30,
            message_burst: 60,
            project_id: "e632aba927ea4ac2b575ec1603d56f10".into(),
            tls_ca_file: etc("ca/rootCA.crt"),
            tls_cert_file: etc("certs/server.crt"),
            tls_private_key_file: etc("certs/server.key"),
            websocket: link(true, 10000),
            quic: link(false, 10001),
            http_server: format!("https://{}", HostPort::new(host.clone(), 10002)),
            token: String::new(),
            rotate_certificates: true,
            bootstrap_file: etc("bootstrap-edgecore.conf"),
            ping: Ping::default(),
            backoff: Backoff { initial: Span::millis(200), max: Span::seconds(15) },
            max_message_bytes: 32 << 20,
        }
    }
}
