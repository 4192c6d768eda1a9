//! `modules.eventBus` of edgecore.yaml, checked.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use mqtt_proto::QoS;
use mqtts::Trust;
use proto::config::{EventBus, MqttMode};
use tracing::warn;

use super::broker::{Door, Plan, Tls};
use crate::metrics::Metrics;

/// What the operator says about MQTT.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The name of this node.
    pub node: String,
    /// The embedded broker, if it runs.
    pub internal: Option<Internal>,
    /// The external broker, if one is used.
    pub external: Option<External>,
    /// Where hostile clients and lost messages are counted.
    pub metrics: Metrics,
}

/// The broker in this process.
#[derive(Clone, Debug)]
pub struct Internal {
    /// Doors, users and store.
    pub plan: Plan,
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
    /// TLS; `None`: plain TCP.
    pub tls: Option<ExternalTls>,
}

/// TLS to a broker that somebody else runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalTls {
    /// Whom to trust, and who we are.
    pub trust: Trust,
    /// The directory of the way there.
    pub directory: PathBuf,
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
}

impl Settings {
    /// Reads the settings of module `eventBus` for `node`. The broker's store is beside `database`.
    ///
    /// # Errors
    /// Names the key, what it says and what to write instead.
    pub fn new(config: &EventBus, node: &str, database: &Path) -> Result<Self, SettingsError> {
        let (embedded, external) = match config.mqtt_mode {
            MqttMode::Internal => (true, false),
            MqttMode::Both => (true, true),
            MqttMode::External => (false, true),
        };
        Ok(Self {
            node: node.to_owned(),
            internal: embedded.then(|| inside(config, database)).transpose()?,
            external: external.then(|| outside(config, node, database)).transpose()?,
            metrics: Metrics::default(),
        })
    }
}

fn inside(config: &EventBus, database: &Path) -> Result<Internal, SettingsError> {
    let qos = QoS::from_u8(config.mqtt_qos).map_err(|_| SettingsError::Qos(config.mqtt_qos))?;
    let named = |file: &PathBuf| (!file.as_os_str().is_empty()).then(|| file.clone());
    let (users, acl) = (named(&config.mqtt_password_file), named(&config.mqtt_acl_file));
    let doors: Vec<Door> = internal(config)?;
    for door in &doors {
        let known = users.is_some() || door.tls.as_ref().is_some_and(|tls| tls.clients.is_some());
        if !known && !door.address.ip().is_loopback() {
            warn!(
                address = %door.address,
                "everybody on the network may speak for every device: set modules.eventBus.mqttPasswordFile, or ssl:// with \
                 eventBusTLS.enable for certificates of clients, or listen on 127.0.0.1"
            );
        }
    }
    Ok(Internal {
        plan: Plan { doors, users, acl, store: database.with_file_name("mqtt.db") },
        qos,
        retain: config.mqtt_retain,
        offline_messages: usize::try_from(config.mqtt_session_queue_size).unwrap_or(usize::MAX),
    })
}

/// One address, or several with commas between them.
fn internal(config: &EventBus) -> Result<Vec<Door>, SettingsError> {
    let text = &config.mqtt_server_internal;
    let wrong = |what| SettingsError::Address { key: "mqttServerInternal", text: text.clone(), what };
    let door = |one: &str| {
        let (scheme, rest) =
            one.trim().split_once("://").ok_or_else(|| wrong("write tcp:// or ssl:// in front"))?;
        let tls = match scheme {
            "tcp" | "mqtt" => None,
            "ssl" | "tls" | "tcps" | "mqtts" => Some(Tls {
                certificate: config.tls.cert_file.clone(),
                key: config.tls.private_key_file.clone(),
                clients: config.tls.enable.then(|| config.tls.ca_file.clone()),
            }),
            _ => return Err(wrong("the broker listens on tcp:// and ssl:// only")),
        };
        let address: SocketAddr =
            rest.parse().map_err(|_| wrong("the broker listens on an IP address and a port"))?;
        Ok(Door { address, tls })
    };
    text.split(',').map(door).collect()
}

