//! Posts to targets over HTTP and HTTPS.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http_body_util::Full;
use https::chain;

use super::NotTaken;

/// How long a target may take.
const WITHIN: Duration = Duration::from_secs(10);

/// A client; keeps connections.
pub(super) struct Poster(https::Client);

// === impl Poster ===

impl Default for Poster {
    /// Trusts the authorities of the system (or of `SSL_CERT_FILE`).
    fn default() -> Self {
        Self(https::client())
    }
}

impl Poster {
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
