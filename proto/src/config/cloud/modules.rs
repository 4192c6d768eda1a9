//! Modules with few settings.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::pki;
use crate::config::Seconds;

/// Pods, config maps, secrets, nodes, leases.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EdgeController {
    /// Whether it runs.
    pub enable: bool,
    /// Accepted for KubeEdge's files.
    pub node_update_frequency: Seconds,
}

/// Devices.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeviceController {
    /// Whether it runs.
    pub enable: bool,
}

/// What each node has, against what it should have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SyncController {
    /// Whether it runs.
    pub enable: bool,
}

/// What MetaServer asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DynamicController {
    /// Whether it runs.
    pub enable: bool,
}

/// Logs and exec.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CloudStream {
    /// Whether it runs.
    pub enable: bool,
    /// CA that signed the edges.
    #[serde(rename = "tlsTunnelCAFile")]
    pub tls_tunnel_ca_file: PathBuf,
    /// The tunnel's certificate.
    pub tls_tunnel_cert_file: PathBuf,
    /// The tunnel's key.
    pub tls_tunnel_private_key_file: PathBuf,
    /// CA that signed the API server's client certificate.
    #[serde(rename = "tlsStreamCAFile")]
    pub tls_stream_ca_file: PathBuf,
    /// The kubelet-like server's certificate.
    pub tls_stream_cert_file: PathBuf,
    /// The kubelet-like server's key.
    pub tls_stream_private_key_file: PathBuf,
    /// Port for the edges.
    pub tunnel_port: u16,
    /// Port for the API server.
    pub stream_port: u16,
}

/// KubeEdge's iptables rules.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IptablesManager {
    /// Accepted.
    pub enable: bool,
    /// `internal` or `external`.
    pub mode: String,
}

impl Default for CloudStream {
    fn default() -> Self {
        Self {
            enable: false,
            tls_tunnel_ca_file: pki("rootCA.crt"),
            tls_tunnel_cert_file: pki("server.crt"),
            tls_tunnel_private_key_file: pki("server.key"),
            tls_stream_ca_file: pki("streamCA.crt"),
            tls_stream_cert_file: pki("stream.crt"),
            tls_stream_private_key_file: pki("stream.key"),
            tunnel_port: 10004,
            stream_port: 10003,
        }
    }
}
