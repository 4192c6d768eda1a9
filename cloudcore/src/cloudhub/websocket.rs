//! The message channel (10000): a websocket over TLS for which a client certificate is required.
//!
//! The certificate's common name must be the node that the `node_id` header names: who claims another node's name is
//! refused with 403 before there is a session. A second connection of a node replaces the first.

use std::sync::Arc;
use std::time::Duration;

use proto::config::CloudHub;
use proto::pki::{NodeName, peer_node};
use proto::session::{Codec, Dialect, Limits};
use rustls::ServerConfig;
use tasks::TaskSet;
use tokio::net::TcpListener;
use tokio_tungstenite::accept_hdr_async_with_config;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::header::SEC_WEBSOCKET_PROTOCOL;
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::session::{self, Context, Link, Settings, Upstream};
use super::sessions::Sessions;
use super::tls::{self, Accepted};

/// How long the HTTP upgrade may take.
const UPGRADE_WITHIN: Duration = Duration::from_secs(10);
/// How long the controllers may take to note that a node has connected; they do so beside the session.
const GREETING_WITHIN: Duration = Duration::from_secs(10);

/// The server. Cheap to clone.
pub struct Server<U> {
    sessions: Sessions,
    context: Arc<Context<U>>,
    limits: Limits,
}

impl<U> Clone for Server<U> {
    fn clone(&self) -> Self {
        Self { sessions: self.sessions.clone(), context: self.context.clone(), limits: self.limits }
    }
}

/// Why a connection is not let in.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("{0}")]
    Forbidden(String),
    #[error("{0}")]
    Full(#[from] super::Full),
}

/// The session settings that a configuration asks for.
#[must_use]
pub fn settings(config: &CloudHub) -> Settings {
    let ping = config.ping.interval.get();
    Settings {
        ping_every: ping,
        // Two pings may go missing; KubeEdge's own limit is the outer one.
        silent_for: (ping * 2 + config.ping.timeout.get()).min(config.keepalive_interval.get()),
        write_within: config.write_timeout.get(),
        ..Settings::default()
    }
}

// === impl Server ===

impl<U: Upstream> Server<U> {
    /// A server that puts its sessions into `sessions`.
    pub fn new(sessions: Sessions, context: Context<U>, message_bytes: usize) -> Self {
        let limits = Limits { message_bytes, ..Limits::default() };
        Self { sessions, context: Arc::new(context), limits }
    }

    /// Serves until cancelled.
    pub async fn run(
        &self,
        listener: &TcpListener,
        tls: Arc<ServerConfig>,
        tasks: &TaskSet,
        stop: CancellationToken,
    ) {
        let server = self.clone();
        tls::accept(listener, tls, tasks, stop, move |accepted, stop| {
            let server = server.clone();
            async move { server.serve(accepted, stop).await }
        })
        .await;
    }

    async fn serve(&self, accepted: Accepted, stop: CancellationToken) {
        let peer = accepted.peer;
        let proven = accepted.certificate().map(|certificate| peer_node(&certificate));
        let proven = match proven {
            Some(Ok(node)) => Ok(node),
            Some(Err(error)) => Err(error.to_string()),
            None => Err("no client certificate was shown".to_owned()),
        };
        let mut admitted = None;
        #[allow(clippy::result_large_err, reason = "the shape that tungstenite asks for")]
        let upgrade = |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
            match self.admit(request, &proven) {
                Ok((node, dialect)) => {
                    if dialect == Dialect::SkerryV1 {
                        let chosen = HeaderValue::from_static(Dialect::SUBPROTOCOL);
                        response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, chosen);
                    }
                    admitted = Some((node, dialect));
                    Ok(response)
                }
                Err(refusal) => {
                    self.context.metrics.connections_refused.inc();
                    warn!(%peer, "a connection was refused: {refusal}");
                    Err(refusal.into_response())
                }
            }
        };
        let config = Some(self.limits.websocket());
        let upgraded = tokio::time::timeout(
            UPGRADE_WITHIN,
            accept_hdr_async_with_config(accepted.stream, upgrade, config),
        );
        let (Ok(Ok(socket)), Some((node, dialect))) = (upgraded.await, admitted) else { return };
        let Ok(mut seat) = self.sessions.enter(&node, peer, dialect) else { return };
        let metrics = &self.context.metrics;
        metrics.sessions.inc();
        metrics.sessions_opened.inc();
        info!(%node, %peer, ?dialect, "connected");
        let codec = Codec::new(dialect, self.limits);
        let link = Link { node: node.clone(), dialect, codec, socket };
        let session = session::serve(link, &self.context, seat.dismissed.clone(), &mut seat.told, stop);
        let greeting = tokio::time::timeout(GREETING_WITHIN, self.context.upstream.connected(&node));
        let (ended, _) = tokio::join!(session, greeting);
        metrics.sessions.dec();
        info!(%node, %peer, "disconnected: {ended}");
    }

    fn admit(
        &self,
        request: &Request,
        proven: &Result<NodeName, String>,
    ) -> Result<(NodeName, Dialect), Refusal> {
        let node = proven.as_ref().map_err(|reason| Refusal::Forbidden(reason.clone()))?;
        let mut claimed = request.headers().get_all("node_id").iter();
        match claimed.next().map(HeaderValue::to_str) {
            Some(Ok(name)) if name == node.as_str() => {}
            Some(name) => {
                let name = name.unwrap_or("(not text)");
                return Err(Refusal::Forbidden(format!(
                    "the certificate is of node {node}, but node_id says {name}"
                )));
            }
            None => return Err(Refusal::Forbidden("the header node_id is missing".to_owned())),
        }
        self.sessions.check(node)?;
        let offers = request.headers().get_all(SEC_WEBSOCKET_PROTOCOL).iter();
        let offers = offers.filter_map(|offer| offer.to_str().ok()).flat_map(|offer| offer.split(','));
        let ours = offers.map(str::trim).any(|offer| offer == Dialect::SUBPROTOCOL);
        Ok((node.clone(), if ours { Dialect::SkerryV1 } else { Dialect::KubeEdge }))
    }
}

// === impl Refusal ===

impl Refusal {
    fn into_response(self) -> ErrorResponse {
        let status = match self {
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::Full(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        let mut response = ErrorResponse::new(Some(self.to_string()));
        *response.status_mut() = status;
        response
    }
}
