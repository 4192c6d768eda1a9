//! The local port on which a supervisor, keadm and tools of a kubelet see how the agent is.
//!
//! Owns: the kubelet's read-only HTTP port, with `/healthz`, `/cloud` and what edged answers there. May call: edgehub, for its
//! state. Called by: `main`.

use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use http::StatusCode;
use serde::Serialize;
use tasks::{Restart, TaskSet};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::edged::Pulse;
use crate::edgehub::{self, Connection};
use crate::metrics::Metrics;

/// How long answers that are under way may take when the agent ends. Who follows a log is cut off.
const GRACE: Duration = Duration::from_millis(500);

/// How the link to the cloud is.
#[derive(Debug, Serialize)]
struct Cloud {
    connected: bool,
    /// `KubeEdge` or `SkerryV1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    dialect: Option<String>,
    /// Why there is no connection, and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<String>,
}

/// What is served: the state of the link, and if this node runs pods, theirs.
#[derive(Debug)]
pub struct LocalApi {
    hub: edgehub::Handle,
    pods: Option<(Pulse, Router)>,
    metrics: Metrics,
}

impl LocalApi {
    /// The state of the link alone.
    pub fn new(hub: edgehub::Handle) -> Self {
        Self { hub, pods: None, metrics: Metrics::default() }
    }

    /// What is counted of devices, at `/metrics`.
    #[must_use]
    pub fn with_metrics(self, metrics: Metrics) -> Self {
        Self { metrics, ..self }
    }

    /// The pods too.
    #[must_use]
    pub fn with_pods(self, pulse: Pulse, api: Router) -> Self {
        Self { pods: Some((pulse, api)), ..self }
    }

    /// Serves on `tasks`. A port in use is said and tried again: pods matter more than this port.
    pub fn serve(self, address: SocketAddr, tasks: &TaskSet) {
        let router = self.into_router();
        tasks.spawn("local-api", Restart::on_failure(), move |token| listen(address, router.clone(), token));
    }

    /// All that is served.
    pub fn into_router(self) -> Router {
        let (pulse, pods) = self.pods.unzip();
        let health = Router::new()
            .route("/healthz", get(healthz))
            .route("/healthz/syncloop", get(syncloop))
            .route("/healthz/ping", get(async || "ok"))
            .route("/healthz/log", get(async || "ok"))
            .with_state(pulse);
        let link = Router::new().route("/cloud", get(cloud)).with_state(self.hub);
        let metrics = self.metrics;
        let pods = match pods {
            // Its page has the pods' numbers too.
            Some(pods) => pods.layer(Extension(metrics)),
            None => Router::new().route("/metrics", get(async move || metrics.render())),
        };
        health.merge(link).merge(pods)
    }
}

async fn listen(address: SocketAddr, router: Router, token: CancellationToken) -> Result<(), String> {
    let listener = TcpListener::bind(address).await.map_err(|error| {
        format!("cannot listen at {address} ({error}): is a kubelet or another edgecore running here?")
    })?;
    info!(%address, "the local API is served");
    let served = axum::serve(listener, router).with_graceful_shutdown(token.clone().cancelled_owned());
    tokio::select! {
        ended = served => ended.map_err(|error| error.to_string()),
        () = async { token.cancelled().await; tokio::time::sleep(GRACE).await } => Ok(()),
    }
}

/// All checks, as a kubelet tells them: a line for each if one fails.
async fn healthz(State(pulse): State<Option<Pulse>>) -> Response {
    match is_alive(pulse.as_ref()) {
        true => "ok".into_response(),
        false => {
            let text = "[+]ping ok\n[+]log ok\n[-]syncloop failed: reason withheld\nhealthz check failed\n";
            (StatusCode::INTERNAL_SERVER_ERROR, text).into_response()
        }
    }
}

async fn syncloop(State(pulse): State<Option<Pulse>>) -> Response {
    match is_alive(pulse.as_ref()) {
        true => "ok".into_response(),
        false => {
            let text = "internal server error: sync Loop took longer than expected\n";
            (StatusCode::INTERNAL_SERVER_ERROR, text).into_response()
        }
    }
}

/// A node without pods has no loop that could hang.
fn is_alive(pulse: Option<&Pulse>) -> bool {
    pulse.is_none_or(Pulse::is_alive)
}

async fn cloud(State(hub): State<edgehub::Handle>) -> Json<Cloud> {
    let connection = *hub.connection().borrow();
    let dialect = match connection {
        Connection::Up { dialect } => Some(format!("{dialect:?}")),
        Connection::Down => None,
    };
    let trouble = hub.trouble().borrow().clone();
    Json(Cloud { connected: connection.is_up(), dialect, trouble })
}
