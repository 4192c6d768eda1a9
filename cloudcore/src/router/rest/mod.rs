//! The REST port: programs call nodes by it, `ANY /<node>/<namespace>/<path of a rule>[/<more>]`.
//!
//! Owns: the listener's connections, the token. Every call is made once; what the program on the node answers is passed on as it is.

mod call;
mod token;

use std::sync::Arc;
use std::time::Duration;

use axum::Router as Routes;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::response::{IntoResponse, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tasks::TaskSet;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::Router;
use crate::cloudhub::tls;

pub use token::{Token, TokenError};

/// Calls at a time.
const CALLS: usize = 256;
/// Bytes of bodies at a time, in KiB.
const BODIES_KIB: usize = 128 << 10;
/// Connections at a time.
const CONNECTIONS: usize = 1024;
/// How long a client may take to send its headers.
const HEADERS_WITHIN: Duration = Duration::from_secs(10);

/// How the port is guarded.
pub enum Guard {
    /// TLS, and a token.
    Secure(Arc<ServerConfig>, Token),
    /// Whoever reaches it may call.
    Open,
}

/// What a call needs.
#[derive(Clone)]
struct Door {
    router: Router,
    token: Option<Token>,
    calls: Arc<Semaphore>,
    bodies: Arc<Semaphore>,
}

/// Serves until cancelled.
pub async fn serve(
    router: Router,
    listener: TcpListener,
    guard: Guard,
    connections: &TaskSet,
    stop: CancellationToken,
) {
    let (tls, token) = match guard {
        Guard::Secure(tls, token) => (Some(tls), Some(token)),
        Guard::Open => (None, None),
    };
    let door = Door {
        router,
        token,
        calls: Arc::new(Semaphore::new(CALLS)),
        bodies: Arc::new(Semaphore::new(BODIES_KIB)),
    };
    let routes = Routes::new().fallback(answer).with_state(door);
    match tls {
        Some(tls) => {
            let open = Arc::new(Semaphore::new(CONNECTIONS));
            tls::accept(&listener, tls, connections, stop, move |accepted, stop| {
                let (routes, permit) = (routes.clone(), Arc::clone(&open).try_acquire_owned());
                async move {
                    if let Ok(_permit) = permit {
                        serve_one(routes, accepted.stream, stop).await;
                    }
                }
            })
            .await;
        }
        None => accept(&listener, routes, connections, stop).await,
    }
}

async fn accept(listener: &TcpListener, routes: Routes, connections: &TaskSet, stop: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((_, peer)) if connections.running() >= CONNECTIONS => debug!(%peer, "too many connections"),
            Ok((socket, peer)) => {
                let routes = routes.clone();
                // A socket without the option still works.
                let _ = socket.set_nodelay(true);
                connections
                    .spawn_once(format!("connection {peer}"), move |stop| serve_one(routes, socket, stop));
            }
            Err(error) => {
                // Out of file descriptors, usually: wait until some are free.
                warn!("a connection could not be accepted: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve_one<S>(routes: Routes, stream: S, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADERS_WITHIN);
    let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    tokio::select! {
        () = stop.cancelled() => {}
        ended = connection => if let Err(error) = ended {
            debug!("a connection of the REST port failed: {error}");
        },
    }
}

async fn answer(State(door): State<Door>, request: Request) -> Response {
    if let Some(token) = &door.token
        && !request.headers().get(AUTHORIZATION).is_some_and(|shown| token.is_shown(shown.as_bytes()))
    {
        let words = format!(
            "show the token: Authorization: Bearer <the text of {} on cloudcore's host>\n",
            token.file().display()
        );
        return (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, "Bearer")], words).into_response();
    }
    let Ok(_turn) = door.calls.try_acquire() else {
        let words = format!("{CALLS} calls are under way: try again\n");
        return (StatusCode::SERVICE_UNAVAILABLE, words).into_response();
    };
    call::call(&door, request).await
}
