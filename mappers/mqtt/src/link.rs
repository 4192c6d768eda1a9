//! A client of the sensors' broker, for one device.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mapper::{Config, ConfigError, Device, Error};
use mqtts::{Broker, Trust, Tunnel};
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS, Transport};
use tasks::TaskSet;
use tokio::sync::Notify;
use tracing::warn;

use crate::path::{Source, matches};

/// Messages that wait to be sent.
const QUEUE: usize = 64;
/// The longest message of a sensor.
const LONGEST: usize = 1 << 20;

/// The broker: `protocol.configData`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Server {
    host: String,
    port: u16,
    client: String,
    login: Option<(String, String)>,
    qos: QoS,
    /// TLS; `None`: plain TCP.
    tls: Option<Trust>,
}

/// A connection, and what came over it that was not read yet.
pub(crate) struct Link {
    client: AsyncClient,
    qos: QoS,
    shared: Arc<Shared>,
    /// Ends the connection when dropped.
    _tasks: TaskSet,
    /// Likewise, of TLS.
    _tunnel: Option<Tunnel>,
}

#[derive(Default)]
struct Shared {
    inbox: Mutex<Inbox>,
    news: Notify,
}

/// Per property: its newest value, or why there is none.
#[derive(Default)]
struct Inbox {
    values: BTreeMap<String, Result<String, String>>,
    /// Why the connection is of no use any more.
    broken: Option<String>,
}

// === impl Server ===

impl Server {
    pub(crate) fn of(device: &Device) -> Result<Self, ConfigError> {
        let config = &device.config;
        let address = config.text("server")?.unwrap_or("tcp://127.0.0.1:1883");
        let wrong = |wanted: &str| ConfigError::Wrong {
            key: "server".into(),
            found: address.to_owned(),
            wanted: wanted.to_owned(),
        };
        let (scheme, place) = address.split_once("://").unwrap_or(("tcp", address));
        let Some(tls) = mqtts::is_tls(scheme) else {
            return Err(wrong("tcp://HOST:PORT or ssl://HOST:PORT"));
        };
        let (host, port) = place.rsplit_once(':').unwrap_or((place, if tls { "8883" } else { "1883" }));
        let port = port.parse().map_err(|_| wrong("tcp://HOST:PORT or ssl://HOST:PORT"))?;
        let tls = tls.then(|| trust(config)).transpose()?;
        let login = match (config.text("username")?, config.text("password")?) {
            (Some(user), password) => Some((user.to_owned(), password.unwrap_or_default().to_owned())),
            (None, Some(_)) => return Err(ConfigError::Missing("username (there is a password)".into())),
            (None, None) => None,
        };
        let qos = match Config::need("qos", Some(config.number::<u8>("qos", "0, 1 or 2")?.unwrap_or(1)))? {
            0 => QoS::AtMostOnce,
            1 => QoS::AtLeastOnce,
            2 => QoS::ExactlyOnce,
            other => {
                let wanted = "0, 1 or 2".to_owned();
                return Err(ConfigError::Wrong { key: "qos".into(), found: other.to_string(), wanted });
            }
        };
        let client = config
            .text("clientID")?
            .map_or_else(|| format!("mapper-{}-{}", device.namespace, device.name), str::to_owned);
        Ok(Self { host: host.trim_matches(['[', ']']).to_owned(), port, client, login, qos, tls })
    }
}

/// The files of TLS.
fn trust(config: &Config) -> Result<Trust, ConfigError> {
    let identity = match (config.text("certFile")?, config.text("keyFile")?) {
        (Some(certificate), Some(key)) => Some((certificate.into(), key.into())),
        (None, None) => None,
        (Some(_), None) => return Err(ConfigError::Missing("keyFile (there is a certFile)".into())),
        (None, Some(_)) => return Err(ConfigError::Missing("certFile (there is a keyFile)".into())),
    };
    Ok(Trust { authorities: config.text("caFile")?.map(Into::into), identity })
}

// === impl Link ===

