//! HTTPS to webhooks.

use std::error::Error;
use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use rustls::RootCertStore;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};

/// What the server calls itself there, as Kubernetes' does.
const AGENT: &str = "kube-apiserver-admission";
/// More of an answer is not read: a patch that replaces the largest object fits in.
const ANSWER: usize = 4 << 20;
/// More of an error's text is not shown.
const SHOWN: usize = 2048;

/// Posts to webhooks that are trusted in the same way.
pub(super) struct Caller {
    client: https::Client,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Unanswered {
    /// The connection failed.
    Connection(String),
    /// The other side said no.
    Answer(String),
}

impl Unanswered {
    /// The text with the URL where it belongs.
    pub(super) fn under(self, url: &str) -> String {
        match self {
            Self::Connection(why) => format!("Post \"{url}\": {why}"),
            Self::Answer(why) => why,
        }
    }
}

// === impl Caller ===

impl Caller {
    /// Trusts `ca` (base64 of PEM) or, when it is empty, the authorities of the system. The server has to be `name` where that is
    /// not the host of the URL.
    pub(super) fn new(ca: &str, name: Option<&str>) -> Result<Self, String> {
        let roots = if ca.is_empty() { None } else { Some(roots(ca)?) };
        let name = name.map(|name| ServerName::try_from(name.to_owned()));
        let name = name.transpose().map_err(|error| error.to_string())?;
        let client =
            https::strict(roots, name).map_err(|error| format!("unable to load system roots: {error}"))?;
        Ok(Self { client })
    }

    /// Posts JSON; the body of a good answer.
    pub(super) async fn post(&self, url: &str, host: &str, body: Bytes) -> Result<Bytes, Unanswered> {
        let request = Request::post(url)
            .header(header::HOST, host)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, */*")
            .header(header::USER_AGENT, AGENT)
            .body(Full::new(body))
            .map_err(|error| Unanswered::Connection(error.to_string()))?;
        let response =
            self.client.request(request).await.map_err(|error| Unanswered::Connection(words(&error)))?;
        let (head, body) = response.into_parts();
        #[allow(clippy::disallowed_methods, reason = "the body is limited")]
        let body = Limited::new(body, ANSWER).collect().await;
        let body = body
            .map_err(|error| Unanswered::Answer(format!("error reading the answer: {error}")))?
            .to_bytes();
        if head.status.is_success() { Ok(body) } else { Err(Unanswered::Answer(refusal(head.status, &body))) }
    }
}

fn roots(ca: &str) -> Result<RootCertStore, String> {
    let wrong = || "unable to load root certificates: unable to parse bytes as PEM block".to_owned();
    let pem = STANDARD.decode(ca).map_err(|_| wrong())?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|_| wrong())?;
        roots.add(certificate).map_err(|error| format!("unable to load root certificates: {error}"))?;
    }
    if roots.is_empty() { Err(wrong()) } else { Ok(roots) }
}

/// An answer that is an error, in the words of Kubernetes' client.
fn refusal(status: StatusCode, body: &[u8]) -> String {
    let said: String = String::from_utf8_lossy(body).trim().chars().take(SHOWN).collect();
    let said = if said.is_empty() { "unknown".to_owned() } else { said };
    match status.as_u16() {
        400 => "the server rejected our request for an unknown reason".to_owned(),
        401 => "the server has asked for the client to provide credentials".to_owned(),
        403 | 406 | 415 => said,
        404 => "the server could not find the requested resource".to_owned(),
        405 => "the server does not allow this method on the requested resource".to_owned(),
        409 => "the server reported a conflict".to_owned(),
        422 => "the server rejected our request due to an error in our request".to_owned(),
        429 => "the server has received too many requests and has asked us to try again later".to_owned(),
        503 => "the server is currently unable to handle the request".to_owned(),
        504 => {
            "the server was unable to return a response in the time allotted, but may still be processing the request"
                .to_owned()
        }
        500.. => format!("an error on the server ({said:?}) has prevented the request from succeeding"),
        code => format!("the server responded with the status code {code} but did not return more information"),
    }
}

/// A failed connection in Go's words where they are known; else all causes, which hyper hides.
fn words(error: &(dyn Error + 'static)) -> String {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(rustls::Error::InvalidCertificate(wrong)) = error.downcast_ref() {
            return format!("tls: failed to verify certificate: {}", untrusted(wrong));
        }
        let io = error.downcast_ref::<io::Error>();
        match io.map(io::Error::kind) {
            Some(io::ErrorKind::ConnectionRefused) => return "connect: connection refused".to_owned(),
            Some(io::ErrorKind::ConnectionReset) => return "read: connection reset by peer".to_owned(),
            _ => {}
        }
        // What an I/O error is made of is not its source: that is the source of what it is made of.
        let inner = io.and_then(io::Error::get_ref);
        next = inner.map(|inner| inner as &(dyn Error + 'static)).or_else(|| error.source());
    }
    https::chain(error)
}

fn untrusted(wrong: &rustls::CertificateError) -> String {
    use rustls::CertificateError as E;
    match wrong {
        // Another authority of the same name signed it.
        E::UnknownIssuer | E::BadSignature => "x509: certificate signed by unknown authority".to_owned(),
        E::Expired | E::ExpiredContext { .. } | E::NotValidYet | E::NotValidYetContext { .. } => {
            "x509: certificate has expired or is not yet valid".to_owned()
        }
        other => format!("x509: {other}"),
    }
}
