//! Posts messages to the targets of rules.

use std::time::Duration;

use axum::http::{Request, StatusCode};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use https::chain;

/// How long a target may take.
const WITHIN: Duration = Duration::from_secs(30);
/// More of an answer is not read; KubeEdge's limit.
const BODY_LIMIT: usize = 1 << 20;

/// What a target said.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

/// Why a message was not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotTaken {
    /// Another try may help: the target is away or busy.
    Passing(String),
    /// It said no.
    Refused(String),
}

/// Posts. Cheap to clone.
#[derive(Clone)]
pub(super) struct Poster {
    client: Option<https::Client>,
}

// === impl Poster ===

impl Poster {
    /// Trusts the authorities of the system (or of `SSL_CERT_FILE`).
    pub(super) fn new() -> Self {
        Self { client: Some(https::client()) }
    }

    /// Of a router that is off: nobody asks it to post.
    pub(super) fn none() -> Self {
        Self { client: None }
    }

    /// Posts once. `id` is the same whenever the same message is posted again.
    pub(super) async fn post(&self, url: &str, id: &str, body: Bytes) -> Result<Answer, NotTaken> {
        let passing = |reason: String| NotTaken::Passing(format!("POST {url}: {reason}"));
        let Some(client) = &self.client else { return Err(passing("modules.router.enable is false".into())) };
        let request = Request::post(url).header("idempotency-key", id).body(Full::new(body));
        let request = request.map_err(|error| NotTaken::Refused(format!("POST {url}: {error}")))?;
        let exchange = async {
            let response = client.request(request).await.map_err(|error| passing(chain(&error)))?;
            let (head, body) = response.into_parts();
            #[allow(clippy::disallowed_methods, reason = "the body is limited")]
            let body = Limited::new(body, BODY_LIMIT).collect().await;
            // KubeEdge cuts what is longer; a cut answer is worth nothing.
            let body = body.map_err(|error| NotTaken::Refused(format!("POST {url}: the answer: {error}")))?;
            Ok(Answer { status: head.status, body: body.to_bytes() })
        };
        let late = || passing(format!("no answer within {} s", WITHIN.as_secs()));
        tokio::time::timeout(WITHIN, exchange).await.unwrap_or_else(|_| Err(late()))
    }
}

/// Whether a target took the message.
pub(super) fn taken(url: &str, answer: &Answer) -> Result<(), NotTaken> {
    let status = answer.status;
    let busy = [408, 429, 502, 503, 504].contains(&status.as_u16());
    match () {
        () if status.is_success() => Ok(()),
        () if busy => Err(NotTaken::Passing(format!("POST {url}: {status}"))),
        () => Err(NotTaken::Refused(format!("POST {url}: {status}"))),
    }
}
