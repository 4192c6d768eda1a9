//! `cloudcore.yaml`: `cloudcore.config.kubeedge.io/v1alpha1`, kind CloudCore.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{ConfigFile, Listener, Objection, Ping, Seconds, Span, Toggle};

const ANY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// The whole file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CloudCore {
    /// Not checked: charts in the field ship others.
    pub api_version: String,
    /// Not checked.
    pub kind: String,
    /// What no module owns.
    pub common_config: CommonConfig,
    /// The Kubernetes API to use; both `master` and `kubeConfig` empty selects the embedded control plane.
    #[serde(rename = "kubeAPIConfig")]
    pub kube_api_config: KubeApi,
    /// KubeEdge's feature gates.
    pub feature_gates: BTreeMap<String, bool>,
    /// The modules.
    pub modules: CloudModules,
}

/// What no module owns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CommonConfig {
    /// Where metrics are served.
    pub monitor_server: MonitorServer,
}

/// Where metrics are served.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MonitorServer {
    /// Address and port.
    pub bind_address: SocketAddr,
}

/// The Kubernetes API to use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KubeApi {
    /// The API server's URL; empty for none.
    pub master: String,
    /// A kubeconfig file; empty for none.
    pub kube_config: String,
}

/// The modules of cloudcore.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CloudModules {
    /// Our addition: the embedded Kubernetes API.
    pub control_plane: ControlPlane,
    /// The link to the edges.
    pub cloud_hub: CloudHub,
    /// Pods, config maps, secrets, nodes, leases.
    pub edge_controller: EdgeController,
    /// Devices.
    pub device_controller: DeviceController,
    /// What each node has, against what it should have.
    pub sync_controller: SyncController,
    /// Node jobs.
    pub task_manager: Toggle,
    /// What MetaServer asks for.
    pub dynamic_controller: DynamicController,
    /// Logs and exec.
    pub cloud_stream: CloudStream,
    /// Rules.
    pub router: Router,
    /// Accepted; the tunnel needs no iptables here.
    pub iptables_manager: IptablesManager,
}

/// Our addition: the embedded Kubernetes API, used when `kubeAPIConfig` names no other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ControlPlane {
    /// Whether it may be used at all.
    pub enable: bool,
    /// Where its database lives; 0700.
    pub data_dir: PathBuf,
    /// Local address of the API.
    pub address: IpAddr,
    /// Port of the API.
    pub port: u16,
    /// Where the administrator's kubeconfig is written; 0600.
    pub admin_kube_config: PathBuf,
    /// Whether secrets are encrypted in the database, with the keys in `pki/secrets.key` below the data directory. The first key is made
    /// when there is none.
    pub encrypt_secrets: bool,
    /// An `EncryptionConfiguration` of `apiserver.config.k8s.io/v1`, which says what is encrypted in the database and with which keys
    /// (kube-apiserver's `--encryption-provider-config`); empty is none.
    pub encryption_config: PathBuf,
    /// How long a node may be silent before it counts as unreachable (kube-controller-manager's `--node-monitor-grace-period`).
    pub node_monitor_grace_period: Span,
    /// Who asked the API for what.
    pub audit: Audit,
}

/// The audit log of the embedded Kubernetes API.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Audit {
    /// The file that it is written to; empty is off.
    pub path: PathBuf,
    /// An `audit.k8s.io/v1` Policy; empty tells of every request without bodies.
    pub policy: PathBuf,
    /// Megabytes at which the file is put aside.
    #[serde(rename = "maxSizeMB")]
    pub max_size_mb: u32,
    /// Files put aside that are kept.
    pub max_files: u32,
}

impl Default for Audit {
    fn default() -> Self {
        Self { path: PathBuf::new(), policy: PathBuf::new(), max_size_mb: 100, max_files: 10 }
    }
}

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

/// Rules.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Router {
    /// Whether it runs.
    pub enable: bool,
    /// Local address.
    pub address: IpAddr,
    /// Port.
    pub port: u16,
    /// How long a REST caller waits.
    pub rest_timeout: Seconds,
    /// Our addition: who may call. `plain` is what KubeEdge does.
    pub mode: RouterMode,
    /// Our addition: the file with the token that callers show in mode `secure`; made with a token of its own if it is not there.
    pub token_file: PathBuf,
}

/// How the REST port of rules is guarded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RouterMode {
    /// TLS with cloudcore's certificate, and `Authorization: Bearer` with the token.
    #[default]
    Secure,
    /// Plain HTTP for whoever reaches the port, as KubeEdge has it.
    Plain,
}

/// KubeEdge's iptables rules.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IptablesManager {
    /// Accepted.
    pub enable: bool,
    /// `internal` or `external`.
    pub mode: String,
}

