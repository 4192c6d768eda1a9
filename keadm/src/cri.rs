//! A container runtime with CRI, as far as setting up and taking down a node needs it.
//!
//! Owns: one gRPC connection to the CRI socket. Called by: `runtime`.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use k8s_cri::v1::{
    ListPodSandboxRequest, PodSandbox, RemovePodSandboxRequest, RuntimeConfigRequest, StatusRequest,
    StopPodSandboxRequest, VersionRequest, image_service_client::ImageServiceClient,
    runtime_service_client::RuntimeServiceClient,
};
use tonic::transport::{Channel, Endpoint, Uri};

/// How long a runtime has to answer a question.
pub(crate) const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// How long it has to end a pod and take its network down: as long as kubelets wait for it (`runtimeRequestTimeout`). A small
/// machine with all its pods to end is not done in seconds.
pub(crate) const REMOVAL_LIMIT: Duration = Duration::from_secs(120);
/// Kubernetes' own label; every pod sandbox that an edge agent makes has it.
pub(crate) const POD_UID: &str = "io.kubernetes.pod.uid";

/// Why the runtime is of no use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RuntimeError {
    /// Only unix sockets are meant to carry CRI.
    #[error("{0} is not of the form unix:///path/to/socket")]
    Endpoint(String),
    /// There is no file at that path.
    #[error("there is no socket at {0}")]
    Missing(PathBuf),
    /// There is a socket, but nobody behind it, or it is not ours to use.
    #[error("{socket} does not accept connections: {reason}")]
    Refused {
        /// The socket's path.
        socket: PathBuf,
        /// In the operating system's words.
        reason: String,
    },
    /// Somebody answers, but not with CRI v1.
    #[error("it does not answer CRI v1: {0}")]
    NotCri(String),
    /// Somebody answers, but not as a Docker engine that is new enough.
    #[error("it does not answer as Docker Engine 20.10 or newer: {0}")]
    NotDocker(String),
}

/// Why a pod is still there: the runtime has refused, or was not done in time.
#[derive(Debug, thiserror::Error)]
#[error("the runtime did not do it: {0}")]
pub(crate) struct NotRemoved(pub(crate) String);

/// What a runtime says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// For example `containerd 1.6.20`.
    pub(crate) name: String,
    /// Why pods cannot run, if they cannot.
    pub(crate) runtime_not_ready: Option<String>,
    /// Why pods get no network, if they get none.
    pub(crate) network_not_ready: Option<String>,
    /// `cgroupfs` or `systemd`; not every runtime says.
    pub(crate) cgroup_driver: Option<&'static str>,
}

/// A connection to a runtime.
#[derive(Clone, Debug)]
pub(crate) struct Cri {
    client: RuntimeServiceClient<Channel>,
    images: ImageServiceClient<Channel>,
}

impl Cri {
    /// Connects to `endpoint`, for example `unix:///run/containerd/containerd.sock`.
    pub(crate) async fn connect(endpoint: &str) -> Result<Self, RuntimeError> {
        let socket = socket_of(endpoint)?;
        open(&socket).await?;
        let path = socket.clone();
        let connector = tower::service_fn(move |_: Uri| {
            let path = path.clone();
            async move { tokio::net::UnixStream::connect(path).await.map(TokioIo::new) }
        });
        let channel = Endpoint::from_static("http://cri.invalid")
            .timeout(REMOVAL_LIMIT)
            .connect_with_connector(connector)
            .await
            .map_err(|error| RuntimeError::Refused { socket, reason: error.to_string() })?;
        Ok(Self {
            client: RuntimeServiceClient::new(channel.clone()),
            images: ImageServiceClient::new(channel),
        })
    }

    /// Asks who it is and whether it is ready.
    pub(crate) async fn facts(&mut self) -> Result<Facts, RuntimeError> {
        let version =
            self.client.version(question(VersionRequest::default())).await.map_err(not_cri)?.into_inner();
        let status = self
            .client
            .status(question(StatusRequest { verbose: true }))
            .await
            .map_err(not_cri)?
            .into_inner();
        let conditions = status.status.unwrap_or_default().conditions;
        let broken = |name: &str| {
            let condition = conditions.iter().find(|condition| condition.r#type == name)?;
            (!condition.status).then(|| format!("{}: {}", condition.reason, condition.message))
        };
        let from_config = status.info.get("config").and_then(|config| driver_of_containerd(config));
        Ok(Facts {
            name: format!("{} {}", version.runtime_name, version.runtime_version),
            runtime_not_ready: broken("RuntimeReady"),
            network_not_ready: broken("NetworkReady"),
            cgroup_driver: self.driver_by_rpc().await.or(from_config),
        })
    }

    /// What CRI-O and containerd 2 answer; older ones do not know the question.
    async fn driver_by_rpc(&mut self) -> Option<&'static str> {
        let answer = self.client.runtime_config(question(RuntimeConfigRequest {})).await.ok()?.into_inner();
        match answer.linux?.cgroup_driver {
            0 => Some("systemd"),
            1 => Some("cgroupfs"),
            _ => None,
        }
    }

