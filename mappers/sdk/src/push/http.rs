//! Posts to targets over HTTP and HTTPS.

use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use https::chain;
use hyper::body::Incoming;

use super::NotTaken;

/// How long a target may take.
const WITHIN: Duration = Duration::from_secs(10);
/// Bytes of an answer that is read.
const ANSWER: usize = 64 << 10;

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
        let asked = self.answer(url, kind, authorization, body);
        let status = in_time(url, asked).await?.status();
        match status.as_u16() {
            200..=299 => Ok(()),
            // A wrong token is mended by people, and then what waits is wanted.
            401 | 403 | 404 | 408 | 425 | 429 | 500..=599 => Err(passing(url, &status.to_string())),
            _ => Err(NotTaken::Refused(format!("POST {url}: {status}"))),
        }
    }

    /// For targets that say in their answer what they think: its status and all of it.
    pub(super) async fn ask(
        &self,
        url: &str,
        kind: &str,
        authorization: Option<&str>,
        body: String,
    ) -> Result<(u16, Bytes), NotTaken> {
        let asked = async {
            let answer = self.answer(url, kind, authorization, body).await?;
            let status = answer.status().as_u16();
            let body = Limited::new(answer.into_body(), ANSWER);
            #[allow(clippy::disallowed_methods, reason = "it has a cap")]
            let all = body.collect().await;
            Ok((status, all.map_err(|error| passing(url, &chain(&*error)))?.to_bytes()))
        };
        in_time(url, asked).await
    }

    async fn answer(
        &self,
        url: &str,
        kind: &str,
        authorization: Option<&str>,
        body: String,
    ) -> Result<Response<Incoming>, NotTaken> {
        let mut request = Request::post(url).header(CONTENT_TYPE, kind);
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let request = request.body(Full::new(Bytes::from(body)));
        let request = request.map_err(|error| NotTaken::Refused(format!("POST {url}: {error}")))?;
        self.0.request(request).await.map_err(|error| passing(url, &chain(&error)))
    }
}

async fn in_time<T>(url: &str, asked: impl Future<Output = Result<T, NotTaken>>) -> Result<T, NotTaken> {
    let late = || passing(url, &format!("no answer within {} s", WITHIN.as_secs()));
    tokio::time::timeout(WITHIN, asked).await.unwrap_or_else(|_| Err(late()))
}

fn passing(url: &str, why: &str) -> NotTaken {
    NotTaken::Passing(format!("POST {url}: {why}"))
}
