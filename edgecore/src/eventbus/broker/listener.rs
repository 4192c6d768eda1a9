//! Accepts connections and gives each a session.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tasks::{Restart, TaskSet};
use tokio::{net::TcpListener, sync::Mutex, time::sleep};
use tracing::{Instrument, debug, info, info_span, warn};

use super::{
    bounds::Names,
    clients::Clients,
    router::{Links, Publisher},
    session,
};
use crate::devicetwin;

/// Different topics in the life of this process; later ones reach devicetwin but no subscriber.
const TOPICS: usize = 16 * 1024;
/// Different filters in the life of this process; each may hold two segments of messages.
const FILTERS: usize = 512;

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
    /// The router did not answer.
    #[error("the MQTT broker's router does not start")]
    Router(#[source] Box<rumqttd::local::LinkError>),
}

/// What every session needs.
pub(super) struct Shared {
    pub(super) links: Links,
    pub(super) clients: Clients,
    pub(super) topics: Names,
    pub(super) filters: Names,
    pub(super) twins: devicetwin::Handle,
}

/// Listens on `address` and serves on `tasks`.
pub(in super::super) async fn start(
    address: SocketAddr,
    twins: devicetwin::Handle,
    tasks: &TaskSet,
) -> Result<Publisher, ListenError> {
    let listener = TcpListener::bind(address).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => ListenError::InUse { address },
        _ => ListenError::Other { address, source },
    })?;
    let links = Links::new();
    let (publisher, mut heard, _) = links.link("skerry", true).map_err(ListenError::Router)?;
    // Nobody subscribes on this link, but the router's notices about it must be taken.
    tasks.spawn_once("router", |token| async move {
        while let Some(Ok(_)) = token.run_until_cancelled(heard.next()).await {}
    });
    let shared = Arc::new(Shared {
        links,
        clients: Clients::default(),
        topics: Names::up_to(TOPICS),
        filters: Names::up_to(FILTERS),
        twins,
    });
    info!(%address, "MQTT broker listens");
    let listener = Arc::new(Mutex::new(listener));
    tasks.spawn("accept", Restart::on_failure(), move |token| {
        let (listener, shared) = (Arc::clone(&listener), Arc::clone(&shared));
        async move {
            let listener = listener.lock().await;
            token.run_until_cancelled(accept(&listener, &shared)).await;
            Ok::<(), io::Error>(())
        }
    });
    Ok(Publisher::new(publisher))
}

/// Connections end with this future: it owns them.
async fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let sessions = TaskSet::new("mqtt");
    loop {
        match listener.accept().await {
            Ok((socket, peer)) => {
                let shared = Arc::clone(shared);
                let span = info_span!("mqtt", %peer, client = tracing::field::Empty);
                let serve = move |token| {
                    async move {
                        if let Err(end) = session::serve(socket, &shared, token).await {
                            debug!(%end, "MQTT connection ended");
                        }
                    }
                    .instrument(span)
                };
                if sessions.running() < super::clients::CONNECTIONS * 2 {
                    sessions.spawn_once("session", serve);
                }
            }
            Err(error) => {
                // Usually no more file descriptors; those of leaving clients come back.
                warn!(%error, "MQTT connection not accepted");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}
