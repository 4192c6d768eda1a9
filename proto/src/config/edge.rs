//! `edgecore.yaml`: `edgecore.config.kubeedge.io/v1alpha2`, kind EdgeCore.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::kubelet::{self, KubeletConfig};
use super::{ConfigFile, HostPort, Objection, Ping, RuntimeType, Seconds, Span, Toggle};
use crate::pki::NodeName;

/// The whole file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EdgeCore {
    /// Not checked.
    pub api_version: String,
    /// Not checked.
    pub kind: String,
    /// Where the stores live.
    pub database: Database,
    /// KubeEdge's feature gates.
    pub feature_gates: BTreeMap<String, bool>,
    /// The modules.
    pub modules: EdgeModules,
}

/// Where the stores live.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Database {
    /// The object store's file. The other stores are files beside it.
    pub data_source: PathBuf,
}

/// The modules of edgecore.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EdgeModules {
    /// Pods.
    pub edged: Edged,
    /// The link to the cloud.
    pub edge_hub: EdgeHub,
    /// MQTT.
    pub event_bus: EventBus,
    /// The object store.
    pub meta_manager: MetaManager,
    /// HTTP between local services and the cloud.
    pub service_bus: ServiceBus,
    /// Devices.
    pub device_twin: DeviceTwin,
    /// KubeEdge's self test; accepted and ignored.
    #[serde(rename = "dbTest")]
    pub db_test: DBTest,
    /// Logs and exec.
    pub edge_stream: EdgeStream,
    /// Node jobs.
    pub task_manager: Toggle,
}

/// Pods.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Edged {
    /// Whether it runs.
    pub enable: bool,
    /// Whether events are sent to the cloud. KubeEdge's default is not to: there `kubectl describe` stays silent.
    pub report_event: bool,
    /// The interface whose address is the node's.
    pub custom_interface_name: String,
    /// The node's name.
    pub hostname_override: String,
    /// The node's address; empty to find it.
    #[serde(rename = "nodeIP")]
    pub node_ip: String,
    /// Labels of the node.
    pub node_labels: BTreeMap<String, String>,
    /// `docker` or `remote` (CRI); empty to tell it from the socket. KubeEdge had it until v1.13.
    pub container_runtime: RuntimeType,
    /// The image of pod sandboxes; the engine's business where it is not Docker.
    pub pod_sandbox_image: String,
    /// Where pods' volumes live.
    pub root_directory: PathBuf,
    /// Dead containers kept per pod container.
    pub max_per_pod_container_count: i32,
    /// Dead containers kept in all; negative for no limit.
    pub max_container_count: i32,
    /// Age at which a dead container may be removed.
    #[serde(rename = "minimumGCAge")]
    pub minimum_gc_age: Span,
    /// Whether pods may be scheduled here from the start.
    pub register_schedulable: bool,
    /// The kubelet's own settings.
    pub tailored_kubelet_config: KubeletConfig,
}

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

/// Which MQTT brokers are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MqttMode {
    /// 0: the embedded one.
    Internal,
    /// 1: both.
    Both,
    /// 2: an external one.
    External,
}

/// MQTT.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventBus {
    /// Whether it runs.
    pub enable: bool,
    /// Which brokers are used.
    pub mqtt_mode: MqttMode,
    /// URL of the external broker.
    pub mqtt_server_external: String,
    /// URLs at which the embedded broker listens, with commas between them: `tcp://`, or `ssl://` with the certificate of
    /// `eventBusTLS`.
    pub mqtt_server_internal: String,
    /// QoS of what is published on the embedded broker.
    #[serde(rename = "mqttQOS")]
    pub mqtt_qos: u8,
    /// Whether that is retained.
    pub mqtt_retain: bool,
    /// Most messages that the embedded broker keeps for a client.
    pub mqtt_session_queue_size: u32,
    /// User at the external broker.
    pub mqtt_username: String,
    /// Password at the external broker.
    pub mqtt_password: String,
    /// Users of the embedded broker, as mosquitto_passwd(1) writes them; empty: everybody may come in. Not in KubeEdge.
    pub mqtt_password_file: PathBuf,
    /// Client id of the subscribing client; empty to make one.
    #[serde(rename = "mqttSubClientID")]
    pub mqtt_sub_client_id: String,
    /// Client id of the publishing client; empty to make one.
    #[serde(rename = "mqttPubClientID")]
    pub mqtt_pub_client_id: String,
    /// TLS to the external broker.
    #[serde(rename = "eventBusTLS")]
    pub tls: EventBusTls,
}

