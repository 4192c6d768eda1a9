//! MQTT.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::etc;

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
    /// Which topics clients of the embedded broker may read and write, as mosquitto's `acl_file`; empty: all. Not in
    /// KubeEdge.
    pub mqtt_acl_file: PathBuf,
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
            mqtt_acl_file: PathBuf::new(),
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
