//! What is observed of a runtime.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::path::PathBuf;

use jiff::Timestamp;

/// UID of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PodUid(pub String);

/// Identity of a sandbox inside the runtime.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SandboxId(pub String);

/// Identity of a container inside the runtime.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContainerId(pub String);

impl fmt::Display for PodUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for SandboxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The namespaces, network and cgroup a pod's containers share.
#[derive(Clone, Debug, PartialEq)]
pub struct Sandbox {
    /// Identity.
    pub id: SandboxId,
    /// The pod it was made for.
    pub uid: PodUid,
    /// The pod's name.
    pub name: String,
    /// The pod's namespace.
    pub namespace: String,
    /// How many sandboxes the pod had before.
    pub attempt: u32,
    /// When it was made.
    pub created: Timestamp,
    /// Whether containers can be started in it.
    pub ready: bool,
}

/// How a runtime makes the networks of its sandboxes, and which are in use.
#[derive(Clone, Debug)]
pub struct Networks {
    /// The folder in which network namespaces are held open.
    pub namespaces: PathBuf,
    /// Namespaces of sandboxes.
    pub used: BTreeSet<PathBuf>,
    /// All sandboxes, whoever asked for them.
    pub sandboxes: BTreeSet<String>,
    /// The folder of CNI's plugins.
    pub plugins: PathBuf,
    /// CNI's lists of plugins, as they are written.
    pub configurations: Vec<serde_json::Value>,
}

/// What a runtime knows of what its helpers hold.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    /// Those of the containers asked for that there are, sandboxes included.
    pub containers: BTreeSet<String>,
    /// The first process of everything that runs, whoever asked for it.
    pub processes: BTreeSet<i32>,
}

/// One container.
#[derive(Clone, Debug, PartialEq)]
pub struct Container {
    /// Identity.
    pub id: ContainerId,
    /// The sandbox it was made in.
    pub sandbox: SandboxId,
    /// The pod it belongs to.
    pub uid: PodUid,
    /// Its name in the pod.
    pub name: String,
    /// How many containers of that name were made before.
    pub attempt: u32,
    /// When it was made.
    pub created: Timestamp,
    /// What it does now.
    pub state: ContainerState,
    /// Image as asked for.
    pub image: String,
    /// Image as resolved by the runtime.
    pub image_ref: String,
    /// Labels given at creation.
    pub labels: HashMap<String, String>,
    /// Annotations given at creation.
    pub annotations: HashMap<String, String>,
    /// The file on the host that receives its last words, if it was mounted.
    pub last_words: Option<PathBuf>,
}

/// What a container does.
#[derive(Clone, Debug, PartialEq)]
pub enum ContainerState {
    /// Made, not started.
    Created,
    /// Its process runs since then.
    Running {
        /// When it was started.
        started: Timestamp,
    },
    /// Its process has ended.
    Exited(Exit),
    /// The runtime cannot tell, for instance after its own crash.
    Unknown,
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Exit {
    /// Exit code, 128 + signal when killed.
    pub code: i32,
    /// `Completed`, `Error`, `OOMKilled`, or the runtime's word.
    pub reason: String,
    /// The runtime's message, or the container's last words.
    pub message: String,
    /// When it had been started; the epoch when it never ran.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
}

impl Container {
    /// Whether its process runs.
    pub fn running(&self) -> bool {
        matches!(self.state, ContainerState::Running { .. })
    }

    /// How it ended, if it did.
    pub fn exit(&self) -> Option<&Exit> {
        match &self.state {
            ContainerState::Exited(exit) => Some(exit),
            _ => None,
        }
    }

    /// How often it had been restarted, as recorded with it.
    pub fn restarts(&self) -> u32 {
        self.annotations
            .get(super::labels::RESTART_COUNT)
            .and_then(|n| n.parse().ok())
            .unwrap_or(self.attempt)
    }
}

/// An image that is present.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Image {
    /// Identity by content.
    pub id: String,
    /// Digests it is known by in registries.
    pub digests: Vec<String>,
    /// Names it is known by.
    pub tags: Vec<String>,
    /// The runtime itself needs it.
    pub pinned: bool,
    /// Size on disk in bytes.
    pub size: u64,
    /// User id the image asks for.
    pub uid: Option<i64>,
    /// User name the image asks for, when it gives no number.
    pub username: String,
}

/// Name and version of a runtime.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Version {
    /// Such as `containerd`.
    pub name: String,
    /// Such as `1.7.2`.
    pub version: String,
}

/// Whether a runtime can run pods.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Health {
    /// Why it cannot run containers.
    pub runtime: Option<String>,
    /// Why it cannot give pods a network.
    pub network: Option<String>,
}
