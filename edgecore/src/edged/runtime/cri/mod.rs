//! Owns the CRI v1 client: one lazily connected channel over the runtime's unix socket, which tonic re-opens after the
//! runtime was restarted. May call: `runtime` types. Called through [`ContainerRuntime`](super::ContainerRuntime).

mod client;
mod cni_results;
mod containerd_events;
mod containerd_pulls;
mod containerd_tasks;
mod convert;
mod networks;

use std::time::Duration;

use hyper_util::rt::TokioIo;
use k8s_cri::v1::image_service_client::ImageServiceClient;
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Status};
use tower::service_fn;

use super::RuntimeError;
use super::shared::socket;

/// Largest answer accepted from the runtime (a node full of containers stays far below).
const MAX_ANSWER: usize = 16 << 20;
/// A socket that does not accept within this time is not served.
const CONNECT: Duration = Duration::from_secs(5);
/// What to do when nobody answers.
const START: &str = "Start it (`systemctl start containerd`, or crio) or set \
                     edged.tailoredKubeletConfig.containerRuntimeEndpoint";
/// What to do when somebody answers, but not in CRI.
const ENABLE: &str = "Is \"cri\" listed under disabled_plugins in /etc/containerd/config.toml? Remove it there and restart \
                      containerd (1.6 or newer is needed)";

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
                let cause = format!("{call} of CRI v1 is not served: {}", status.message());
                RuntimeError::Unsupported { endpoint, cause, remedy: ENABLE }
            }
            Code::DeadlineExceeded => RuntimeError::Timeout { endpoint, call, limit },
            Code::Unavailable => self.unreachable(&status),
            // A connection that breaks in the middle of a call surfaces as one of these with a transport source.
            Code::Unknown | Code::Cancelled | Code::Internal
                if std::error::Error::source(&status).is_some_and(|s| s.is::<tonic::transport::Error>()) =>
            {
                self.unreachable(&status)
            }
            code => {
                RuntimeError::Failed { call, code: Some(go_name(code)), message: status.message().to_owned() }
            }
        }
    }

    fn unreachable(&self, status: &Status) -> RuntimeError {
        RuntimeError::Unreachable {
            endpoint: self.endpoint.clone(),
            cause: root_cause(status),
            remedy: START,
        }
    }
}

/// A code as Go's gRPC prints it.
fn go_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "Canceled",
        Code::Unknown => "Unknown",
        Code::InvalidArgument => "InvalidArgument",
        Code::DeadlineExceeded => "DeadlineExceeded",
        Code::NotFound => "NotFound",
        Code::AlreadyExists => "AlreadyExists",
        Code::PermissionDenied => "PermissionDenied",
        Code::ResourceExhausted => "ResourceExhausted",
        Code::FailedPrecondition => "FailedPrecondition",
        Code::Aborted => "Aborted",
        Code::OutOfRange => "OutOfRange",
        Code::Unimplemented => "Unimplemented",
        Code::Internal => "Internal",
        Code::Unavailable => "Unavailable",
        Code::DataLoss => "DataLoss",
        Code::Unauthenticated => "Unauthenticated",
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
    let path = socket(endpoint)?;
    let target = Endpoint::try_from("http://runtime.invalid").map_err(|error| wrong(&error.to_string()))?;
    Ok(target.connect_timeout(CONNECT).connect_with_connector_lazy(service_fn(move |_: Uri| {
        let path = path.clone();
        async move { Ok::<_, std::io::Error>(TokioIo::new(UnixStream::connect(path).await?)) }
    })))
}
