//! The certificate endpoint (10002): CA, node certificates, whether a name is free, whether cloudcore is ready.
//!
//! Owns: the routes and [`grant`], the rule of who gets which certificate. May call: the Kubernetes API (whether a
//! node lives elsewhere), pki. Called by: the wiring. KubeEdge's routes for reports of node jobs are not here: they
//! took them from anybody.

mod grant;
mod names;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Extension, Path, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use jiff::Timestamp;
use kube::Client;
use proto::pki::{NodeName, PkiError, peer_node};
use rustls::ServerConfig;
use tasks::TaskSet;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::pki::Pki;
use super::sessions::Sessions;
use super::tls::{self, Accepted};
use crate::desired::{Desired, Plane};
use crate::metrics::Metrics;
use grant::{Credential, Refusal};
use names::Names;

/// The largest certificate request; KubeEdge's limit.
const CSR_LIMIT: usize = 1 << 20;
/// How long a client may take to send its headers.
const HEADERS_WITHIN: Duration = Duration::from_secs(10);
/// How long one connection may be used.
const CONNECTION_WITHIN: Duration = Duration::from_secs(120);

/// The endpoint. Cheap to clone.
#[derive(Clone)]
pub struct Endpoint {
    shared: Arc<Shared>,
}

struct Shared {
    pki: Pki,
    names: Names,
    desired: Desired,
    metrics: Metrics,
    certificate_life: Duration,
}

/// What a client's certificate proves, if it showed one.
#[derive(Clone)]
struct Peer(Option<Result<NodeName, String>>);

// === impl Endpoint ===

impl Endpoint {
    /// An endpoint that issues certificates for so many days. `address` is this cloudcore's, by which it knows the
    /// nodes that it serves itself.
    #[must_use]
    pub fn new(
        client: Client,
        pki: Pki,
        sessions: Sessions,
        desired: Desired,
        metrics: Metrics,
        days: u32,
        address: String,
    ) -> Self {
        let certificate_life = Duration::from_secs(u64::from(days.max(1)) * 86_400);
        let names = Names::new(client, sessions, address);
        Self { shared: Arc::new(Shared { pki, names, desired, metrics, certificate_life }) }
    }

    /// Serves until cancelled.
    pub async fn run(
        &self,
        listener: &TcpListener,
        tls: Arc<ServerConfig>,
        tasks: &TaskSet,
        stop: CancellationToken,
    ) {
        let routes = Router::new()
            .route("/ca.crt", get(ca))
            .route("/edge.crt", get(edge_certificate))
            .route("/node/{name}", get(node))
            .route("/readyz", get(ready))
            .layer(DefaultBodyLimit::max(CSR_LIMIT))
            .with_state(self.shared.clone());
        tls::accept(listener, tls, tasks, stop, move |accepted, stop| serve(routes.clone(), accepted, stop))
            .await;
    }
}

async fn serve(routes: Router, accepted: Accepted, stop: CancellationToken) {
    let proven =
        accepted.certificate().map(|certificate| peer_node(&certificate).map_err(|error| error.to_string()));
    let routes = routes.layer(Extension(Peer(proven)));
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADERS_WITHIN);
    let connection = http.serve_connection(TokioIo::new(accepted.stream), TowerToHyperService::new(routes));
    tokio::select! {
        () = stop.cancelled() => {}
        ended = tokio::time::timeout(CONNECTION_WITHIN, connection) => match ended {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!(peer = %accepted.peer, "the connection failed: {error}"),
            Err(_) => debug!(peer = %accepted.peer, "the connection was open for too long"),
        },
    }
}

async fn ca(State(shared): State<Arc<Shared>>) -> Vec<u8> {
    shared.pki.authority().certificate().to_vec()
}

async fn ready(State(shared): State<Arc<Shared>>) -> (StatusCode, String) {
    let missing: Vec<&str> = [(Plane::Core, "nodes and pods"), (Plane::Devices, "devices")]
        .into_iter()
        .filter(|(plane, _)| !shared.desired.is_synced(*plane))
        .map(|(_, what)| what)
        .collect();
    if missing.is_empty() {
        return (StatusCode::OK, "ok\n".to_owned());
    }
    (
        StatusCode::SERVICE_UNAVAILABLE,
        format!("still reading from the Kubernetes API: {}\n", missing.join(", ")),
    )
}

/// KubeEdge's `keadm join` goes on only if this is 404. So it is for every name that may be used: one that no living
/// node has. Who asks learns no more than whether a node of that name lives.
async fn node(State(shared): State<Arc<Shared>>, Path(name): Path<String>) -> (StatusCode, String) {
    let Ok(node) = name.parse::<NodeName>() else {
        return (StatusCode::BAD_REQUEST, "this is no node name\n".to_owned());
    };
    match shared.names.taken(&node).await {
        Ok(Some(taken)) if taken.has_object => (StatusCode::OK, "Node founded".to_owned()),
        Ok(_) => (StatusCode::NOT_FOUND, "Node not found".to_owned()),
        Err(status) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{}\n", status.message)),
    }
}

async fn edge_certificate(
    State(shared): State<Arc<Shared>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    csr: Bytes,
) -> Response {
    match shared.issue(peer, &headers, &csr).await {
        Ok((node, certificate)) => {
            shared.metrics.certificates_issued.inc();
            info!(%node, "a certificate was issued");
            certificate.into_response()
        }
        Err(refusal) => {
            shared.metrics.certificates_refused.inc();
            warn!("a certificate request was refused: {refusal}");
            (refusal.status(), format!("{refusal}\n")).into_response()
        }
    }
}

impl Shared {
    async fn issue(
        &self,
        peer: Peer,
        headers: &HeaderMap,
        csr: &[u8],
    ) -> Result<(NodeName, Vec<u8>), Refusal> {
        let name = headers.get("nodename").and_then(|name| name.to_str().ok()).unwrap_or_default();
        let node: NodeName = name.parse().map_err(|_| Refusal::Name(name.to_owned()))?;
        let now = Timestamp::now();
        let credential = match peer.0 {
            Some(Ok(node)) => Credential::Certificate(node),
            Some(Err(reason)) => return Err(Refusal::NotANode(reason)),
            None => {
                let header = headers.get(AUTHORIZATION).ok_or(Refusal::Anonymous)?;
                let bearer = header
                    .to_str()
                    .ok()
                    .and_then(|text| text.strip_prefix("Bearer "))
                    .ok_or(Refusal::Anonymous)?;
                Credential::Token(self.pki.authority().verify_bearer(bearer.trim(), &node, now)?)
            }
        };
        let taken = self.names.taken(&node).await.map_err(|status| Refusal::Unknown(status.message))?;
        grant::decide(&node, &credential, taken.as_ref())?;
        let issued = self.pki.authority().issue_edge(&node, csr, self.certificate_life, now);
        let certificate = issued.map_err(|error| match error {
            PkiError::Request(_) => Refusal::Request(error.to_string()),
            other => Refusal::Unknown(other.to_string()),
        })?;
        Ok((node, certificate.to_vec()))
    }
}