impl Default for CloudCore {
    fn default() -> Self {
        Self {
            api_version: "cloudcore.config.kubeedge.io/v1alpha1".into(),
            kind: "CloudCore".into(),
            common_config: CommonConfig {
                monitor_server: MonitorServer { bind_address: SocketAddr::from(([127, 0, 0, 1], 9091)) },
            },
            kube_api_config: KubeApi { master: String::new(), kube_config: String::new() },
            feature_gates: BTreeMap::new(),
            modules: CloudModules::default(),
        }
    }
}

impl Default for CloudModules {
    fn default() -> Self {
        Self {
            control_plane: ControlPlane {
                enable: true,
                data_dir: "/var/lib/cloudcore".into(),
                address: ANY,
                port: 6443,
                admin_kube_config: "/etc/kubeedge/admin.conf".into(),
                encrypt_secrets: false,
                encryption_config: PathBuf::new(),
                node_monitor_grace_period: Span::seconds(40),
                audit: Audit::default(),
            },
            cloud_hub: CloudHub::default(),
            edge_controller: EdgeController { enable: true, node_update_frequency: Seconds(10) },
            device_controller: DeviceController { enable: true },
            sync_controller: SyncController { enable: true },
            task_manager: Toggle { enable: true },
            dynamic_controller: DynamicController { enable: false },
            cloud_stream: CloudStream {
                enable: false,
                tls_tunnel_ca_file: pki("rootCA.crt"),
                tls_tunnel_cert_file: pki("server.crt"),
                tls_tunnel_private_key_file: pki("server.key"),
                tls_stream_ca_file: pki("streamCA.crt"),
                tls_stream_cert_file: pki("stream.crt"),
                tls_stream_private_key_file: pki("stream.key"),
                tunnel_port: 10004,
                stream_port: 10003,
            },
            router: Router {
                enable: false,
                address: ANY,
                port: 9443,
                rest_timeout: Seconds(60),
                mode: RouterMode::Secure,
                token_file: "/var/lib/cloudcore/router.token".into(),
            },
            iptables_manager: IptablesManager { enable: true, mode: "internal".into() },
        }
    }
}

/// Not below /etc/kubeedge, where KubeEdge has it: on one machine the edge's files live there.
fn pki(name: &str) -> PathBuf {
    PathBuf::from("/var/lib/cloudcore/pki").join(name)
}

