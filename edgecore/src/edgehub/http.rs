//! HTTP/1.1 over TLS to the cloud: one request per connection, every step bounded.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use proto::config::HostPort;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tasks::TaskSet;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::failure::LinkError;

/// Larger answers of the certificate service are not what we asked for.
const BODY_LIMIT: usize = 64 << 10;

/// A TLS connection that counts what comes in.
pub(super) type Stream = TlsStream<Counted>;

/// An answer of the certificate service.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Bytes,
    /// The server's clock minus ours, if it said its time.
    pub(super) skew: Option<jiff::SignedDuration>,
}

/// Connects and shakes hands.
pub(super) async fn connect(
    server: &HostPort,
    tls: Arc<ClientConfig>,
    within: Duration,
) -> Result<Stream, LinkError> {
    let attempt = async {
        let addresses = tokio::net::lookup_host((server.host.as_str(), server.port))
            .await
            .map_err(|error| LinkError::NoAddress { host: server.host.clone(), reason: error.to_string() })?;
        let mut failed = LinkError::NoAddress { host: server.host.clone(), reason: "it has none".into() };
        for address in addresses {
            match TcpStream::connect(address).await {
                Ok(tcp) => return handshake(server, tls, tcp).await,
                Err(error) => failed = LinkError::connecting(server, &error),
            }
        }
        Err(failed)
    };
    tokio::time::timeout(within, attempt)
        .await
        .unwrap_or_else(|_| Err(LinkError::Silent { at: server.to_string(), within }))
}

async fn handshake(server: &HostPort, tls: Arc<ClientConfig>, tcp: TcpStream) -> Result<Stream, LinkError> {
    // Statuses are small and awaited by people; coalescing is done above.
    tcp.set_nodelay(true).map_err(|error| LinkError::connecting(server, &error))?;
    let name = ServerName::try_from(server.host.clone())
        .map_err(|error| LinkError::NoAddress { host: server.host.clone(), reason: error.to_string() })?;
    let counted = Counted { tcp, received: Arc::default() };
    TlsConnector::from(tls).connect(name, counted).await.map_err(|error| LinkError::talking(server, &error))
}

/// A connection that takes requests; it is driven on `tasks`, and ends with them.
pub(super) async fn client(
    server: &HostPort,
    stream: Stream,
    tasks: &TaskSet,
) -> Result<SendRequest<Full<Bytes>>, LinkError> {
    let (client, connection) = http1::Builder::new()
        .title_case_headers(true)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| LinkError::talking(server, &error))?;
    tasks.spawn_once("http", |_| async move {
        // A failure here also fails the request, which tells it.
        let _ = connection.with_upgrades().await;
    });
    Ok(client)
}

/// `GET path` with a body, as the certificate service wants it.
pub(super) async fn get(
    server: &HostPort,
    tls: Arc<ClientConfig>,
    path: &str,
    headers: &[(&'static str, &str)],
    body: Bytes,
    within: Duration,
) -> Result<Answer, LinkError> {
    let broken = |reason: String| LinkError::Broken { at: server.to_string(), reason };
    let exchange = async {
        let stream = connect(server, tls, within).await?;
        let tasks = TaskSet::new("https");
        let mut client = client(server, stream, &tasks).await?;
        let mut request = Request::get(path).header("host", server.to_string());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body)).map_err(|error| broken(error.to_string()))?;
        let response =
            client.send_request(request).await.map_err(|error| LinkError::talking(server, &error))?;
        let (status, skew) = (response.status().as_u16(), skew(&response));
        let body = read(response).await.map_err(broken)?;
        Ok(Answer { status, body, skew })
    };
    tokio::time::timeout(within, exchange)
        .await
        .unwrap_or_else(|_| Err(LinkError::Silent { at: server.to_string(), within }))
}

/// The whole body, if it is of a sane size.
pub(super) async fn read(response: Response<Incoming>) -> Result<Bytes, String> {
    let body = Limited::new(response.into_body(), BODY_LIMIT);
    #[allow(clippy::disallowed_methods, reason = "the body is limited one line above")]
    let collected = body.collect().await;
    collected.map(|body| body.to_bytes()).map_err(|error| error.to_string())
}

fn skew(response: &Response<Incoming>) -> Option<jiff::SignedDuration> {
    let date = response.headers().get("date")?.to_str().ok()?;
    // HTTP writes "GMT" where RFC 2822 wants an offset.
    let server = rfc2822::parse(&date.replace("GMT", "+0000")).ok()?.timestamp();
    Some(server.duration_since(Timestamp::now()))
}

/// A TCP connection that counts the bytes that come in: a long message on a thin line is life, too.
#[derive(Debug)]
pub(super) struct Counted {
    tcp: TcpStream,
    received: Arc<AtomicU64>,
}

impl Counted {
    pub(super) fn counter(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.received)
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.tcp).poll_read(cx, buf);
        let more = buf.filled().len() - before;
        if more > 0 {
            self.received.fetch_add(more as u64, Ordering::Relaxed);
        }
        polled
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}
