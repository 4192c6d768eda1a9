use std::{io, sync::Arc, time::Duration};

use http::{Request, header};
use http_body_util::{BodyExt, Full, Limited};
use https::AnyCertificate;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use proto::config::HostPort;

/// How long one attempt may take, from the name lookup to the last byte.
const LIMIT: Duration = Duration::from_secs(10);
const TCP_LIMIT: Duration = Duration::from_secs(5);
const ANSWER_BYTES: usize = 1 << 20;

/// Why there is no answer, told apart by what the user can do about it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("the name {0} cannot be resolved: {1}")]
    Name(String, String),
    #[error("nobody listens there (connection refused)")]
    Refused,
    #[error("no answer within {0} s: a firewall drops the packets, or the machine is off")]
    Silent(u64),
    #[error("{0}")]
    Unreachable(String),
    #[error("what listens there does not speak TLS: {0}")]
    NotTls(String),
    #[error("the TLS handshake fails: {0}")]
    Tls(rustls::Error),
    #[error("it does not answer HTTP: {0}")]
    Http(String),
}

/// An HTTP answer, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// When the server made it, by the server's clock; seconds since 1970.
    pub(crate) date: Option<i64>,
    pub(crate) body: Vec<u8>,
}

/// A certificate and its key, as DER.
pub(crate) struct Identity {
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) key: PrivateKeyDer<'static>,
}

/// Asks `path` without verifying who answers, and says which certificates it showed.
pub(crate) async fn fetch_untrusted(
    address: &HostPort,
    path: &str,
) -> Result<(Answer, Vec<CertificateDer<'static>>), ConnectError> {
    let shown = Arc::new(AnyCertificate::remembering());
    let config = builder()?.dangerous().with_custom_certificate_verifier(shown.clone()).with_no_client_auth();
    // Boxed: a handshake's state is large, and several of these are held at once.
    let answer = Box::pin(bounded(exchange(address, config, path, Vec::new(), Vec::new()))).await;
    Ok((answer?, shown.shown()))
}

/// Asks without TLS; for ports of this host only.
pub(crate) async fn fetch_plain(address: &HostPort, path: &str) -> Result<Answer, ConnectError> {
    bounded(async { converse(reach(address).await?, address, path, Vec::new(), Vec::new()).await }).await
}

/// Whether something speaks TLS at `address`; it may well refuse us without a certificate.
pub(crate) async fn speaks_tls(address: &HostPort) -> Result<(), ConnectError> {
    let shown = Arc::new(AnyCertificate::remembering());
    let config = builder()?.dangerous().with_custom_certificate_verifier(shown.clone()).with_no_client_auth();
    match Box::pin(bounded(open(address, config))).await {
        Ok(_) => Ok(()),
        // It asked for a client certificate, as it should: it has shown its own by then.
        Err(ConnectError::Tls(rustls::Error::AlertReceived(_))) if !shown.shown().is_empty() => Ok(()),
        Err(error) => Err(error),
    }
}

/// cloudcore, verified against its own CA.
#[derive(Clone)]
pub(crate) struct Trusted {
    address: HostPort,
    config: ClientConfig,
}

impl Trusted {
    pub(crate) fn new(
        address: &HostPort,
        ca: &CertificateDer<'static>,
        identity: Option<Identity>,
    ) -> Result<Self, ConnectError> {
        let mut roots = RootCertStore::empty();
        roots.add(ca.clone()).map_err(ConnectError::Tls)?;
        let builder = builder()?.with_root_certificates(roots);
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some(Identity { certificate, key }) => {
                builder.with_client_auth_cert(vec![certificate], key).map_err(ConnectError::Tls)?
            }
        };
        Ok(Self { address: address.clone(), config })
    }

    /// GET, with a body if the protocol wants one (`/edge.crt` does).
    pub(crate) async fn get(
        &self,
        path: &str,
        headers: Vec<(&'static str, String)>,
        body: Vec<u8>,
    ) -> Result<Answer, ConnectError> {
        Box::pin(bounded(exchange(&self.address, self.config.clone(), path, headers, body))).await
    }
}

async fn bounded<T>(work: impl Future<Output = Result<T, ConnectError>>) -> Result<T, ConnectError> {
    tokio::time::timeout(LIMIT, work).await.unwrap_or(Err(ConnectError::Silent(LIMIT.as_secs())))
}

fn builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, ConnectError> {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(ConnectError::Tls)
}

async fn reach(address: &HostPort) -> Result<TcpStream, ConnectError> {
    let found = tokio::net::lookup_host((address.host.as_str(), address.port)).await;
    let found: Vec<_> =
        found.map_err(|error| ConnectError::Name(address.host.clone(), error.to_string()))?.collect();
    tokio::time::timeout(TCP_LIMIT, TcpStream::connect(found.as_slice()))
        .await
        .map_err(|_| ConnectError::Silent(TCP_LIMIT.as_secs()))?
        .map_err(|error| match error.kind() {
            io::ErrorKind::ConnectionRefused => ConnectError::Refused,
            _ => ConnectError::Unreachable(error.to_string()),
        })
}

async fn open(address: &HostPort, config: ClientConfig) -> Result<TlsStream<TcpStream>, ConnectError> {
    let stream = reach(address).await?;
    let name = ServerName::try_from(address.host.clone())
        .map_err(|error| ConnectError::Name(address.host.clone(), error.to_string()))?;
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(|error| {
        let text = error.to_string();
        match error.into_inner().and_then(|inner| inner.downcast::<rustls::Error>().ok()).map(|inner| *inner)
        {
            Some(rustls::Error::InvalidMessage(_)) | None => ConnectError::NotTls(text),
            Some(error) => ConnectError::Tls(error),
        }
    })
}

async fn exchange(
    address: &HostPort,
    config: ClientConfig,
    path: &str,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
) -> Result<Answer, ConnectError> {
    let stream = open(address, config).await?;
    converse(stream, address, path, headers, body).await
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    address: &HostPort,
    path: &str,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
) -> Result<Answer, ConnectError> {
    let http = |error: &dyn std::fmt::Display| ConnectError::Http(error.to_string());
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream))
            .await
            .map_err(|error| http(&error))?;
    let mut request = Request::get(path).header(header::HOST, address.to_string());
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let request = request.body(Full::new(Bytes::from(body))).map_err(|error| http(&error))?;
    let conversation = async {
        let response = sender.send_request(request).await.map_err(|error| http(&error))?;
        let date = response.headers().get(header::DATE).and_then(|date| date.to_str().ok()).and_then(seconds);
        let status = response.status().as_u16();
        // The limit is around the body already.
        #[expect(clippy::disallowed_methods)]
        let body =
            Limited::new(response.into_body(), ANSWER_BYTES).collect().await.map_err(|error| http(&error))?;
        Ok(Answer { status, date, body: body.to_bytes().to_vec() })
    };
    // The connection is driven here and not in a task of its own: it has no life beyond this exchange.
    let mut driven = std::pin::pin!(connection);
    let mut conversation = std::pin::pin!(conversation);
    tokio::select! {
        biased;
        answer = &mut conversation => answer,
        ended = &mut driven => match ended {
            // The whole answer may have arrived before the connection ended.
            Ok(()) => conversation.await,
            Err(error) => Err(http(&error)),
        },
    }
}

fn seconds(date: &str) -> Option<i64> {
    let parser = jiff::fmt::rfc2822::DateTimeParser::new();
    parser.parse_timestamp(date).ok().map(jiff::Timestamp::as_second)
}
