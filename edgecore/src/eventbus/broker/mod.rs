//! The embedded MQTT 3.1.1 broker: clients of this machine talk to the twins and to each other through it.
//!
//! Owns: the listening socket, sessions, retained messages (all in memory). May call: a [`Sink`], which takes the messages
//! that are for this process and says when they are stored; a PUBACK is only sent then. Called by: eventbus.
//!
//! Why not rumqttd, which was planned: version 0.20 disconnects whoever subscribes to a filter that starts with `$`
//! (all of KubeEdge's do), matches no topic that starts with `$` against any wildcard, dies for good when someone
//! publishes on a topic whose first letter is not ASCII, acknowledges before anyone has stored, refuses clients without
//! a keep-alive, and can neither stop nor give its port back. The packets are read and written by its sister rumqttc's codec.

mod connection;
mod filter;
mod frame;
mod router;
mod session;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tasks::{Restart, TaskSet};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tracing::{debug, info, warn};

pub use filter::Filter;
pub use router::Router;

use crate::devicetwin::Verdict;
use connection::Connection;

/// What bounds the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Clients connected at a time.
    pub connections: usize,
    /// Longest packet that is read.
    pub packet_bytes: usize,
    /// Filters of one client.
    pub filters: usize,
    /// Messages that wait for a connected client.
    pub queue_messages: usize,
    /// Bytes that wait for a client.
    pub queue_bytes: usize,
    /// Messages kept for a client that is away and asked for a lasting session.
    pub offline_messages: usize,
    /// Clients away whose sessions are kept.
    pub absent_sessions: usize,
    /// Messages sent to a client and not yet settled by it.
    pub in_flight: usize,
    /// Retained messages.
    pub retained_messages: usize,
    /// Bytes of retained messages.
    pub retained_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 128,
            packet_bytes: 256 * 1024 + 1024,
            filters: 256,
            queue_messages: 8192,
            queue_bytes: 1024 * 1024,
            offline_messages: 100,
            absent_sessions: 64,
            in_flight: 100,
            retained_messages: 1000,
            retained_bytes: 1024 * 1024,
        }
    }
}

/// What became of a message that the process looked at.
#[derive(Debug)]
pub enum Outcome {
    /// Not for us, or nothing to wait for: acknowledge.
    Settled,
    /// To be acknowledged when it [is settled](Verdict::is_settled). Anything else, or nothing: not stored.
    Waiting(oneshot::Receiver<Verdict>),
}

/// Takes what clients publish.
#[async_trait]
pub trait Sink: Clone + Send + Sync + 'static {
    /// Looks at one message. May wait: the client is not read meanwhile. Messages of one client come in order.
    async fn take(&self, topic: &str, payload: Bytes) -> Outcome;
}

/// The broker cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another program has the port.
    #[error(
        "the MQTT broker cannot listen on {address}: another program uses that port; stop it (a mosquitto, perhaps), set \
         modules.eventBus.mqttServerInternal to a free port, or use that broker with mqttMode: 2"
    )]
    InUse {
        /// Where.
        address: SocketAddr,
    },
    /// Anything else.
    #[error("the MQTT broker cannot listen on {address} (modules.eventBus.mqttServerInternal)")]
    Other {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

/// A bound socket, and what it will serve.
#[derive(Debug)]
pub struct Broker {
    listener: TcpListener,
    router: Router,
}

impl Broker {
    /// Binds `address`.
    pub async fn bind(address: SocketAddr, router: Router) -> Result<Self, ListenError> {
        let listener = TcpListener::bind(address).await.map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => ListenError::InUse { address },
            _ => ListenError::Other { address, source },
        })?;
        info!(%address, "MQTT broker listens");
        Ok(Self { listener, router })
    }

    /// Where it listens.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Accepts clients on `tasks` until they are shut down.
    pub fn serve<S: Sink>(self, sink: S, tasks: &TaskSet) {
        let clients = Arc::new(tasks.child("clients"));
        let listener = Arc::new(self.listener);
        let router = self.router;
        tasks.spawn("accept", Restart::on_failure(), move |token| {
            let (clients, listener) = (Arc::clone(&clients), Arc::clone(&listener));
            let (router, sink) = (router.clone(), sink.clone());
            async move {
                loop {
                    let accepted = tokio::select! {
                        accepted = listener.accept() => accepted,
                        () = token.cancelled() => return Ok::<(), Infallible>(()),
                    };
                    let (stream, peer) = match accepted {
                        Ok(accepted) => accepted,
                        Err(error) => {
                            // Out of file descriptors, mostly: others must close first.
                            warn!("cannot accept an MQTT client: {error}");
                            tokio::time::sleep(Duration::from_millis(100)).await;
                            continue;
                        }
                    };
                    // Those who do not say who they are within seconds are bounded too.
                    if clients.running() >= router.limits().connections * 2 {
                        debug!(%peer, "too many connections");
                        continue;
                    }
                    // An answer must not wait for a full segment.
                    let _ = stream.set_nodelay(true);
                    let connection = Connection::new(stream, router.clone(), sink.clone());
                    clients.spawn_once("client", move |token| async move {
                        let end = connection.run(token).await;
                        debug!(%peer, "MQTT client gone: {end}");
                    });
                }
            }
        });
    }
}
