//! Owns the seam to whatever runs containers: the trait [`ContainerRuntime`], its types and its errors.
//! May call: nothing of the house. Called by pod workers, the relist loop and the node status.
//!
//! What a pod should become is said in CRI's own messages (`PodSandboxConfig`, `ContainerConfig`): that vocabulary is
//! the one every runtime is translated to anyway. What is observed comes back in small types of our own, so that the
//! reconciler never sees a protobuf enum or a nanosecond integer.

pub mod cri;
pub mod docker;
mod error;
mod shared;
mod types;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;
use k8s_cri::v1::{AuthConfig, ContainerConfig, PodSandboxConfig};
use tokio::sync::mpsc;

pub use error::RuntimeError;
pub use types::{
    Container, ContainerId, ContainerState, Exit, Health, Image, Networks, PodUid, Sandbox, SandboxId, Tasks,
    Version,
};

/// The namespace in which containerd keeps what it makes for CRI.
pub const CRI_NAMESPACE: &str = "k8s.io";

/// Labels and annotations by which containers are found again, the kubelet's own names.
pub mod labels {
    /// Name of the pod a sandbox or container belongs to.
    pub const POD_NAME: &str = "io.kubernetes.pod.name";
    /// Namespace of that pod.
    pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
    /// UID of that pod: what adoption goes by.
    pub const POD_UID: &str = "io.kubernetes.pod.uid";
    /// Name of the container inside the pod.
    pub const CONTAINER_NAME: &str = "io.kubernetes.container.name";
    /// Annotation: hash of what makes a running container outdated when it changes.
    pub const CONTAINER_HASH: &str = "io.kubernetes.container.hash";
    /// Annotation: how often this container has been restarted.
    pub const RESTART_COUNT: &str = "io.kubernetes.container.restartCount";
    /// Annotation: where the container may leave its last words.
    pub const TERMINATION_PATH: &str = "io.kubernetes.container.terminationMessagePath";
    /// Annotation: `File` or `FallbackToLogsOnError`.
    pub const TERMINATION_POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";
    /// Annotation: seconds a pod is given to stop; known even when its object is not.
    pub const GRACE: &str = "io.kubernetes.pod.terminationGracePeriod";
    /// Annotation: how long to wait before the next start if this container dies. Kept with the container, so the
    /// back-off outlives edgecore without a byte written by edgecore.
    pub const BACK_OFF: &str = "skerry.dev/restart-back-off-seconds";
}

/// Something that runs pods. Every call has a deadline of its own and fails with words a user can act on.
#[async_trait]
pub trait ContainerRuntime: Send + Sync + 'static {
    /// Scheme in container ids of a status, such as `containerd`.
    fn kind(&self) -> String;

    /// Name and version of the runtime.
    async fn version(&self) -> Result<Version, RuntimeError>;

    /// Whether it can run pods now, and in its own words why not.
    async fn health(&self) -> Result<Health, RuntimeError>;

    /// Sandboxes made for pods, of one pod or of all.
    async fn sandboxes(&self, pod: Option<&PodUid>) -> Result<Vec<Sandbox>, RuntimeError>;

    /// Containers made for pods, of one pod or of all, without exit codes and times (cheap).
    async fn containers(&self, pod: Option<&PodUid>) -> Result<Vec<Container>, RuntimeError>;

    /// One container with everything that is known of it.
    async fn inspect(&self, id: &ContainerId) -> Result<Container, RuntimeError>;

    /// Addresses of a sandbox, first the primary one; empty on the host's network.
    async fn addresses(&self, id: &SandboxId) -> Result<Vec<IpAddr>, RuntimeError>;

    /// Makes a sandbox with its network.
    async fn run_sandbox(&self, config: PodSandboxConfig) -> Result<SandboxId, RuntimeError>;

    /// Ends what still runs in a sandbox and releases its network. May be repeated.
    async fn stop_sandbox(&self, id: &SandboxId) -> Result<(), RuntimeError>;

    /// Forgets a stopped sandbox and its containers. May be repeated.
    async fn remove_sandbox(&self, id: &SandboxId) -> Result<(), RuntimeError>;

    /// Makes a container inside a sandbox.
    async fn create_container(
        &self,
        sandbox: &SandboxId,
        config: ContainerConfig,
        sandbox_config: PodSandboxConfig,
    ) -> Result<ContainerId, RuntimeError>;

    /// Starts a created container; returns when its process runs.
    async fn start_container(&self, id: &ContainerId) -> Result<(), RuntimeError>;

    /// Asks a container to stop, kills it after `grace`; returns when it has ended. May be repeated.
    async fn stop_container(&self, id: &ContainerId, grace: Duration) -> Result<(), RuntimeError>;

    /// Forgets a container. May be repeated.
    async fn remove_container(&self, id: &ContainerId) -> Result<(), RuntimeError>;

    /// What the pod's containers have written into their root, in bytes. May read the disk: not often.
    async fn layers(&self, pod: &PodUid) -> Result<BTreeMap<ContainerId, u64>, RuntimeError>;

    /// Runs a command inside a container; returns its exit code and what it printed, cut to a few kilobytes.
    async fn exec(
        &self,
        id: &ContainerId,
        command: Vec<String>,
        limit: Duration,
    ) -> Result<(i32, String), RuntimeError>;

    /// An image that is present, or `None`.
    async fn image(&self, name: &str) -> Result<Option<Image>, RuntimeError>;

    /// Fetches an image; returns the reference to start containers with.
    async fn pull_image(
        &self,
        name: &str,
        auth: Option<AuthConfig>,
        sandbox: PodSandboxConfig,
    ) -> Result<String, RuntimeError>;

    /// All images that are present.
    async fn images(&self) -> Result<Vec<Image>, RuntimeError>;

    /// Forgets an image. May be repeated.
    async fn remove_image(&self, id: &str) -> Result<(), RuntimeError>;

    /// Goes on writing a container's log where its file should be, after that was moved. A runtime that turns its logs over by
    /// itself has nothing to do.
    async fn reopen_log(&self, _id: &ContainerId) -> Result<(), RuntimeError> {
        Ok(())
    }

    /// Bytes used by images, by the file system they lie on.
    async fn image_usage(&self) -> Result<Vec<(String, u64)>, RuntimeError>;

    /// How networks of sandboxes are made and which there are, of a runtime that may lose one. Many calls: not often.
    async fn networks(&self) -> Result<Option<Networks>, RuntimeError> {
        Ok(None)
    }

    /// Which of these containers there are, and what processes, of a runtime whose helpers may outlive its knowledge of them. Many
    /// calls: not often.
    async fn tasks(&self, _containers: &BTreeSet<String>) -> Result<Option<Tasks>, RuntimeError> {
        Ok(None)
    }

    /// Sends a nudge whenever a container may have changed, until the stream breaks. A runtime without events
    /// answers `Unsupported`, and the caller polls.
    async fn watch(&self, nudge: mpsc::Sender<()>) -> Result<(), RuntimeError>;
}