/// TLS of the embedded broker's `ssl://` addresses, and to the external broker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventBusTls {
    /// External broker: whether it is used. Embedded broker: whether clients must show a certificate of the CA.
    pub enable: bool,
    /// The CA, of the external broker or of the embedded broker's clients.
    #[serde(rename = "tlsMqttCAFile")]
    pub ca_file: PathBuf,
    /// Our certificate.
    #[serde(rename = "tlsMqttCertFile")]
    pub cert_file: PathBuf,
    /// Our key.
    #[serde(rename = "tlsMqttPrivateKeyFile")]
    pub private_key_file: PathBuf,
}

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

impl Serialize for MqttMode {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(*self as u8)
    }
}

impl<'de> Deserialize<'de> for MqttMode {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u64::deserialize(deserializer)? {
            0 => Ok(Self::Internal),
            1 => Ok(Self::Both),
            2 => Ok(Self::External),
            other => Err(serde::de::Error::custom(format_args!(
                "{other} is no mode: write 0 (embedded broker), 1 (both) or 2 (external broker)"
            ))),
        }
    }
}

fn etc(name: &str) -> PathBuf {
    Path::new("/etc/kubeedge").join(name)
}

impl Default for EdgeCore {
    fn default() -> Self {
        Self {
            api_version: "edgecore.config.kubeedge.io/v1alpha2".into(),
            kind: "EdgeCore".into(),
            database: Database { data_source: "/var/lib/kubeedge/edgecore.db".into() },
            feature_gates: BTreeMap::new(),
            modules: EdgeModules::default(),
        }
    }
}

impl Default for EdgeModules {
    fn default() -> Self {
        Self {
            edged: Edged::default(),
            edge_hub: EdgeHub::default(),
            event_bus: EventBus::default(),
            meta_manager: MetaManager {
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
            },
            service_bus: ServiceBus {
                enable: false,
                server: IpAddr::from([127, 0, 0, 1]),
                port: 9060,
                timeout: Seconds(60),
            },
            device_twin: DeviceTwin { enable: true, dmi_sock_path: "/etc/kubeedge/".into() },
            db_test: DBTest { enable: false },
            edge_stream: EdgeStream {
                enable: false,
                server: HostPort::new("127.0.0.1", 10004),
                tls_tunnel_ca_file: etc("ca/rootCA.crt"),
                tls_tunnel_cert_file: etc("certs/server.crt"),
                tls_tunnel_private_key_file: etc("certs/server.key"),
                handshake_timeout: Seconds(30),
            },
            task_manager: Toggle { enable: true },
        }
    }
}

impl Default for Edged {
    fn default() -> Self {
        Self {
            enable: true,
            report_event: true,
            custom_interface_name: String::new(),
            hostname_override: super::host_name(),
            node_ip: String::new(),
            node_labels: BTreeMap::new(),
            container_runtime: RuntimeType::default(),
            pod_sandbox_image: "kubeedge/pause:3.6".into(),
            root_directory: "/var/lib/kubelet".into(),
            max_per_pod_container_count: 1,
            max_container_count: -1,
            minimum_gc_age: Span::seconds(0),
            register_schedulable: true,
            tailored_kubelet_config: KubeletConfig::default(),
        }
    }
}

