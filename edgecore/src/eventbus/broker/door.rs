//! Where clients come in: plain TCP, or TLS with or without certificates of the clients.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tasks::{Restart, TaskSet};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tracing::{debug, info, warn};

use super::connection::Connection;
use super::login::Users;
use super::router::Router;
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

/// The files of a TLS door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The certificate that is shown, with its chain (PEM).
    pub certificate: PathBuf,
    /// Its key (PEM).
    pub key: PathBuf,
    /// Clients must show a certificate of this authority (PEM).
    pub clients: Option<PathBuf>,
}

/// A door that is open.
pub(super) struct Open {
    pub(super) address: SocketAddr,
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
}

impl Open {
    pub(super) async fn bind(door: &Door) -> Result<Self, ListenError> {
        let tls = door.tls.as_ref().map(acceptor).transpose()?;
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
                    let (router, users, sink, tls) =
                        (router.clone(), users.clone(), sink.clone(), open.tls.clone());
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

fn acceptor(tls: &Tls) -> Result<TlsAcceptor, ListenError> {
    let unusable = |path: &PathBuf, why: String| ListenError::Tls { path: path.clone(), why };
    let provider = Arc::new(default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(&tls.certificate, error.to_string()))?;
    let builder = match &tls.clients {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| unusable(path, error.to_string()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.map_err(|error| unusable(path, error.to_string()))?)
        }
    };
    let key =
        PrivateKeyDer::from_pem_file(&tls.key).map_err(|error| unusable(&tls.key, error.to_string()))?;
    let config = builder
        .with_single_cert(certificates(&tls.certificate)?, key)
        .map_err(|error| unusable(&tls.certificate, error.to_string()))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn certificates(path: &PathBuf) -> Result<Vec<CertificateDer<'static>>, ListenError> {
    let unusable = |why: String| ListenError::Tls { path: path.clone(), why };
    let found: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).map_err(|error| unusable(error.to_string()))?.collect();
    match found.map_err(|error| unusable(error.to_string()))? {
        found if found.is_empty() => Err(unusable("there is no certificate in it".to_owned())),
        found => Ok(found),
    }
}
