//! The embedded MQTT broker, for clients of 3.1.1 and of 5: what this machine's devices talk to the twins and to each
//! other through.
//!
//! Owns: the listening sockets, sessions and retained messages; what of them must outlive the process is in mqtt.db before
//! it is acknowledged. May call: a [`Sink`], which takes the messages that are for this process and says when they are
//! stored; a PUBACK is only sent then. Called by: eventbus.
//!
//! A packet's way: [`door`] lets the client in, [`connection`] reads what [`frame`] cuts and asks [`router`], which gives
//! the message to each [`session`] that wants it and notes in the [`journal`] what [`writer`] must take to disk.
//!
//! Why not rumqttd, which was planned: version 0.20 disconnects whoever subscribes to a filter that starts with `$`
//! (all of KubeEdge's do), matches no topic that starts with `$` against any wildcard, dies for good when someone
//! publishes on a topic whose first letter is not ASCII, acknowledges before anyone has stored, refuses clients without
//! a keep-alive, keeps nothing on disk, and can neither stop nor give its port back.
//!
//! Not supported, and refused in the standards' way: enhanced authentication (0x8C), MQTT 3.1 and anything that is
//! neither 3.1.1 nor 5 (return code 1).

mod acl;
mod connection;
mod door;
mod filter;
mod frame;
mod journal;
mod login;
mod message;
mod router;
mod session;
mod speak;
mod store;
mod tls;
mod translate;
mod watched;
mod writer;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tasks::{Restart, TaskSet};
use tokio::sync::{Mutex, oneshot};
use tracing::warn;

pub use acl::AclError;
pub use door::Door;
pub use filter::Filter;
pub use login::{Users, UsersError};
pub use router::Router;
pub use store::StoreError;
pub use tls::Tls;

use crate::devicetwin::Verdict;
use acl::Acl;
use store::Store;
use watched::Watched;
use writer::Writer;

/// How often what is over is looked for.
const SWEEP: Duration = Duration::from_secs(1);

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

    /// A client was disconnected for what it did; why in one word.
    fn put_out(&self, why: &'static str) {
        let _ = why;
    }
}

/// The broker cannot serve.
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
    /// A certificate or key.
    #[error("the MQTT broker cannot use {path} (modules.eventBus.eventBusTLS): {why}")]
    Tls {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The password file.
    #[error(transparent)]
    Users(#[from] UsersError),
    /// The access rules.
    #[error(transparent)]
    Acl(#[from] AclError),
    /// What it had on disk.
    #[error("the MQTT broker cannot read its sessions: {0}")]
    Store(#[from] StoreError),
}

/// What the broker is made of.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where it listens; at least one.
    pub doors: Vec<Door>,
    /// Who may come in; `None`: everybody.
    pub users: Option<PathBuf>,
    /// Who may read and write what; `None`: everybody everything.
    pub acl: Option<PathBuf>,
    /// mqtt.db.
    pub store: PathBuf,
}

/// A broker whose doors are open, and what it will serve.
pub struct Broker {
    doors: Vec<door::Open>,
    users: Option<Arc<Users>>,
    acl: Option<Arc<Watched<Acl, AclError>>>,
    router: Router,
    store: Store,
}

impl Broker {
    /// Takes back what is on disk, and opens the doors.
    pub async fn open(plan: Plan, router: Router) -> Result<Self, ListenError> {
        let users = plan.users.map(Users::open).transpose()?.map(Arc::new);
        let acl = plan.acl.as_deref().map(acl::watch).transpose()?.map(Arc::new);
        if let Some(rules) = acl.as_ref().map(|acl| acl.current()) {
            if users.is_none() && rules.names_users() {
                warn!(
                    "modules.eventBus.mqttAclFile has rules for users, and nobody logs in: set \
                     modules.eventBus.mqttPasswordFile, or write the rules above the first user line"
                );
            }
            router.govern(rules);
        }
        let mut doors = Vec::with_capacity(plan.doors.len());
        for door in &plan.doors {
            doors.push(door::Open::bind(door).await?);
        }
        let mut store = Store::new(plan.store);
        router.restore(store.read(router.limits()).await?);
        Ok(Self { doors, users, acl, router, store })
    }

    /// Where it listens first.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.doors.first().map(|door| door.address)
    }

    /// Serves clients on `tasks` until they are shut down.
    pub fn serve<S: Sink>(self, sink: S, tasks: &TaskSet) {
        let writer = Writer { router: self.router.clone(), store: self.store, kept: None, rewrite: false };
        let writer = Arc::new(Mutex::new(writer));
        tasks.spawn("writer", Restart::on_failure(), move |token| {
            let writer = Arc::clone(&writer);
            async move { writer.lock().await.run(token).await }
        });
        let (router, listener, acl) = (self.router.clone(), sink.clone(), self.acl);
        tasks.spawn("sweep", Restart::on_failure(), move |token| {
            let (router, sink, acl) = (router.clone(), listener.clone(), acl.clone());
            async move {
                loop {
                    tokio::select! {
                        () = tokio::time::sleep(SWEEP) => {}
                        () = token.cancelled() => return Ok::<(), Infallible>(()),
                    }
                    if let Some(acl) = &acl {
                        router.govern(acl.current());
                    }
                    for will in router.expire() {
                        speak::speak(&router, &sink, will).await;
                    }
                }
            }
        });
        for door in self.doors {
            door.serve(self.router.clone(), self.users.clone(), sink.clone(), tasks);
        }
    }
}
