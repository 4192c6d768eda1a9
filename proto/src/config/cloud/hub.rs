//! The link to the edges.

use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{ANY, pki};
use crate::config::{Listener, Ping, Seconds, host_address};

/// The link to the edges.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CloudHub {
    /// Whether it runs.
    pub enable: bool,
    /// Addresses by which edges reach this cloudcore: SANs of its certificate.
    pub advertise_address: Vec<IpAddr>,
    /// Names by which edges reach this cloudcore: SANs of its certificate. Empty ones are skipped.
    pub dns_names: Vec<String>,
    /// Most nodes connected at a time.
    pub node_limit: u32,
    /// A session without a keepalive for this long is closed.
    pub keepalive_interval: Seconds,
    /// A write that takes longer ends the session.
    pub write_timeout: Seconds,
    /// The KubeEdge CA's certificate.
    #[serde(rename = "tlsCAFile")]
    pub tls_ca_file: PathBuf,
    /// The KubeEdge CA's key.
    #[serde(rename = "tlsCAKeyFile")]
    pub tls_ca_key_file: PathBuf,
    /// cloudcore's certificate.
    pub tls_cert_file: PathBuf,
    /// cloudcore's key.
    pub tls_private_key_file: PathBuf,
    /// Days that an edge's certificate lives.
    pub edge_cert_signing_duration: u32,
    /// Hours between two join tokens; one lives twice as long.
    pub token_refresh_duration: u32,
    /// The message channel.
    pub websocket: Listener,
    /// Not implementable with today's QUIC; must stay off.
    pub quic: Quic,
    /// Certificates and node checks.
    pub https: Listener,
    /// KubeEdge's CSI driver.
    pub unixsocket: UnixSocket,
    /// Accepted; node identity is always enforced here.
    pub authorization: Authorization,
    /// Our addition.
    pub ping: Ping,
    /// Our addition: the longest message.
    pub max_message_bytes: usize,
}

/// KubeEdge's gQUIC listener.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Quic {
    /// Must be false.
    pub enable: bool,
}

/// KubeEdge's CSI socket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnixSocket {
    /// Whether to listen.
    pub enable: bool,
    /// `unix://` and a path.
    pub address: String,
}

/// KubeEdge's optional authorization of nodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Authorization {
    /// KubeEdge's switch.
    pub enable: bool,
    /// KubeEdge's switch to log only.
    pub debug: bool,
    /// KubeEdge's authorizers.
    #[serde(default)]
    pub modes: Vec<AuthorizationMode>,
}

/// One of KubeEdge's authorizers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AuthorizationMode {
    /// The node authorizer.
    pub node: NodeMode,
}

/// KubeEdge's node authorizer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeMode {
    /// Whether it is on.
    pub enable: bool,
}

impl Default for CloudHub {
    fn default() -> Self {
        Self {
            enable: true,
            advertise_address: vec![host_address()],
            dns_names: vec![String::new()],
            node_limit: 500,
            keepalive_interval: Seconds(30),
            write_timeout: Seconds(30),
            tls_ca_file: pki("rootCA.crt"),
            tls_ca_key_file: pki("rootCA.key"),
            tls_cert_file: pki("server.crt"),
            tls_private_key_file: pki("server.key"),
            edge_cert_signing_duration: 365,
            token_refresh_duration: 12,
            websocket: Listener { enable: true, address: ANY, port: 10000 },
            quic: Quic { enable: false },
            https: Listener { enable: true, address: ANY, port: 10002 },
            unixsocket: UnixSocket { enable: true, address: "unix:///var/lib/kubeedge/kubeedge.sock".into() },
            authorization: Authorization {
                enable: false,
                debug: true,
                modes: vec![AuthorizationMode { node: NodeMode { enable: true } }],
            },
            ping: Ping::default(),
            max_message_bytes: 32 << 20,
        }
    }
}