fn outside(config: &EventBus, node: &str, database: &Path) -> Result<External, SettingsError> {
    let text = &config.mqtt_server_external;
    let wrong = |what| SettingsError::Address { key: "mqttServerExternal", text: text.clone(), what };
    let (scheme, rest) = text.split_once("://").ok_or_else(|| wrong("write tcp:// or ssl:// in front"))?;
    let tls = match mqtts::is_tls(scheme) {
        Some(true) => {
            Some(ExternalTls { trust: trust(config), directory: database.with_file_name("mqtt-tls") })
        }
        Some(false) if config.tls.enable && config.mqtt_mode == MqttMode::External => {
            return Err(wrong("eventBusTLS.enable needs ssl://"));
        }
        Some(false) => None,
        None => return Err(wrong("a broker is spoken to over tcp:// and ssl:// only")),
    };
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
        tls,
    })
}

/// With `enable` the files, without it the authorities of the system and no certificate of ours.
fn trust(config: &EventBus) -> Trust {
    if !config.tls.enable {
        return Trust::default();
    }
    Trust {
        authorities: Some(config.tls.ca_file.clone()),
        identity: Some((config.tls.cert_file.clone(), config.tls.private_key_file.clone())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn internal_addresses_are_ip_addresses_and_ports_plain_or_with_tls() {
        let doors =
            |text: &str| internal(&EventBus { mqtt_server_internal: text.to_owned(), ..EventBus::default() });
        let both = doors("tcp://127.0.0.1:1883, ssl://[::]:8883").unwrap();
        assert_eq!(
            both.iter().map(|door| (door.address.port(), door.tls.is_some())).collect::<Vec<_>>(),
            [(1883, false), (8883, true)]
        );
        for wrong in ["localhost", "ws://127.0.0.1:80", "tcp://localhost:1883", "tcp://127.0.0.1", ""] {
            let error = doors(wrong).unwrap_err().to_string();
            assert!(error.contains("mqttServerInternal") && error.contains("tcp://"), "{error}");
        }
    }

    #[test]
    fn an_external_broker_may_have_a_name_or_an_address_of_either_family() {
        let config =
            |server: &str| EventBus { mqtt_server_external: server.to_owned(), ..EventBus::default() };
        let outside = |config: &EventBus| outside(config, "edge1", Path::new("/var/lib/x/edge.db"));
        assert_eq!(outside(&config("tcp://broker.local:1883")).unwrap().host, "broker.local");
        assert_eq!(outside(&config("tcp://[::1]:1884")).unwrap().host, "::1");
        let error = outside(&config("ws://broker:80")).unwrap_err().to_string();
        assert!(error.contains("tcp:// and ssl://"), "{error}");
    }

    #[test]
    fn an_external_broker_over_tls_is_trusted_by_the_system_or_by_files_that_say_who_we_are_too() {
        let outside = |server: &str, enable| {
            let mut config = EventBus {
                mqtt_server_external: server.to_owned(),
                mqtt_mode: MqttMode::External,
                ..EventBus::default()
            };
            config.tls.enable = enable;
            outside(&config, "edge1", Path::new("/var/lib/x/edge.db"))
        };
        for scheme in ["ssl", "tls", "tcps", "mqtts"] {
            let external = outside(&format!("{scheme}://broker:8883"), false).unwrap();
            assert_eq!(external.tls.unwrap().trust, Trust::default());
        }
        let tls = outside("ssl://broker:8883", true).unwrap().tls.unwrap();
        assert_eq!(tls.directory, Path::new("/var/lib/x/mqtt-tls"));
        assert!(tls.trust.authorities.is_some() && tls.trust.identity.is_some());
        let error = outside("tcp://broker:1883", true).unwrap_err().to_string();
        assert!(error.contains("eventBusTLS.enable needs ssl://"), "{error}");
    }
}