    /// The sandboxes of Kubernetes pods, running or not.
    pub(crate) async fn pods(&mut self) -> Result<Vec<PodSandbox>, RuntimeError> {
        let listed = self
            .client
            .list_pod_sandbox(question(ListPodSandboxRequest::default()))
            .await
            .map_err(not_cri)?;
        let pods = listed.into_inner().items.into_iter();
        Ok(pods.filter(|pod| pod.labels.contains_key(POD_UID)).collect())
    }

    /// Stops and removes a pod with its containers and its network.
    pub(crate) async fn remove_pod(&mut self, id: &str) -> Result<(), NotRemoved> {
        let pod_sandbox_id = id.to_owned();
        self.client
            .stop_pod_sandbox(StopPodSandboxRequest { pod_sandbox_id: pod_sandbox_id.clone() })
            .await
            .map_err(not_removed)?;
        self.client
            .remove_pod_sandbox(RemovePodSandboxRequest { pod_sandbox_id })
            .await
            .map_err(not_removed)?;
        Ok(())
    }

    /// Whether the image half of CRI answers too.
    pub(crate) async fn has_images(&mut self) -> Result<(), RuntimeError> {
        self.images
            .list_images(question(k8s_cri::v1::ListImagesRequest::default()))
            .await
            .map_err(not_cri)?;
        Ok(())
    }
}

/// A request that is answered at once by a runtime that works.
fn question<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(ANSWER_LIMIT);
    request
}

fn not_removed(status: tonic::Status) -> NotRemoved {
    NotRemoved(status.message().to_owned())
}

fn not_cri(status: tonic::Status) -> RuntimeError {
    RuntimeError::NotCri(status.message().to_owned())
}

/// Whether somebody accepts connections on a socket.
pub(crate) async fn open(socket: &Path) -> Result<(), RuntimeError> {
    if !socket.exists() {
        return Err(RuntimeError::Missing(socket.to_owned()));
    }
    match tokio::net::UnixStream::connect(socket).await {
        Ok(_) => Ok(()),
        Err(error) => Err(RuntimeError::Refused { socket: socket.to_owned(), reason: error.to_string() }),
    }
}

pub(crate) fn socket_of(endpoint: &str) -> Result<PathBuf, RuntimeError> {
    let path = endpoint.strip_prefix("unix://").unwrap_or(endpoint);
    if path.starts_with('/') {
        Ok(PathBuf::from(path))
    } else {
        Err(RuntimeError::Endpoint(endpoint.to_owned()))
    }
}

/// containerd puts its CRI configuration as JSON into a verbose status.
fn driver_of_containerd(config: &str) -> Option<&'static str> {
    let config: serde_json::Value = serde_json::from_str(config).ok()?;
    let containerd = &config["containerd"];
    let default = containerd["defaultRuntimeName"].as_str().unwrap_or("runc");
    let systemd = containerd["runtimes"][default]["options"]["SystemdCgroup"].as_bool().unwrap_or(false);
    config.get("containerd").map(|_| if systemd { "systemd" } else { "cgroupfs" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containerd_tells_its_cgroup_driver_in_its_configuration() {
        let config = |systemd: bool| {
            format!(
                r#"{{"containerd":{{"defaultRuntimeName":"runc","runtimes":{{"runc":{{"options":{{"SystemdCgroup":{systemd}}}}}}}}}}}"#
            )
        };
        assert_eq!(driver_of_containerd(&config(true)), Some("systemd"));
        assert_eq!(driver_of_containerd(&config(false)), Some("cgroupfs"));
        assert_eq!(driver_of_containerd(r#"{"containerd":{}}"#), Some("cgroupfs"));
        assert_eq!(driver_of_containerd("{}"), None);
    }

    #[tokio::test]
    async fn a_runtime_that_is_not_there_is_told_from_one_that_does_not_answer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cri.sock");
        let endpoint = format!("unix://{}", path.display());
        assert!(matches!(Cri::connect(&endpoint).await, Err(RuntimeError::Missing(_))));
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(matches!(Cri::connect(&endpoint).await, Err(RuntimeError::Refused { .. })));
        assert!(matches!(Cri::connect("tcp://1.2.3.4:5").await, Err(RuntimeError::Endpoint(_))));
    }
}
