//! Where clients come in: plain TCP, or TLS with or without certificates of the clients.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tasks::{Restart, TaskSet};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tracing::{debug, info, warn};

use super::connection::Connection;
use super::login::Users;
use super::router::Router;
use super::tls::{self, Tls};
use super::watched::Watched;
use super::{ListenError, Sink};

/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// An address, and what clients must do there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Door {
    /// Where it is.
    pub address: SocketAddr,
    /// TLS; `None`: plain TCP.
    pub tls: Option<Tls>,
}

/// A door that is open.
pub(super) struct Open {
    pub(super) address: SocketAddr,
    listener: TcpListener,
    tls: Option<Watched<TlsAcceptor, ListenError>>,
}

impl Open {
    pub(super) async fn bind(door: &Door) -> Result<Self, ListenError> {
        let tls = door.tls.as_ref().map(tls::watch).transpose()?;
        let address = door.address;
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => ListenError::InUse { address },
            _ => ListenError::Other { address, source },
        };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        info!(%address, tls = tls.is_some(), "MQTT broker listens");
        Ok(Self { address, listener, tls })
    }

    /// Lets clients in on `tasks` until they are shut down.
    pub(super) fn serve<S: Sink>(self, router: Router, users: Option<Arc<Users>>, sink: S, tasks: &TaskSet) {
        let clients = Arc::new(tasks.child("clients"));
        let open = Arc::new(self);
        tasks.spawn("accept", Restart::on_failure(), move |token| {
            let (clients, open) = (Arc::clone(&clients), Arc::clone(&open));
            let (router, users, sink) = (router.clone(), users.clone(), sink.clone());
            async move {
                loop {
                    let accepted = tokio::select! {
                        accepted = open.listener.accept() => accepted,
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
                    let (router, users, sink) = (router.clone(), users.clone(), sink.clone());
                    let tls = open.tls.as_ref().map(Watched::current);
                    clients.spawn_once("client", move |token| async move {
                        let judge = sink.clone();
                        let end = match tls {
                            None => Connection::new(stream, router, users, sink).run(token).await,
                            Some(tls) => match handshake(&tls, stream, peer).await {
                                Some(stream) => Connection::new(stream, router, users, sink).run(token).await,
                                None => return judge.put_out("tls"),
                            },
                        };
                        debug!(%peer, "MQTT client gone: {end}");
                        if let Some(fault) = end.fault() {
                            judge.put_out(fault);
                        }
                    });
                }
            }
        });
    }
}

async fn handshake(
    tls: &TlsAcceptor,
    stream: TcpStream,
    peer: SocketAddr,
) -> Option<tokio_rustls::server::TlsStream<TcpStream>> {
    match timeout(HANDSHAKE, tls.accept(stream)).await {
        Ok(Ok(stream)) => return Some(stream),
        Ok(Err(reason)) => info!(%peer, "an MQTT client's TLS handshake failed: {reason}"),
        Err(_) => debug!(%peer, "an MQTT client's TLS handshake takes too long"),
    }
    None
}
