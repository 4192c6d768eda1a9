//! A client of an external broker: subscribes to what devices say, acknowledges it when it is on disk, publishes answers.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesOrdered;
use mqtts::Tunnel;
use proto::rules::Orders;
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, Publish, QoS, SubscribeFilter, Transport};
use tasks::Backoff;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::publisher::Outgoing;
use super::sink::Listeners;
use super::{settings, sink, topic};
use crate::rules;

/// Messages on their way to the broker; who comes when it is full is dropped, with a count.
pub(super) const QUEUE: usize = 1024;
/// Publishes of ours that the broker has not acknowledged.
const IN_FLIGHT: u16 = 100;
/// Requests to the client's own loop.
const REQUESTS: usize = 256;
/// Messages of the broker whose outcome is awaited. Brokers keep fewer in flight; QoS 0 beyond it is dropped.
const AWAITED: usize = 1024;
/// Longest packet either way.
const LONGEST: usize = 256 * 1024 + 1024;

/// The client, from start to shutdown. Reconnects with back-off, and subscribes anew.
pub(super) struct External {
    pub(super) address: settings::External,
    pub(super) listeners: Listeners,
    pub(super) outgoing: mpsc::Receiver<Outgoing>,
    /// Answers that found no room.
    pub(super) lost: Arc<AtomicU64>,
}

/// A message that the store has, or has not.
struct Settled {
    /// The connection that it came on: an acknowledgement on another would name another message.
    connection: u64,
    publish: Publish,
    stored: bool,
}

impl External {
    pub(super) async fn run(&mut self, token: CancellationToken) -> Result<(), Infallible> {
        let mut backoff = Backoff::default();
        let tunnel = self.tunnel(&token).await;
        if token.is_cancelled() {
            return Ok(());
        }
        let (client, mut events) = self.client(tunnel.as_ref());
        // Why there is no connection is said once for each reason.
        let mut said = String::new();
        let (arrived, mut arrivals) = mpsc::channel::<(u64, Publish)>(AWAITED);
        let (settle, mut settled) = mpsc::channel::<Settled>(AWAITED);
        let listeners = self.listeners.clone();
        // Handing over may wait for the store; the connection's own loop must not.
        let hand_over = async move {
            let mut waiting = FuturesOrdered::new();
            loop {
                tokio::select! {
                    Some(done) = waiting.next() => {
                        if settle.send(done).await.is_err() {
                            break;
                        }
                    }
                    arrived = arrivals.recv(), if waiting.len() < AWAITED => {
                        let Some((connection, publish)) = arrived else { break };
                        let verdict = listeners.submit(&publish.topic, publish.payload.clone()).await;
                        waiting.push_back(async move {
                            let stored = match verdict {
                                Some(verdict) => sink::may_acknowledge(verdict).await,
                                None => true,
                            };
                            Settled { connection, publish, stored }
                        });
                    }
                }
            }
        };
        tokio::pin!(hand_over);
        let mut connection = 0u64;
        let mut connected = false;
        let mut retry_at: Option<tokio::time::Instant> = None;
        // While the store takes nothing, each new connection only brings the same messages: the pauses grow.
        let mut unstored = false;
        let mut wishes = Wishes::new(self.listeners.rules.clone());
        loop {
            tokio::select! {
                () = token.cancelled() => {
                    let _ = client.try_disconnect();
                    return Ok(());
                }
                () = &mut hand_over => return Ok(()),
                Some(done) = settled.recv() => {
                    if done.connection != connection || !connected {
                        continue;
                    }
                    unstored = !done.stored;
                    if done.stored {
                        if done.publish.qos != QoS::AtMostOnce {
                            let _ = client.try_ack(&done.publish);
                        }
                    } else {
                        // Only a new connection makes the broker send it again.
                        warn!("a device's message was not stored: reconnecting so that the broker sends it again");
                        let _ = client.try_disconnect();
                    }
                }
                () = wishes.changed(), if connected => {
                    let (new, over) = wishes.take();
                    subscribe(&client, new);
                    for filter in over {
                        let _ = client.try_unsubscribe(filter);
                    }
                }
                Some(message) = self.outgoing.recv(), if connected => {
                    let Outgoing { topic, payload } = message;
                    if client.try_publish(topic, QoS::AtLeastOnce, false, payload).is_err() {
                        self.lost.fetch_add(1, Ordering::Relaxed);
                    }
                }
                event = poll(&mut events, retry_at) => match event {
                    Ok(Event::Incoming(Packet::ConnAck(_))) => {
                        connection += 1;
                        connected = true;
                        said.clear();
                        retry_at = None;
                        if !unstored {
                            backoff.reset();
                        }
                        info!(host = self.address.host, port = self.address.port, "connected to the external MQTT broker");
                        wishes.begin();
                        let filters = topic::SUBSCRIPTIONS.iter().map(|filter| (*filter).to_owned());
                        subscribe(&client, filters.chain(wishes.asked.iter().cloned()));
                    }
                    Ok(Event::Incoming(Packet::Publish(publish))) => {
                        // Full only if the store stands still: what has a QoS comes again with the next connection.
                        let _ = arrived.try_send((connection, publish));
                    }
                    Ok(_) => {}
                    Err(error) => {
                        let why = tunnel.as_ref().and_then(Tunnel::failure).unwrap_or_else(|| error.to_string());
                        if connected {
                            warn!("the external MQTT broker is gone: {why}");
                        } else if why != said {
                            warn!(
                                host = self.address.host,
                                port = self.address.port,
                                "the external MQTT broker cannot be used, trying on: {why}"
                            );
                        }
                        said = why;
                        connected = false;
                        retry_at = Some(tokio::time::Instant::now() + backoff.pause());
                    }
                }
            }
        }
    }

