//! What local programs call: `POST / {"method":"POST","targetURL":"<url of a rule>","payload":…}`.

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use proto::message::{Content, Group, Message, Operation, Route, Source};
use proto::resource::Resource;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower::limit::GlobalConcurrencyLimitLayer;
use tracing::info;

use crate::edgehub::{self, RequestError};
use crate::rules;

/// KubeEdge's bound of a call.
const BODY_LIMIT: usize = 5_000_000;
/// Calls at a time; more wait.
const CALLS: usize = 64;
/// How long calls may go on when edgecore stops.
const GRACE: Duration = Duration::from_secs(1);

#[derive(Clone)]
pub(super) struct Door {
    pub(super) rules: rules::Handle,
    pub(super) hub: edgehub::Handle,
    pub(super) timeout: Duration,
}

/// What a program says. `method` and `payload` are for the target, which gets all of it.
#[derive(Deserialize)]
struct Call {
    #[serde(rename = "targetURL", default)]
    target_url: String,
}

/// What it hears, always with status 200, as KubeEdge has it.
#[derive(Serialize)]
struct Said {
    code: u16,
    msg: String,
    body: String,
}

pub(super) async fn listen(address: SocketAddr, door: Door, token: CancellationToken) -> Result<(), String> {
    let listener = TcpListener::bind(address).await.map_err(|error| {
        format!(
            "ServiceBus cannot listen at {address} ({error}): free the port, or set modules.serviceBus.port"
        )
    })?;
    info!(%address, "ServiceBus takes calls of local programs");
    let routes = Router::new()
        .fallback(call)
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(GlobalConcurrencyLimitLayer::new(CALLS))
        .with_state(door);
    let served = axum::serve(listener, routes).with_graceful_shutdown(token.clone().cancelled_owned());
    tokio::select! {
        ended = served => ended.map_err(|error| error.to_string()),
        () = async { token.cancelled().await; tokio::time::sleep(GRACE).await } => Ok(()),
    }
}

async fn call(
    State(door): State<Door>,
    body: Result<Bytes, axum::extract::rejection::BytesRejection>,
) -> Response {
    let (code, msg, body) = match said(&door, body.ok()).await {
        Ok(body) => (StatusCode::OK, "receive response from cloud successfully".to_owned(), body),
        Err((code, msg)) => (code, msg, String::new()),
    };
    Json(Said { code: code.as_u16(), msg, body }).into_response()
}

async fn said(door: &Door, body: Option<Bytes>) -> Result<String, (StatusCode, String)> {
    let bad = |words: &str| (StatusCode::BAD_REQUEST, words.to_owned());
    let body = body.ok_or_else(|| bad("can't read data from body of the http's request"))?;
    let call: Call = serde_json::from_slice(&body).map_err(|_| bad("invalid params"))?;
    let url = call.target_url;
    if !door.rules.orders().borrow().urls.contains(&url) {
        let words = format!("url {url} is not allowed and please make a rule for this url in the cloud");
        return Err((StatusCode::BAD_REQUEST, words));
    }
    let route = Route::new(Source::ServiceBus, Group::User, Operation::Upload, Resource::Other(url.into()));
    let message = Message::new(route, Content::text(&BASE64_STANDARD.encode(&body)));
    let answer = door.hub.request(message, door.timeout).await.map_err(|error| {
        let code = match error {
            RequestError::Disconnected => StatusCode::SERVICE_UNAVAILABLE,
            RequestError::Timeout => StatusCode::GATEWAY_TIMEOUT,
            RequestError::Rejected(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (code, error.to_string())
    })?;
    Ok(answer.content.as_str().map_or_else(|| answer.content.get().to_owned(), |text| text.into_owned()))
}
