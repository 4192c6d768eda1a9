//! The object store, and what is served to this node's programs and mappers.

use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::etc;
use crate::config::{HostPort, Seconds};

/// The object store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MetaManager {
    /// Whether it runs.
    pub enable: bool,
    /// How long a request to the cloud may take.
    pub remote_query_timeout: Seconds,
    /// The Kubernetes API on the edge.
    pub meta_server: MetaServer,
}

/// The Kubernetes API on the edge.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MetaServer {
    /// Whether it runs.
    pub enable: bool,
    /// Where it listens.
    pub server: HostPort,
    /// Where it listens on the dummy interface.
    pub dummy_server: HostPort,
    /// CA for its clients.
    pub tls_ca_file: PathBuf,
    /// Certificate for its clients.
    pub tls_cert_file: PathBuf,
    /// Key for its clients.
    pub tls_private_key_file: PathBuf,
    /// Accepted issuers of service-account tokens.
    pub service_account_issuers: Vec<String>,
}

/// HTTP between local services and the cloud.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceBus {
    /// Whether it runs.
    pub enable: bool,
    /// Local address.
    pub server: IpAddr,
    /// Port.
    pub port: u16,
    /// How long a call may take.
    pub timeout: Seconds,
}

/// Devices.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceTwin {
    /// Whether it runs.
    pub enable: bool,
    /// Directory of the socket for mappers. An old value that ends in `.sock` means its directory.
    pub dmi_sock_path: PathBuf,
}

/// KubeEdge's self test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DBTest {
    /// Without effect.
    pub enable: bool,
}

/// Logs and exec.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EdgeStream {
    /// Whether it runs.
    pub enable: bool,
    /// The tunnel's host and port.
    pub server: HostPort,
    /// The KubeEdge CA's certificate.
    #[serde(rename = "tlsTunnelCAFile")]
    pub tls_tunnel_ca_file: PathBuf,
    /// This node's certificate.
    pub tls_tunnel_cert_file: PathBuf,
    /// This node's key.
    pub tls_tunnel_private_key_file: PathBuf,
    /// How long connecting may take.
    pub handshake_timeout: Seconds,
}

impl Default for MetaManager {
    fn default() -> Self {
        Self {
            enable: true,
            remote_query_timeout: Seconds(60),
            meta_server: MetaServer {
                enable: false,
                server: HostPort::new("127.0.0.1", 10550),
                dummy_server: HostPort::new("169.254.30.10", 10550),
                tls_ca_file: etc("ca/rootCA.crt"),
                tls_cert_file: etc("certs/server.crt"),
                tls_private_key_file: etc("certs/server.key"),
                service_account_issuers: vec!["https://kubernetes.default.svc.cluster.local".into()],
            },
        }
    }
}

impl Default for ServiceBus {
    fn default() -> Self {
        Self { enable: false, server: IpAddr::from([127, 0, 0, 1]), port: 9060, timeout: Seconds(60) }
    }
}

impl Default for DeviceTwin {
    fn default() -> Self {
        Self { enable: true, dmi_sock_path: "/etc/kubeedge/".into() }
    }
}

impl Default for EdgeStream {
    fn default() -> Self {
        Self {
            enable: false,
            server: HostPort::new("127.0.0.1", 10004),
            tls_tunnel_ca_file: etc("ca/rootCA.crt"),
            tls_tunnel_cert_file: etc("certs/server.crt"),
            tls_tunnel_private_key_file: etc("certs/server.key"),
            handshake_timeout: Seconds(30),
        }
    }
}
