//! `modules.eventBus` of edgecore.yaml, checked.

use std::net::SocketAddr;

use proto::config::{EventBus, MqttMode};
use rumqttc::QoS;

/// What the operator says about MQTT.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The name of this node.
    pub node: String,
    /// The embedded broker, if it runs.
    pub internal: Option<Internal>,
    /// The external broker, if one is used.
    pub external: Option<External>,
}

/// The broker in this process.
#[derive(Clone, Copy, Debug)]
pub struct Internal {
    /// Where it listens.
    pub address: SocketAddr,
    /// Quality of what we publish there.
    pub qos: QoS,
    /// Whether what we publish there is kept for later subscribers.
    pub retain: bool,
    /// Messages kept for a client that is away.
    pub offline_messages: usize,
}

/// A broker that somebody else runs. What we publish there has QoS 1 and is never retained, as KubeEdge does it.
#[derive(Clone, Debug)]
pub struct External {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Who we are to it; the broker keeps what it has for this name while edgecore is away.
    pub client: String,
    /// Name and password, if it wants them.
    pub login: Option<(String, String)>,
}

/// A setting that makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// An address is not of the form that is understood.
    #[error("modules.eventBus.{key}: {text:?} is not like tcp://127.0.0.1:1883; {what}")]
    Address {
        /// The key.
        key: &'static str,
        /// What it says.
        text: String,
        /// What is wrong.
        what: &'static str,
    },
    /// No quality of service.
    #[error("modules.eventBus.mqttQOS: {0} is none of 0, 1, 2")]
    Qos(u8),
    /// TLS is asked for.
    #[error(
        "modules.eventBus.eventBusTLS.enable: TLS to an external broker is not supported; use a broker on this \
         machine (tcp://127.0.0.1:1883) or mqttMode 0, the embedded one"
    )]
    Tls,
}

impl Settings {
    /// Reads the settings of module `eventBus` for `node`.
    ///
    /// # Errors
    /// Names the key, what it says and what to write instead.
    pub fn new(config: &EventBus, node: &str) -> Result<Self, SettingsError> {
        let (embedded, external) = match config.mqtt_mode {
            MqttMode::Internal => (true, false),
            MqttMode::Both => (true, true),
            MqttMode::External => (false, true),
        };
        Ok(Self {
            node: node.to_owned(),
            internal: embedded.then(|| inside(config)).transpose()?,
            external: external.then(|| outside(config, node)).transpose()?,
        })
    }
}

fn inside(config: &EventBus) -> Result<Internal, SettingsError> {
    let qos = match config.mqtt_qos {
        0 => QoS::AtMostOnce,
        1 => QoS::AtLeastOnce,
        2 => QoS::ExactlyOnce,
        other => return Err(SettingsError::Qos(other)),
    };
    Ok(Internal {
        address: internal(&config.mqtt_server_internal)?,
        qos,
        retain: config.mqtt_retain,
        offline_messages: usize::try_from(config.mqtt_session_queue_size).unwrap_or(usize::MAX),
    })
}

fn internal(text: &str) -> Result<SocketAddr, SettingsError> {
    let wrong = |what| SettingsError::Address { key: "mqttServerInternal", text: text.to_owned(), what };
    let rest = text.strip_prefix("tcp://").ok_or_else(|| wrong("write tcp:// in front"))?;
    rest.parse().map_err(|_| wrong("the broker listens on an IP address and a port"))
}

fn outside(config: &EventBus, node: &str) -> Result<External, SettingsError> {
    if config.tls.enable {
        return Err(SettingsError::Tls);
    }
    let text = &config.mqtt_server_external;
    let wrong = |what| SettingsError::Address { key: "mqttServerExternal", text: text.clone(), what };
    let rest = text.strip_prefix("tcp://").ok_or_else(|| wrong("only tcp:// is supported"))?;
    let (host, port) = rest.rsplit_once(':').ok_or_else(|| wrong("the port is missing"))?;
    let port = port.parse().map_err(|_| wrong("the port is no number up to 65535"))?;
    let client = match config.mqtt_sub_client_id.as_str() {
        "" => format!("skerry-{node}"),
        given => given.to_owned(),
    };
    Ok(External {
        host: host.trim_matches(['[', ']']).to_owned(),
        port,
        client,
        login: (!config.mqtt_username.is_empty())
            .then(|| (config.mqtt_username.clone(), config.mqtt_password.clone())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_internal_address_is_an_ip_address_and_a_port() {
        assert_eq!(internal("tcp://127.0.0.1:1883").unwrap().port(), 1883);
        let error = internal("localhost").unwrap_err().to_string();
        assert!(error.contains("mqttServerInternal") && error.contains("tcp://"), "{error}");
    }

    #[test]
    fn an_external_broker_may_have_a_name_or_an_address_of_either_family() {
        let config =
            |server: &str| EventBus { mqtt_server_external: server.to_owned(), ..EventBus::default() };
        assert_eq!(outside(&config("tcp://broker.local:1883"), "edge1").unwrap().host, "broker.local");
        assert_eq!(outside(&config("tcp://[::1]:1884"), "edge1").unwrap().host, "::1");
        assert!(
            outside(&config("ssl://broker:8883"), "edge1").unwrap_err().to_string().contains("only tcp://")
        );
    }
}