    /// The way to a broker with TLS. Without it there is nothing to do, so it is tried until it is there.
    async fn tunnel(&self, token: &CancellationToken) -> Option<Tunnel> {
        let settings::External { host, port, tls, .. } = &self.address;
        let settings::ExternalTls { trust, directory } = tls.as_ref()?;
        let mut backoff = Backoff::default();
        loop {
            let broker = mqtts::Broker { host: host.clone(), port: *port, trust: trust.clone() };
            match Tunnel::open(directory, broker) {
                Ok(tunnel) => return Some(tunnel),
                Err(error) => warn!("{error}"),
            }
            tokio::select! {
                () = token.cancelled() => return None,
                () = tokio::time::sleep(backoff.pause()) => {}
            }
        }
    }

    fn client(&self, tunnel: Option<&Tunnel>) -> (AsyncClient, EventLoop) {
        let settings::External { host, port, client, login, .. } = &self.address;
        let mut options = MqttOptions::new(client, host, *port);
        if let Some(tunnel) = tunnel {
            options = MqttOptions::new(client, tunnel.socket().to_string_lossy(), *port);
            options.set_transport(Transport::Unix);
        }
        options
            .set_keep_alive(Duration::from_secs(30))
            // The broker keeps what was not acknowledged while we are away.
            .set_clean_session(false)
            .set_manual_acks(true)
            .set_inflight(IN_FLIGHT)
            .set_max_packet_size(LONGEST, LONGEST);
        if let Some((user, password)) = login {
            options.set_credentials(user, password);
        }
        AsyncClient::new(options, REQUESTS)
    }
}

/// What rules want to hear of the broker.
struct Wishes {
    rules: Option<rules::Handle>,
    orders: Option<watch::Receiver<Arc<Orders>>>,
    /// What the broker was asked for on this connection.
    asked: HashSet<String>,
}

impl Wishes {
    fn new(rules: Option<rules::Handle>) -> Self {
        let orders = rules.as_ref().map(rules::Handle::orders);
        Self { rules, orders, asked: HashSet::new() }
    }

    /// A connection begins.
    fn begin(&mut self) {
        if let Some(orders) = &mut self.orders {
            orders.mark_unchanged();
        }
        self.asked = self.rules.as_ref().map(rules::Handle::filters).unwrap_or_default();
    }

    async fn changed(&mut self) {
        if let Some(orders) = &mut self.orders
            && orders.changed().await.is_ok()
        {
            return;
        }
        std::future::pending().await
    }

    /// What is new and what is over.
    fn take(&mut self) -> (Vec<String>, Vec<String>) {
        let before = std::mem::take(&mut self.asked);
        self.begin();
        let new = self.asked.difference(&before).cloned().collect();
        (new, before.difference(&self.asked).cloned().collect())
    }
}

fn subscribe(client: &AsyncClient, filters: impl IntoIterator<Item = String>) {
    let filters: Vec<_> =
        filters.into_iter().map(|filter| SubscribeFilter::new(filter, QoS::AtLeastOnce)).collect();
    if !filters.is_empty() {
        // Full only if the client's own loop stands still; the next connection asks again.
        let _ = client.try_subscribe_many(filters);
    }
}

/// The next event; after a failure only once the pause is over.
async fn poll(
    events: &mut EventLoop,
    retry_at: Option<tokio::time::Instant>,
) -> Result<Event, rumqttc::ConnectionError> {
    if let Some(at) = retry_at {
        tokio::time::sleep_until(at).await;
    }
    events.poll().await
}