impl Default for EdgeHub {
    fn default() -> Self {
        let host = super::host_address().to_string();
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

impl Default for EventBus {
    fn default() -> Self {
        Self {
            enable: true,
            // KubeEdge's default is an external broker; here nothing else need be installed.
            mqtt_mode: MqttMode::Internal,
            mqtt_server_external: "tcp://127.0.0.1:1883".into(),
            mqtt_server_internal: "tcp://127.0.0.1:1883".into(),
            mqtt_qos: 0,
            mqtt_retain: false,
            mqtt_session_queue_size: 100,
            mqtt_username: String::new(),
            mqtt_password: String::new(),
            mqtt_password_file: PathBuf::new(),
            mqtt_sub_client_id: String::new(),
            mqtt_pub_client_id: String::new(),
            tls: EventBusTls {
                enable: false,
                ca_file: etc("ca/rootCA.crt"),
                cert_file: etc("certs/server.crt"),
                private_key_file: etc("certs/server.key"),
            },
        }
    }
}

impl EdgeCore {
    /// The node's name.
    pub fn node_name(&self) -> &str {
        &self.modules.edged.hostname_override
    }

    /// The device store: beside the object store, so that no two modules share a file.
    pub fn device_database(&self) -> PathBuf {
        self.database.data_source.with_file_name("devicetwin.db")
    }

    /// Directory of the mappers' socket.
    pub fn dmi_directory(&self) -> PathBuf {
        let path = &self.modules.device_twin.dmi_sock_path;
        if path.extension().is_some_and(|e| e == "sock") {
            path.parent().unwrap_or(Path::new("/")).to_owned()
        } else {
            path.clone()
        }
    }
}

impl ConfigFile for EdgeCore {
    const PATH: &'static str = "/etc/kubeedge/config/edgecore.yaml";

    const MINIMAL: &'static [&'static str] = &[
        "apiVersion",
        "kind",
        "database",
        "modules.edged.enable",
        "modules.edged.hostnameOverride",
        "modules.edged.nodeIP",
        "modules.edged.rootDirectory",
        "modules.edged.podSandboxImage",
        "modules.edged.tailoredKubeletConfig.containerRuntimeEndpoint",
        "modules.edged.tailoredKubeletConfig.imageServiceEndpoint",
        "modules.edged.tailoredKubeletConfig.cgroupDriver",
        "modules.edged.tailoredKubeletConfig.staticPodPath",
        "modules.edgeHub.enable",
        "modules.edgeHub.heartbeat",
        "modules.edgeHub.httpServer",
        "modules.edgeHub.tlsCaFile",
        "modules.edgeHub.tlsCertFile",
        "modules.edgeHub.tlsPrivateKeyFile",
        "modules.edgeHub.token",
        "modules.edgeHub.websocket",
        "modules.eventBus.enable",
        "modules.eventBus.mqttMode",
        "modules.eventBus.mqttServerExternal",
        "modules.eventBus.mqttServerInternal",
        "modules.eventBus.mqttQOS",
        "modules.eventBus.mqttRetain",
        "modules.eventBus.mqttSessionQueueSize",
        "modules.deviceTwin",
    ];

    fn without_effect() -> Value {
        json!({
            "edgecoreVersion": "",
            "database": {"driverName": "sqlite3", "aliasName": "default"},
            "modules": {
                "edged": {
                    "registerNodeNamespace": "default",
                    "runtimeCgroups": "",
                    "seccompDefault": false,
                    "experimentalMounterPath": "",
                    "experimentalNodeAllocatableIgnoreEvictionThreshold": false,
                    "tailoredKubeletConfig": kubelet::without_effect(),
                },
                "metaManager": {
                    "contextSendGroup": "hub",
                    "contextSendModule": "websocket",
                    "metaServer": {"apiAudiences": null, "serviceAccountKeyFiles": null},
                },
                "edgeStream": {"readDeadline": 15, "writeDeadline": 15},
            },
        })
    }

    fn check(&self) -> Result<(), Objection> {
        let no = |key, reason: String| Err(Objection { key, reason });
        let modules = &self.modules;
        if let Err(invalid) = self.node_name().parse::<NodeName>() {
            return no("modules.edged.hostnameOverride", invalid.to_string());
        }
        if !modules.edged.node_ip.is_empty() && modules.edged.node_ip.parse::<IpAddr>().is_err() {
            return no(
                "modules.edged.nodeIP",
                format!("{:?} is no address: write one, or nothing to find it", modules.edged.node_ip),
            );
        }
        if !matches!(modules.edged.tailored_kubelet_config.cgroup_driver.as_str(), "cgroupfs" | "systemd") {
            return no(
                "modules.edged.tailoredKubeletConfig.cgroupDriver",
                "must be cgroupfs or systemd, as the container runtime has it".into(),
            );
        }
        if modules.edge_hub.quic.enable {
            return no(
                "modules.edgeHub.quic.enable",
                "KubeEdge's QUIC predates RFC 9000 and cannot be spoken here: use the websocket".into(),
            );
        }
        if modules.edge_hub.enable && !modules.edge_hub.websocket.enable {
            return no(
                "modules.edgeHub.websocket.enable",
                "there is no other way to the cloud: set it to true".into(),
            );
        }
        if modules.edge_hub.heartbeat.0 == 0 {
            return no(
                "modules.edgeHub.heartbeat",
                "must be above 0; the cloud closes a link that is silent for 30 s".into(),
            );
        }
        if modules.edge_hub.max_message_bytes < 64 << 10 {
            return no(
                "modules.edgeHub.maxMessageBytes",
                "under 64 KiB, ordinary pods would not fit: write 65536 or more".into(),
            );
        }
        if !modules.edge_hub.http_server.starts_with("https://") {
            return no("modules.edgeHub.httpServer", "must start with https://".into());
        }
        let bus = &modules.event_bus;
        if bus.mqtt_qos > 2 {
            return no("modules.eventBus.mqttQOS", "must be 0, 1 or 2".into());
        }
        if bus.enable
            && bus.mqtt_mode == MqttMode::Both
            && bus.mqtt_server_internal == bus.mqtt_server_external
        {
            return no("modules.eventBus.mqttServerInternal", "with mqttMode 1 the embedded broker needs an address of its own: tcp://127.0.0.1:1884 is KubeEdge's".into());
        }
        Ok(())
    }
}
