//! Accepting connections. What a connection started ends with it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tasks::TaskSet;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::stall::Impatient;
use super::tls::Tls;
use crate::apiserver::auth::Peer;
use crate::apiserver::{Service, Source};
use crate::pki::subject_of;
use crate::shares::Shares;

/// Connections at the same time; more wait in the kernel's queue.
const CONNECTIONS: usize = 2048;
/// The same from one address, which so leaves room for the others.
const CONNECTIONS_OF_ONE: usize = 1536;
/// A client that reads nothing for so long is not one.
const STALLED: Duration = Duration::from_secs(30);
/// What is kept of an answer that a client does not read, for each of its streams.
const UNREAD: usize = 64 << 10;
/// A client that says nothing for so long is not one.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Requests and watches of one client at the same time.
const STREAMS: u32 = 250;
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Out of file descriptors: a pause lets some be closed.
const EXHAUSTED: Duration = Duration::from_millis(100);

pub(super) async fn serve(
    listener: TcpListener,
    tls: Tls,
    service: Service,
    connections: &TaskSet,
    token: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let of_one: Shares<IpAddr> = Shares::new(CONNECTIONS_OF_ONE);
    let acceptor = TlsAcceptor::from(Arc::clone(&tls.config));
    loop {
        let accept = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            () = token.cancelled() => return,
            accepted = accept => accepted,
        };
        match (place, accepted) {
            (Ok(place), Ok((stream, from))) => {
                let Some(share) = of_one.take(&from.ip()) else {
                    tracing::debug!(%from, "too many connections from one address");
                    continue;
                };
                let (acceptor, service) = (acceptor.clone(), service.clone());
                connections.spawn_once("connection", move |token| async move {
                    connection(stream, from.ip(), acceptor, service, token).await;
                    drop((place, share));
                });
            }
            (_, Err(error)) => {
                tracing::warn!("cannot accept a connection: {error}");
                tokio::time::sleep(EXHAUSTED).await;
            }
            // Nobody closes the semaphore.
            (Err(_), _) => return,
        }
    }
}

async fn connection(
    stream: TcpStream,
    address: IpAddr,
    acceptor: TlsAcceptor,
    service: Service,
    token: CancellationToken,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!("cannot set TCP_NODELAY: {error}");
    }
    let handshake = acceptor.accept(Impatient::new(stream, STALLED));
    let stream = match tokio::time::timeout(HANDSHAKE, handshake).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!("TLS handshake failed: {error}"),
        Err(_) => return tracing::debug!("TLS handshake took too long"),
    };
    let certificates = stream.get_ref().1.peer_certificates();
    let subject = certificates.and_then(<[_]>::first).and_then(subject_of);
    let peer = Peer::Tls(subject);
    let service = service.map_request(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(peer.clone());
        request.extensions_mut().insert(Source(address));
        request
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HANDSHAKE).max_buf_size(64 << 10);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(64 << 10)
        .max_send_buf_size(UNREAD)
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE);
    let connection =
        builder.serve_connection_with_upgrades(TokioIo::new(stream), TowerToHyperService::new(service));
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = token.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!("connection ended: {error}");
    }
}
