//! The local port on which a supervisor and keadm see how the agent is: `/healthz` and `/cloud`.
//!
//! Owns: the kubelet's read-only HTTP port. May call: edgehub, for its state. Called by: `main`.

use std::net::SocketAddr;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use tasks::{Restart, TaskSet};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::edgehub::{self, Connection};

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

/// Serves on `tasks`. A port in use is said and tried again: pods matter more than this port.
pub fn run(address: SocketAddr, hub: edgehub::Handle, tasks: &TaskSet) {
    tasks.spawn("health", Restart::on_failure(), move |token| serve(address, hub.clone(), token));
}

async fn serve(address: SocketAddr, hub: edgehub::Handle, token: CancellationToken) -> Result<(), String> {
    let listener = TcpListener::bind(address).await.map_err(|error| {
        format!("cannot listen at {address} ({error}): is a kubelet or another edgecore running here?")
    })?;
    info!(%address, "health is served at /healthz");
    let router =
        Router::new().route("/healthz", get(async || "ok")).route("/cloud", get(cloud)).with_state(hub);
    axum::serve(listener, router)
        .with_graceful_shutdown(token.cancelled_owned())
        .await
        .map_err(|error| error.to_string())
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