impl Link {
    /// Connected and subscribed when it returns.
    pub(crate) async fn open(server: &Server, device: &Device) -> Result<Self, Error> {
        let sources =
            device.properties.iter().map(|property| Ok((property.name.clone(), Source::of(property)?)));
        let sources = sources.collect::<Result<Vec<_>, ConfigError>>()?;
        let tunnel = server.tls.as_ref().map(|trust| {
            let broker = Broker { host: server.host.clone(), port: server.port, trust: trust.clone() };
            Tunnel::open_temporary(broker)
        });
        let tunnel = tunnel.transpose().map_err(Error::link)?;
        let mut options = MqttOptions::new(&server.client, &server.host, server.port);
        if let Some(tunnel) = &tunnel {
            options = MqttOptions::new(&server.client, tunnel.socket().to_string_lossy(), server.port);
            options.set_transport(Transport::Unix);
        }
        options.set_keep_alive(Duration::from_secs(15)).set_max_packet_size(LONGEST, LONGEST);
        // What is published while the mapper is away waits for it.
        options.set_clean_session(false);
        if let Some((user, password)) = &server.login {
            options.set_credentials(user, password);
        }
        let (client, mut events) = AsyncClient::new(options, QUEUE);
        let mut filters: Vec<&str> = sources.iter().map(|(_, source)| source.topic.as_str()).collect();
        filters.sort_unstable();
        filters.dedup();
        for filter in &filters {
            client.subscribe(*filter, server.qos).await.map_err(Error::link)?;
        }
        let shared = Arc::new(Shared::default());
        let mut left = filters.len();
        while left > 0 {
            match events.poll().await.map_err(|error| {
                let failure = tunnel.as_ref().and_then(Tunnel::failure);
                Error::link(failure.unwrap_or_else(|| format!("{}:{}: {error}", server.host, server.port)))
            })? {
                Event::Incoming(Packet::SubAck(_)) => left -= 1,
                Event::Incoming(Packet::Publish(message)) => {
                    shared.take(&sources, &message.topic, &message.payload)
                }
                _ => {}
            }
        }
        let tasks = TaskSet::new("mqtt");
        let inbox = Arc::clone(&shared);
        tasks.spawn_once("client", move |stop| async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = listen(events, &inbox, &sources) => {}
            }
        });
        Ok(Self { client, qos: server.qos, shared, _tasks: tasks, _tunnel: tunnel })
    }

    /// What is new about the property.
    pub(crate) fn take(&mut self, property: &str) -> Result<Option<String>, Error> {
        let mut inbox = self.shared.inbox();
        if let Some(why) = &inbox.broken {
            return Err(Error::link(why));
        }
        inbox.values.remove(property).transpose().map_err(Error::property)
    }

    pub(crate) async fn publish(&mut self, topic: String, payload: String) -> Result<(), Error> {
        self.client.publish(topic, self.qos, false, payload).await.map_err(Error::link)
    }

    /// Ends when something came.
    pub(crate) async fn news(&mut self) {
        self.shared.news.notified().await;
    }
}

async fn listen(mut events: EventLoop, inbox: &Shared, sources: &[(String, Source)]) {
    loop {
        match events.poll().await {
            Ok(Event::Incoming(Packet::Publish(message))) => {
                inbox.take(sources, &message.topic, &message.payload)
            }
            Ok(_) => {}
            Err(error) => {
                inbox.inbox().broken = Some(error.to_string());
                inbox.news.notify_one();
                return;
            }
        }
    }
}

// === impl Shared ===

impl Shared {
    fn inbox(&self) -> std::sync::MutexGuard<'_, Inbox> {
        // Nothing that holds it can panic half-way.
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, sources: &[(String, Source)], topic: &str, payload: &[u8]) {
        let mut known = false;
        for (property, source) in sources.iter().filter(|(_, source)| matches(&source.topic, topic)) {
            self.inbox().values.insert(property.clone(), source.value(payload));
            known = true;
        }
        if known {
            self.news.notify_one();
        } else {
            warn!(topic, "a message that nobody subscribed to");
        }
    }
}
