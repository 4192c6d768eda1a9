//! From nothing to a websocket: TCP, TLS, the upgrade, and which dialect was agreed.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    CONNECTION, HOST, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
    UPGRADE,
};
use hyper::upgrade::Upgraded;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use proto::session::Dialect;
use tasks::TaskSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::bootstrap::{BootstrapError, Credentials};
use super::failure::LinkError;
use super::{Settings, http, tls};

/// An open channel to the cloud.
pub(super) struct Channel {
    pub(super) socket: WebSocketStream<TokioIo<Upgraded>>,
    pub(super) dialect: Dialect,
    /// Bytes that came in so far.
    pub(super) received: Arc<AtomicU64>,
}

/// Connects. tungstenite's own client handshake is not used, because it takes the absence of the offered subprotocol
/// in the answer for a failure; to us it means that a KubeEdge cloud answers. `tasks` drive the connection.
pub(super) async fn dial(
    settings: &Settings,
    credentials: &Credentials,
    tasks: &TaskSet,
) -> Result<Channel, BootstrapError> {
    let server = &settings.server;
    let tls = tls::trusting(&credentials.ca, Some(&credentials.identity))?;
    let within = settings.handshake_timeout;
    let stream = http::connect(server, tls, within).await?;
    let received = stream.get_ref().0.counter();
    let upgrade = async {
        let mut client = http::client(server, stream, tasks).await?;
        let key = generate_key();
        let response = client
            .send_request(request(settings, &key)?)
            .await
            .map_err(|error| LinkError::talking(server, &error))?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let status = response.status().as_u16();
            let body = http::read(response).await.unwrap_or_default();
            let reason = String::from_utf8_lossy(&body).trim().chars().take(300).collect();
            return Err(LinkError::Refused { at: server.to_string(), status, reason });
        }
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        if header(SEC_WEBSOCKET_ACCEPT) != Some(derive_accept_key(key.as_bytes()).as_str()) {
            let reason = "it does not know websockets".to_owned();
            return Err(LinkError::NotCloudcore { at: server.to_string(), reason });
        }
        let dialect = match header(SEC_WEBSOCKET_PROTOCOL) {
            Some(Dialect::SUBPROTOCOL) => Dialect::SkerryV1,
            None => Dialect::KubeEdge,
            Some(other) => {
                let reason = format!("it chose the subprotocol {other:?}, which was not offered");
                return Err(LinkError::NotCloudcore { at: server.to_string(), reason });
            }
        };
        let upgraded =
            hyper::upgrade::on(response).await.map_err(|error| LinkError::talking(server, &error))?;
        Ok((upgraded, dialect))
    };
    let (upgraded, dialect) = tokio::time::timeout(within, upgrade)
        .await
        .unwrap_or_else(|_| Err(LinkError::Silent { at: server.to_string(), within }))?;
    let config = settings.limits.websocket();
    let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Client, Some(config)).await;
    Ok(Channel { socket, dialect, received })
}

/// The upgrade as KubeEdge's cloud needs it: without `connectionuse: msg` it answers and then never reads;
/// with an `origin` it refuses.
fn request(settings: &Settings, key: &str) -> Result<Request<Full<Bytes>>, LinkError> {
    let Settings { server, node, project_id, .. } = settings;
    Request::get(format!("/{project_id}/{node}/events"))
        .header(HOST, server.to_string())
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "websocket")
        .header(SEC_WEBSOCKET_VERSION, "13")
        .header(SEC_WEBSOCKET_KEY, key)
        .header(SEC_WEBSOCKET_PROTOCOL, Dialect::SUBPROTOCOL)
        .header("node_id", node.as_str())
        .header("project_id", project_id.as_str())
        .header("connectionuse", "msg")
        .body(Full::default())
        .map_err(|error| LinkError::Broken { at: server.to_string(), reason: error.to_string() })
}
