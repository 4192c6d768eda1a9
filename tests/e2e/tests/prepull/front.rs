//! What stands before a registry: it passes everything on, but fails as it is told. A fake, because a real registry fails so only
//! under load.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

/// How one repository is answered for.
struct Fault {
    status: StatusCode,
    /// From the first question on; without, for ever.
    lasts: Option<Duration>,
    asked: Vec<Instant>,
}

#[derive(Clone)]
struct Shared {
    registry: String,
    client: Client<HttpConnector, Body>,
    faults: Arc<Mutex<BTreeMap<String, Fault>>>,
}

/// The fake front.
pub(crate) struct Front {
    address: SocketAddr,
    shared: Shared,
    _task: AbortOnDropHandle<()>,
}

impl Front {
    #[allow(clippy::disallowed_methods, reason = "the handle aborts the task")]
    pub(crate) async fn of(registry: String) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let client = Client::builder(TokioExecutor::new()).build_http();
        let shared = Shared { registry, client, faults: Arc::default() };
        let router = axum::Router::new().fallback(answer).with_state(shared.clone());
        let task = tokio::spawn(async move {
            axum::serve(listener, router).await.ok();
        });
        Ok(Self { address, shared, _task: AbortOnDropHandle::new(task) })
    }

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn image(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }

    /// From now on answers questions about this repository so, for as long after the first of them.
    pub(crate) fn fail(&self, repository: &str, status: u16, lasts: Option<Duration>) -> Result<()> {
        let fault = Fault { status: StatusCode::from_u16(status)?, lasts, asked: Vec::new() };
        self.shared
            .faults
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(repository.to_owned(), fault);
        Ok(())
    }

    /// When it was asked about this repository since [`Front::fail`].
    pub(crate) fn asked(&self, repository: &str) -> Vec<Instant> {
        let faults = self.shared.faults.lock().unwrap_or_else(PoisonError::into_inner);
        faults.get(repository).map(|fault| fault.asked.clone()).unwrap_or_default()
    }
}

async fn answer(State(shared): State<Shared>, mut request: Request) -> Response {
    if let Some(refused) = refusal(&shared, request.uri().path()) {
        return refused;
    }
    let path = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
    let Ok(uri) = format!("http://{}{path}", shared.registry).parse::<Uri>() else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    *request.uri_mut() = uri;
    request.headers_mut().remove(header::HOST);
    match shared.client.request(request).await {
        Ok(answer) => answer.map(Body::new),
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}

fn refusal(shared: &Shared, path: &str) -> Option<Response> {
    let rest = path.strip_prefix("/v2/")?;
    let mut faults = shared.faults.lock().unwrap_or_else(PoisonError::into_inner);
    let (_, fault) = faults.iter_mut().find(|(repository, _)| rest.starts_with(&format!("{repository}/")))?;
    let now = Instant::now();
    fault.asked.push(now);
    let first = fault.asked.first().copied().unwrap_or(now);
    if fault.lasts.is_some_and(|lasts| now.duration_since(first) > lasts) {
        return None;
    }
    let code = match fault.status.as_u16() {
        403 => "DENIED",
        429 => "TOOMANYREQUESTS",
        _ => "UNKNOWN",
    };
    let body = format!(r#"{{"errors":[{{"code":"{code}","message":"by the front"}}]}}"#);
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::RETRY_AFTER, "2")];
    Some((fault.status, headers, body).into_response())
}
