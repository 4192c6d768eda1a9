//! Calls local programs.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use proto::rules::{HttpRequest, HttpResponse, is_passed_on};
use tokio::net::TcpStream;

/// KubeEdge's bound of an answer.
const BODY_LIMIT: usize = 5_000_000;

/// Calls programs on this node's loopback. Cheap to clone.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    timeout: Duration,
}

type Refused = (u16, String);

impl Caller {
    /// A call may take so long.
    #[must_use]
    pub fn new(timeout: Duration) -> Self {
        Self { timeout }
    }

    /// Calls `<port>:<path>` once. What goes wrong is an answer too: who called in the cloud must hear of it.
    pub async fn call(&self, method: &str, resource: &str, request: HttpRequest) -> HttpResponse {
        let late =
            || Err((504, format!("error to call service: no answer within {} s", self.timeout.as_secs())));
        let called = tokio::time::timeout(self.timeout, exchange(method, resource, request)).await;
        called.unwrap_or_else(|_| late()).unwrap_or_else(|(status, words)| refusal(status, words))
    }
}

/// An answer of this agent, not of a program: KubeEdge marks it with this header.
pub(crate) fn refusal(status_code: u16, words: String) -> HttpResponse {
    let header = BTreeMap::from([("Tunnelserver".to_owned(), vec!["kubeedge-edgecore".to_owned()])]);
    HttpResponse { header, status_code, body: words.into_bytes() }
}

async fn exchange(method: &str, resource: &str, call: HttpRequest) -> Result<HttpResponse, Refused> {
    let wrong = || (400, format!("the format of resource {resource} is incorrect"));
    let (port, path) = resource.split_once(':').ok_or_else(wrong)?;
    let port: u16 = port.parse().map_err(|_| wrong())?;
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let method =
        Method::from_bytes(method.as_bytes()).map_err(|_| (400, format!("{method:?} is no method")))?;
    let mut request = Request::builder().method(method).uri(path).header("host", format!("127.0.0.1:{port}"));
    if let Some(headers) = request.headers_mut() {
        for (name, values) in call.header {
            let Ok(name) = HeaderName::try_from(name) else { continue };
            if is_passed_on(name.as_str()) {
                let values = values.into_iter().filter_map(|value| HeaderValue::try_from(value).ok());
                values.for_each(|value| {
                    headers.append(name.clone(), value);
                });
            }
        }
    }
    let request = request.body(Full::new(Bytes::from(call.body))).map_err(|_| wrong())?;

    let failed = |error: String| (502, format!("error to call service: {error}"));
    let stream = TcpStream::connect(("127.0.0.1", port)).await;
    let stream = stream.map_err(|error| failed(format!("127.0.0.1:{port}: {error}")))?;
    let (mut client, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(error.to_string()))?;
    let talk = async {
        let response = client.send_request(request).await.map_err(|error| failed(error.to_string()))?;
        let (head, body) = response.into_parts();
        #[allow(clippy::disallowed_methods, reason = "the body is limited")]
        let body = Limited::new(body, BODY_LIMIT).collect().await.map_err(|error| match error
            .is::<LengthLimitError>()
        {
            true => (500, "error to receive response, err: response body too large".to_owned()),
            false => (500, format!("error to receive response, err: {error}")),
        })?;
        Ok(HttpResponse {
            header: headers(&head.headers),
            status_code: head.status.as_u16(),
            body: body.to_bytes().into(),
        })
    };
    // The connection's failure is also the talk's, which tells it; its end is not.
    let driven = async {
        let _ = connection.await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        said = talk => said,
        () = driven => Err(failed("the connection ended".into())),
    }
}

fn headers(headers: &HeaderMap) -> BTreeMap<String, Vec<String>> {
    let mut told: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        if let (true, Ok(value)) = (is_passed_on(name.as_str()), value.to_str()) {
            told.entry(name.as_str().to_owned()).or_default().push(value.to_owned());
        }
    }
    told
}
