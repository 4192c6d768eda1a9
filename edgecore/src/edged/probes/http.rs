//! `GET` as the kubelet asks: any certificate will do, redirects are followed on the same host only.

use std::net::IpAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, HOST, LOCATION, USER_AGENT as AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri};
use http_body_util::{BodyExt, Empty};
use https::AnyCertificate;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::HTTPGetAction;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::handler::{Outcome, dialing, joined};

/// What the kubelet calls itself; servers tell probes from users by it.
pub(super) const USER_AGENT: &str = "kube-probe/1.32";
/// More of an answer is not read (`pkg/probe/http` maxRespBodyLength).
const BODY_LIMIT: usize = 10 << 10;
/// As net/http's client.
const REDIRECTS: usize = 10;

/// What to get, from where.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    tls: bool,
    host: String,
    port: u16,
    path: String,
    headers: HeaderMap,
}

struct Reply {
    status: u16,
    body: String,
    /// Where it points, outside of the host.
    elsewhere: bool,
}

impl Target {
    /// Reads the object; the pod's address stands in for a host that is not given.
    ///
    /// # Errors
    /// The field and what is wrong with it.
    pub fn of(get: &HTTPGetAction, address: IpAddr, port: u16) -> Result<Self, String> {
        let host = get.host.clone().filter(|host| !host.is_empty()).unwrap_or_else(|| address.to_string());
        let path = get.path.as_deref().unwrap_or_default();
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let mut headers = HeaderMap::new();
        for header in get.http_headers.iter().flatten() {
            let name = HeaderName::try_from(&header.name)
                .map_err(|_| format!("httpGet.httpHeaders: {:?} is no name of a header", header.name))?;
            let value = HeaderValue::try_from(&header.value).map_err(|_| {
                format!("httpGet.httpHeaders: the value of {name} has characters that no header may have")
            })?;
            headers.append(name, value);
        }
        for (name, value) in [(AGENT, USER_AGENT), (ACCEPT, "*/*")] {
            if !headers.contains_key(&name) {
                headers.insert(name, HeaderValue::from_static(value));
            }
        }
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        let target = Self { tls: get.scheme.as_deref() == Some("HTTPS"), host, port, path, headers };
        target.uri().map_err(|error| format!("httpGet.path: {error}"))?;
        Ok(target)
    }

    /// Gets the page, whatever it says.
    ///
    /// # Errors
    /// Why there was no answer.
    pub async fn call(&self, limit: Duration) -> Result<(), String> {
        self.reply(limit).await.map(drop)
    }

    async fn reply(&self, limit: Duration) -> Result<Reply, String> {
        let answer = tokio::time::timeout(limit, follow(self)).await;
        let late =
            || Err("context deadline exceeded (Client.Timeout exceeded while awaiting headers)".to_owned());
        answer
            .unwrap_or_else(|_| late())
            .map_err(|why| format!("Get \"{}{}\": {why}", self.origin(), self.path))
    }

    fn uri(&self) -> Result<Uri, http::uri::InvalidUri> {
        format!("{}{}", self.origin(), self.path).parse()
    }

    fn origin(&self) -> String {
        format!("{}://{}", if self.tls { "https" } else { "http" }, joined(&self.host, self.port))
    }

    /// Where a redirect leads, if that is the same host.
    fn redirected(&self, location: &str) -> Option<Self> {
        let mut next = self.clone();
        if location.starts_with('/') && !location.starts_with("//") {
            location.clone_into(&mut next.path);
            return Some(next);
        }
        let uri: Uri = location.parse().ok()?;
        next.tls = uri.scheme_str() == Some("https");
        next.port = uri.port_u16().unwrap_or(if next.tls { 443 } else { 80 });
        next.path = uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string);
        (uri.host() == Some(self.host.as_str())).then_some(next)
    }
}

/// Gets the page, and says whether that is a success.
pub(super) async fn probe(target: &Target, limit: Duration) -> Outcome {
    match target.reply(limit).await {
        Err(why) => Outcome::Failure(why),
        Ok(reply) if reply.elsewhere => {
            Outcome::Warning(format!("Probe terminated redirects, Response body: {}", reply.body))
        }
        Ok(Reply { status: 200..400, .. }) => Outcome::Success,
        Ok(Reply { status, .. }) => Outcome::Failure(format!("HTTP probe failed with statuscode: {status}")),
    }
}

async fn follow(target: &Target) -> Result<Reply, String> {
    let mut target = target.clone();
    for _ in 0..REDIRECTS {
        let (reply, location) = get(&target).await?;
        match location {
            None => return Ok(reply),
            Some(location) => match target.redirected(&location) {
                Some(next) => target = next,
                None => return Ok(Reply { elsewhere: true, ..reply }),
            },
        }
    }
    Err(format!("stopped after {REDIRECTS} redirects"))
}

async fn get(target: &Target) -> Result<(Reply, Option<String>), String> {
    let tcp = TcpStream::connect((target.host.as_str(), target.port))
        .await
        .map_err(|error| dialing(&target.host, target.port, &error))?;
    if !target.tls {
        return exchange(target, tcp).await;
    }
    let name = ServerName::try_from(target.host.clone()).map_err(|error| error.to_string())?;
    let tls = TlsConnector::from(Arc::clone(&ANY_CERTIFICATE)).connect(name, tcp).await;
    exchange(target, tls.map_err(|error| error.to_string())?).await
}

async fn exchange<S>(target: &Target, stream: S) -> Result<(Reply, Option<String>), String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let words = |error: hyper::Error| {
        let source = std::error::Error::source(&error).map(ToString::to_string);
        source.unwrap_or_else(|| error.to_string())
    };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(words)?;
    let mut request =
        Request::get(&target.path).body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
    *request.headers_mut() = target.headers.clone();
    if !request.headers().contains_key(HOST) {
        let host =
            HeaderValue::try_from(joined(&target.host, target.port)).map_err(|error| error.to_string())?;
        request.headers_mut().insert(HOST, host);
    }
    let exchange = async move {
        let response = sender.send_request(request).await.map_err(words)?;
        let status = response.status();
        let location = response.headers().get(LOCATION).and_then(|to| to.to_str().ok()).map(str::to_owned);
        let location = location.filter(|_| matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308));
        let body = beginning(response.into_body()).await.map_err(words)?;
        Ok((Reply { status: status.as_u16(), body, elsewhere: false }, location))
    };
    tokio::pin!(exchange);
    tokio::select! {
        reply = &mut exchange => return reply,
        // The server has said all and closed; what it said is still to be read.
        _ = connection => {}
    }
    exchange.await
}

async fn beginning(mut body: Incoming) -> Result<String, hyper::Error> {
    let mut read = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Some(data) = frame?.data_ref() {
            read.extend_from_slice(&data[..data.len().min(BODY_LIMIT - read.len())]);
        }
        if read.len() == BODY_LIMIT {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&read).into_owned())
}

static ANY_CERTIFICATE: LazyLock<Arc<ClientConfig>> = LazyLock::new(|| {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(rustls::ALL_VERSIONS)
        .unwrap_or_else(|_| ClientConfig::builder());
    // The kubelet does not verify certificates either.
    let verifier = Arc::new(AnyCertificate::default());
    Arc::new(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
});

#[cfg(test)]
mod tests;
