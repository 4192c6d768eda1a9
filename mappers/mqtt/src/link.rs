//! A client of the sensors' broker, for one device.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mapper::{Config, ConfigError, Device, Error, Property, Receipt};
use mqtts::{Broker, Trust, Tunnel};
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, Publish, QoS, Transport};
use tasks::TaskSet;
use tokio::sync::Notify;
use tracing::warn;

use crate::ledger::Ledger;
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
    /// Of what was taken last.
    receipt: Option<Receipt>,
    /// Ends the connection when dropped.
    _tasks: TaskSet,
    /// Likewise, of TLS.
    _tunnel: Option<Tunnel>,
}

#[derive(Default)]
struct Shared {
    inbox: Mutex<Inbox>,
    news: Notify,
    ledger: Arc<Ledger>,
}

#[derive(Default)]
struct Inbox {
    heard: BTreeMap<String, Heard>,
    /// Why the connection is of no use any more.
    broken: Option<String>,
}

/// Of a property, since it was taken last.
#[derive(Default)]
struct Heard {
    /// Its newest value.
    value: Option<String>,
    receipt: Option<Receipt>,
    /// Why a message after that has none.
    trouble: Option<String>,
}

/// A property that messages are of.
struct Topic {
    property: String,
    source: Source,
    /// Whether anybody wants to know it.
    is_read: bool,
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

// === impl Topic ===

impl Topic {
    fn of(property: &Property) -> Result<Self, ConfigError> {
        let source = Source::of(property)?;
        Ok(Self { property: property.name.clone(), source, is_read: property.is_read() })
    }
}

// === impl Link ===

impl Link {
    /// Connected and subscribed when it returns.
    pub(crate) async fn open(server: &Server, device: &Device) -> Result<Self, Error> {
        let topics = device.properties.iter().map(Topic::of).collect::<Result<Vec<_>, ConfigError>>()?;
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
        // What edgecore does not have yet waits there too.
        options.set_manual_acks(true);
        if let Some((user, password)) = &server.login {
            options.set_credentials(user, password);
        }
        let (client, mut events) = AsyncClient::new(options, QUEUE);
        expect_releases(&mut events);
        let mut filters: Vec<&str> = topics.iter().map(|topic| topic.source.topic.as_str()).collect();
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
                Event::Incoming(Packet::Publish(message)) => shared.take(&topics, &message),
                _ => {}
            }
        }
        let tasks = TaskSet::new("mqtt");
        let (ledger, acknowledging) = (Arc::clone(&shared.ledger), client.clone());
        tasks.spawn_once("acknowledgements", move |stop| async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = ledger.acknowledge(&acknowledging) => {}
            }
        });
        let inbox = Arc::clone(&shared);
        tasks.spawn_once("client", move |stop| async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = listen(events, &inbox, &topics) => {}
            }
        });
        Ok(Self { client, qos: server.qos, shared, receipt: None, _tasks: tasks, _tunnel: tunnel })
    }

    /// What is new about the property.
    pub(crate) fn take(&mut self, property: &str) -> Result<Option<String>, Error> {
        self.receipt = None;
        let mut inbox = self.shared.inbox();
        let Inbox { heard, broken } = &mut *inbox;
        let heard = heard.get_mut(property);
        match (heard, broken) {
            (Some(Heard { value: value @ Some(_), receipt, .. }), broken) => {
                self.receipt = receipt.take();
                if broken.is_some() {
                    // There may be no other reading soon that says so.
                    self.shared.news.notify_one();
                }
                Ok(value.take())
            }
            (_, Some(why)) => Err(Error::link(why)),
            (heard, None) => {
                heard.and_then(|heard| heard.trouble.take()).map_or(Ok(None), |why| Err(Error::property(why)))
            }
        }
    }

    /// Of what was taken last.
    pub(crate) fn receipt(&mut self) -> Option<Receipt> {
        self.receipt.take()
    }

    pub(crate) async fn publish(&mut self, topic: String, payload: String) -> Result<(), Error> {
        self.client.publish(topic, self.qos, false, payload).await.map_err(Error::link)
    }

    /// Ends when something came.
    pub(crate) async fn news(&mut self) {
        self.shared.news.notified().await;
    }
}

/// A broker that lost a connection between PUBREC and PUBREL begins the next one with PUBREL, and the client breaks a connection for
/// one of a message that it does not know: let it know of all that there can be.
fn expect_releases(events: &mut EventLoop) {
    let mut message = Publish::new("", QoS::ExactlyOnce, Vec::new());
    for id in 1..=u16::MAX {
        message.pkid = id;
        // It cannot fail, and says that a message came, which is not so.
        let _ = events.state.handle_incoming_packet(Packet::Publish(message.clone()));
        events.state.events.clear();
    }
}

async fn listen(mut events: EventLoop, inbox: &Shared, topics: &[Topic]) {
    let heard = |event| {
        if let Event::Incoming(Packet::Publish(message)) = event {
            inbox.take(topics, &message);
        }
    };
    loop {
        match events.poll().await {
            Ok(event) => heard(event),
            Err(error) => {
                // What came together with the end.
                events.state.events.drain(..).for_each(heard);
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

    fn take(&self, topics: &[Topic], message: &Publish) {
        let of_message = || topics.iter().filter(|topic| matches(&topic.source.topic, &message.topic));
        let values: Vec<_> = of_message()
            .filter(|topic| topic.is_read)
            .map(|topic| (&topic.property, topic.source.value(&message.payload)))
            .collect();
        // What is of no use is acknowledged: it would come again for ever.
        let receipts = self.ledger.enter(message, values.iter().filter(|(_, value)| value.is_ok()).count());
        if of_message().next().is_none() {
            warn!(topic = message.topic, "a message that nobody subscribed to");
        }
        if values.is_empty() {
            return;
        }
        let mut inbox = self.inbox();
        for (property, value) in values {
            let heard = inbox.heard.entry(property.clone()).or_default();
            match value {
                Ok(value) => {
                    let receipt = Receipt::newest(heard.receipt.take(), receipts.one());
                    *heard = Heard { value: Some(value), receipt, trouble: None };
                }
                // A value that came before it is one all the same.
                Err(why) => heard.trouble = Some(why),
            }
        }
        self.news.notify_one();
    }
}

#[cfg(test)]
mod tests;
