//! Posts to targets over HTTP and HTTPS.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tracing::warn;

use super::NotTaken;

/// How long a target may take.
const WITHIN: Duration = Duration::from_secs(10);

/// A client; keeps connections.
pub(super) struct Poster(Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

// === impl Poster ===

impl Poster {
    /// Trusts the authorities of the system (or of `SSL_CERT_FILE`).
    pub(super) fn new() -> Self {
        let connector = match HttpsConnectorBuilder::new().with_native_roots() {
            Ok(builder) => builder.https_or_http().enable_http1().build(),
            Err(error) => {
                warn!(
                    "the system has no certificate authorities, so https targets cannot be reached: {error}"
                );
                let tls =
                    rustls::ClientConfig::builder().with_root_certificates(rustls::RootCertStore::empty());
                let builder = HttpsConnectorBuilder::new().with_tls_config(tls.with_no_client_auth());
                builder.https_or_http().enable_http1().build()
            }
        };
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .build(connector);
        Self(client)
    }

    pub(super) async fn post(
        &self,
        url: &str,
        kind: &str,
        authorization: Option<&str>,
        body: String,
    ) -> Result<(), NotTaken> {
        let mut request = Request::post(url).header(CONTENT_TYPE, kind);
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let request = request.body(Full::new(Bytes::from(body)));
        let request = request.map_err(|error| NotTaken::Refused(format!("POST {url}: {error}")))?;
        let passing = |why: String| NotTaken::Passing(format!("POST {url}: {why}"));
        let answer = tokio::time::timeout(WITHIN, self.0.request(request)).await;
        let answer = answer.map_err(|_| passing(format!("no answer within {} s", WITHIN.as_secs())))?;
        let status = answer.map_err(|error| passing(chain(&error)))?.status();
        match status.as_u16() {
            200..=299 => Ok(()),
            // A wrong token is mended by people, and then what waits is wanted.
            401 | 403 | 404 | 408 | 425 | 429 | 500..=599 => Err(passing(status.to_string())),
            _ => Err(NotTaken::Refused(format!("POST {url}: {status}"))),
        }
    }
}

/// hyper's errors hide their causes.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