impl Default for CloudHub {
    fn default() -> Self {
        Self {
            enable: true,
            advertise_address: vec![super::host_address()],
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

impl CloudCore {
    /// True if the embedded control plane is the Kubernetes API.
    pub fn embedded(&self) -> bool {
        self.kube_api_config.master.is_empty() && self.kube_api_config.kube_config.is_empty()
    }
}

impl ConfigFile for CloudCore {
    const PATH: &'static str = "/etc/kubeedge/config/cloudcore.yaml";

    const MINIMAL: &'static [&'static str] = &[
        "apiVersion",
        "kind",
        "kubeAPIConfig",
        "modules.controlPlane.enable",
        "modules.controlPlane.dataDir",
        "modules.controlPlane.address",
        "modules.controlPlane.port",
        "modules.controlPlane.adminKubeConfig",
        "modules.cloudHub.enable",
        "modules.cloudHub.advertiseAddress",
        "modules.cloudHub.dnsNames",
        "modules.cloudHub.nodeLimit",
        "modules.cloudHub.tlsCAFile",
        "modules.cloudHub.tlsCAKeyFile",
        "modules.cloudHub.tlsCertFile",
        "modules.cloudHub.tlsPrivateKeyFile",
        "modules.cloudHub.websocket",
        "modules.cloudHub.https",
        "modules.router",
    ];

    fn without_effect() -> Value {
        let buffer: serde_json::Map<String, Value> = [
            "updatePodStatus",
            "updateNodeStatus",
            "processEvent",
            "queryConfigMap",
            "querySecret",
            "queryPersistentVolume",
            "queryPersistentVolumeClaim",
            "queryVolumeAttachment",
            "createNode",
            "updateNode",
            "patchPod",
            "deletePod",
            "queryLease",
            "serviceAccountToken",
            "createPod",
            "certificateSigningRequest",
        ]
        .into_iter()
        .map(|key| (key.to_owned(), json!(1024)))
        .chain(
            ["podEvent", "configMapEvent", "secretEvent", "rulesEvent", "ruleEndpointsEvent"]
                .map(|key| (key.to_owned(), json!(1))),
        )
        .chain([
            ("patchNode".to_owned(), json!(1274)),
            ("queryNode".to_owned(), json!(1524)),
            ("createLease".to_owned(), json!(1524)),
        ])
        .collect();
        json!({
            "commonConfig": {"tunnelPort": 10350, "monitorServer": {"enableProfiling": false}},
            "kubeAPIConfig": {"contentType": "application/vnd.kubernetes.protobuf", "qps": 2500, "burst": 5000},
            "modules": {
                "cloudHub": {"quic": {"address": "0.0.0.0", "port": 10001, "maxIncomingStreams": 10000}},
                "edgeController": {
                    "buffer": buffer,
                    "load": {
                        "updatePodStatusWorkers": 1, "updateNodeStatusWorkers": 1, "processEventWorkers": 4,
                        "queryConfigMapWorkers": 100, "querySecretWorkers": 100, "queryPersistentVolumeWorkers": 4,
                        "queryPersistentVolumeClaimWorkers": 4, "queryVolumeAttachmentWorkers": 4, "createNodeWorkers": 100,
                        "patchNodeWorkers": 110, "queryNodeWorkers": 500, "updateNodeWorkers": 4, "patchPodWorkers": 100,
                        "deletePodWorkers": 100, "createLeaseWorkers": 500, "queryLeaseWorkers": 100,
                        "UpdateRuleStatusWorkers": 4, "ServiceAccountTokenWorkers": 100, "CreatePodWorks": 4,
                        "certificateSigningRequestWorkers": 4,
                    },
                },
                "deviceController": {
                    "buffer": {
                        "updateDeviceTwins": 1024, "updateDeviceStatus": 1024, "deviceEvent": 1, "deviceModelEvent": 1,
                        "deviceStatusEvent": 0,
                    },
                    "load": {"updateDeviceStatusWorkers": 1},
                },
                "taskManager": {"buffer": {"taskStatus": 1024, "taskEvent": 1}, "load": {"taskWorkers": 1}},
            },
        })
    }

    fn check(&self) -> Result<(), Objection> {
        let hub = &self.modules.cloud_hub;
        let no = |key, reason: &str| Err(Objection { key, reason: reason.to_owned() });
        if hub.quic.enable {
            return no(
                "modules.cloudHub.quic.enable",
                "KubeEdge's QUIC predates RFC 9000 and cannot be spoken here: set it to false, edges then use the websocket",
            );
        }
        if hub.enable && hub.advertise_address.is_empty() && hub.dns_names.iter().all(String::is_empty) {
            return no(
                "modules.cloudHub.advertiseAddress",
                "no address and no name: edges could not verify this cloudcore; write the address that they reach it by",
            );
        }
        if hub.token_refresh_duration == 0 {
            return no(
                "modules.cloudHub.tokenRefreshDuration",
                "a token must live: write a number of hours above 0",
            );
        }
        if hub.edge_cert_signing_duration == 0 {
            return no(
                "modules.cloudHub.edgeCertSigningDuration",
                "a certificate must live: write a number of days above 0",
            );
        }
        if hub.max_message_bytes < 64 << 10 {
            return no(
                "modules.cloudHub.maxMessageBytes",
                "under 64 KiB, ordinary pods would not fit: write 65536 or more",
            );
        }
        if hub.unixsocket.enable && !hub.unixsocket.address.starts_with("unix://") {
            return no("modules.cloudHub.unixsocket.address", "must start with unix://");
        }
        if !matches!(self.modules.iptables_manager.mode.as_str(), "internal" | "external") {
            return no("modules.iptablesManager.mode", "must be internal or external");
        }
        let audit = &self.modules.control_plane.audit;
        let unset = |path: &PathBuf| path.as_os_str().is_empty();
        if unset(&audit.path) && !unset(&audit.policy) {
            return no(
                "modules.controlPlane.audit.path",
                "there is a policy but no log: write the file that the log goes to, or take the policy out",
            );
        }
        if !(unset(&audit.path) || audit.path.is_absolute()) {
            return no("modules.controlPlane.audit.path", "write the whole path, from / on");
        }
        let plane = &self.modules.control_plane;
        if !(unset(&plane.encryption_config) || plane.encryption_config.is_absolute()) {
            return no("modules.controlPlane.encryptionConfig", "write the whole path, from / on");
        }
        if !unset(&plane.encryption_config) && plane.encrypt_secrets {
            return no(
                "modules.controlPlane.encryptSecrets",
                "encryptionConfig says already what is encrypted: set this to false; what it has encrypted stays readable",
            );
        }
        if plane.node_monitor_grace_period < Span::seconds(20) {
            return no(
                "modules.controlPlane.nodeMonitorGracePeriod",
                "a node renews its lease every 10 s, and one that is lost must not count: write 20s or more",
            );
        }
        if audit.max_size_mb == 0 {
            return no("modules.controlPlane.audit.maxSizeMB", "a file must hold something: write 1 or more");
        }
        if self.embedded() && !self.modules.control_plane.enable {
            return no(
                "modules.controlPlane.enable",
                "it is off and kubeAPIConfig names no other Kubernetes API: enable it, or set kubeAPIConfig.kubeConfig",
            );
        }
        Ok(())
    }
}
