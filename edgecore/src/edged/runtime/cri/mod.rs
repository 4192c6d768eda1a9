//! Owns the CRI v1 client: one lazily connected channel over the runtime's unix socket, which tonic re-opens after the
//! runtime was restarted. May call: `runtime` types. Called through [`ContainerRuntime`](super::ContainerRuntime).

mod client;
mod containerd_events;
mod convert;

use std::path::PathBuf;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use k8s_cri::v1::image_service_client::ImageServiceClient;
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Status};
use tower::service_fn;

use super::RuntimeError;

/// Largest answer accepted from the runtime (a node full of containers stays far below).
const MAX_ANSWER: usize = 16 << 20;
/// A socket that does not accept within this time is not served.
const CONNECT: Duration = Duration::from_secs(5);
/// An image may take this long to arrive over a thin link before the pull is given up and retried.
const PULL: Duration = Duration::from_secs(30 * 60);

/// The CRI client.
#[derive(Clone)]
pub struct Cri {
    endpoint: String,
    channel: Channel,
    runtime: RuntimeServiceClient<Channel>,
    images: ImageServiceClient<Channel>,
    limit: Duration,
}

impl Cri {
    /// A client for `unix:///path/to.sock`; connects on first use. `images` may name another socket; `limit` is
    /// `runtimeRequestTimeout`.
    pub fn new(endpoint: &str, images: Option<&str>, limit: Duration) -> Result<Self, RuntimeError> {
        let runtime = channel(endpoint)?;
        let image_channel = match images {
            Some(other) if !other.is_empty() && other != endpoint => channel(other)?,
            _ => runtime.clone(),
        };
        Ok(Self {
            endpoint: endpoint.to_owned(),
            channel: runtime.clone(),
            runtime: RuntimeServiceClient::new(runtime).max_decoding_message_size(MAX_ANSWER),
            images: ImageServiceClient::new(image_channel).max_decoding_message_size(MAX_ANSWER),
            limit,
        })
    }

    /// Runs one call under a deadline and translates its failure.
    async fn call<T>(
        &self,
        call: &'static str,
        limit: Duration,
        answer: impl Future<Output = Result<tonic::Response<T>, Status>>,
    ) -> Result<T, RuntimeError> {
        match tokio::time::timeout(limit, answer).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(self.error(call, limit, status)),
            Err(_) => Err(RuntimeError::Timeout { endpoint: self.endpoint.clone(), call, limit }),
        }
    }

    fn error(&self, call: &'static str, limit: Duration, status: Status) -> RuntimeError {
        let endpoint = self.endpoint.clone();
        match status.code() {
            Code::NotFound => RuntimeError::NotFound { call, message: status.message().to_owned() },
            Code::Unimplemented => {
                RuntimeError::Unsupported { endpoint, call, cause: status.message().to_owned() }
            }
            Code::DeadlineExceeded => RuntimeError::Timeout { endpoint, call, limit },
            Code::Unavailable => RuntimeError::Unreachable { endpoint, cause: root_cause(&status) },
            // A connection that breaks in the middle of a call surfaces as one of these with a transport source.
            Code::Unknown | Code::Cancelled | Code::Internal
                if std::error::Error::source(&status).is_some_and(|s| s.is::<tonic::transport::Error>()) =>
            {
                RuntimeError::Unreachable { endpoint, cause: root_cause(&status) }
            }
            _ => RuntimeError::Failed { call, message: status.message().to_owned() },
        }
    }
}

/// The innermost error: the one that names the system's reason.
fn root_cause(status: &Status) -> String {
    let mut cause: &dyn std::error::Error = status;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    match cause.downcast_ref::<Status>() {
        Some(status) => status.message().to_owned(),
        None => cause.to_string(),
    }
}

fn channel(endpoint: &str) -> Result<Channel, RuntimeError> {
    let wrong =
        |reason: &str| RuntimeError::Endpoint { endpoint: endpoint.to_owned(), reason: reason.to_owned() };
    let path = endpoint.strip_prefix("unix://").unwrap_or(endpoint);
    if !path.starts_with('/') {
        return Err(wrong(
            "must be unix:// followed by an absolute path, such as unix:///run/containerd/containerd.sock",
        ));
    }
    let path = PathBuf::from(path);
    let target = Endpoint::try_from("http://runtime.invalid").map_err(|error| wrong(&error.to_string()))?;
    Ok(target.connect_timeout(CONNECT).connect_with_connector_lazy(service_fn(move |_: Uri| {
        let path = path.clone();
        async move { Ok::<_, std::io::Error>(TokioIo::new(UnixStream::connect(path).await?)) }
    })))
}
