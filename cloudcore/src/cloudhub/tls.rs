//! Accepts TLS connections, a bounded number of handshakes at a time, each within a time limit.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls_pki_types::CertificateDer;
use tasks::TaskSet;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

/// Handshakes at a time; more connections wait in the kernel's queue.
const HANDSHAKES: usize = 256;
/// How long a handshake may take.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);

/// A connection after its handshake.
pub(crate) struct Accepted {
    pub(crate) stream: TlsStream<TcpStream>,
    pub(crate) peer: SocketAddr,
}

impl Accepted {
    /// The client's certificate, which the handshake has verified.
    pub(crate) fn certificate(&self) -> Option<CertificateDer<'static>> {
        self.stream.get_ref().1.peer_certificates()?.first().cloned().map(CertificateDer::into_owned)
    }
}

/// Accepts until cancelled; each connection is served by a task of its own in `tasks`.
pub(crate) async fn accept<F, Fut>(
    listener: &TcpListener,
    tls: Arc<ServerConfig>,
    tasks: &TaskSet,
    stop: CancellationToken,
    serve: F,
) where
    F: Fn(Accepted, CancellationToken) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let acceptor = TlsAcceptor::from(tls);
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, usually: wait until some are free.
                warn!("a connection could not be accepted: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(permit) = handshakes.clone().acquire_owned().await else { return };
        let (acceptor, serve) = (acceptor.clone(), serve.clone());
        tasks.spawn_once(format!("connection {peer}"), move |stop| async move {
            // Small messages should not wait for each other; a socket without the option still works.
            let _ = socket.set_nodelay(true);
            let handshake = tokio::time::timeout(HANDSHAKE_WITHIN, acceptor.accept(socket)).await;
            drop(permit);
            match handshake {
                Ok(Ok(stream)) => serve(Accepted { stream, peer }, stop).await,
                Ok(Err(error)) => debug!(%peer, "the TLS handshake failed: {error}"),
                Err(_) => debug!(%peer, "the TLS handshake took too long"),
            }
        });
    }
}
