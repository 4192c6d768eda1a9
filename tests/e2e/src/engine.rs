//! Either runtime, for tests that hold on both.

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::{Value, json};

use crate::{Containerd, Daemon, Docker, EdgeOptions, image::PAUSE};

/// Which runtime a test runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runtime {
    /// containerd, through CRI.
    Containerd,
    /// The Docker engine, through its own API.
    Docker,
}

/// A private runtime of either kind.
#[derive(Debug)]
pub enum Engine {
    /// See [`Containerd`].
    Containerd(Containerd),
    /// See [`Docker`].
    Docker(Docker),
}

impl Engine {
    /// Starts one with everything under `dir`.
    ///
    /// # Errors
    /// As [`Containerd::start`] and [`Docker::start`].
    pub async fn start(runtime: Runtime, dir: &Path) -> Result<Self> {
        Ok(match runtime {
            Runtime::Containerd => Self::Containerd(Containerd::start(dir).await?),
            Runtime::Docker => Self::Docker(Docker::start(dir).await?),
        })
    }

    /// A node `edge1` that runs its pods on it.
    #[must_use]
    pub fn options(&self) -> EdgeOptions {
        let overlay = match self {
            Self::Containerd(_) => Value::Null,
            Self::Docker(_) => json!({ "modules": { "edged": { "podSandboxImage": PAUSE } } }),
        };
        EdgeOptions {
            runtime: Some(self.socket()),
            cgroup_root: Some(self.cgroup_root()),
            overlay,
            ..EdgeOptions::default()
        }
    }

    /// The socket that edgecore is given.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        match self {
            Self::Containerd(containerd) => containerd.socket(),
            Self::Docker(docker) => docker.socket(),
        }
    }

    /// The socket as edgecore's configuration writes it.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// A cgroup root of its own for the pods of this test; removed with it.
    #[must_use]
    pub fn cgroup_root(&self) -> String {
        match self {
            Self::Containerd(containerd) => containerd.cgroup_root(),
            Self::Docker(docker) => docker.cgroup_root(),
        }
    }

    /// Builds a busybox image under `name` and loads it.
    ///
    /// # Errors
    /// When that fails.
    pub fn add_image(&self, name: &str, command: &[&str]) -> Result<()> {
        match self {
            Self::Containerd(containerd) => containerd.add_image(name, command),
            Self::Docker(docker) => docker.add_image(name, command),
        }
    }

    /// The same with content of its own, so that no other image has its layer.
    ///
    /// # Errors
    /// When that fails.
    pub fn add_image_holding(&self, name: &str, command: &[&str], own: &[u8]) -> Result<()> {
        match self {
            Self::Containerd(containerd) => containerd.add_image_holding(name, command, own),
            Self::Docker(docker) => docker.add_image_holding(name, command, own),
        }
    }

    /// Pushes an image that is here to its registry, and forgets it here.
    ///
    /// # Errors
    /// When that fails.
    pub fn push(&self, name: &str, user: &str, password: &str) -> Result<()> {
        match self {
            Self::Containerd(containerd) => containerd.push(name, user, password),
            Self::Docker(docker) => docker.push(name, user, password),
        }
    }

    /// Names of the images that are there, one a line.
    ///
    /// # Errors
    /// When the runtime does not answer.
    pub fn images(&self) -> Result<String> {
        match self {
            Self::Containerd(containerd) => containerd.ctr(&["images", "ls", "-q"]),
            Self::Docker(docker) => docker.docker(&["images", "--format", "{{.Repository}}:{{.Tag}}"]),
        }
    }

    /// Ids of all containers, sandboxes included, one a line.
    ///
    /// # Errors
    /// When the runtime does not answer.
    pub fn containers(&self) -> Result<String> {
        match self {
            Self::Containerd(containerd) => containerd.ctr(&["containers", "ls", "-q"]),
            Self::Docker(docker) => docker.docker(&["ps", "-aq", "--no-trunc"]),
        }
    }

    /// Ids of those that run.
    ///
    /// # Errors
    /// When the runtime does not answer.
    pub fn running(&self) -> Result<String> {
        match self {
            Self::Containerd(containerd) => containerd.ctr(&["tasks", "ls", "-q"]),
            Self::Docker(docker) => docker.docker(&["ps", "-q", "--no-trunc"]),
        }
    }

    /// Those that run, each with the id of its first process, in order: whoever was started anew is another one.
    ///
    /// # Errors
    /// When the runtime does not answer.
    pub fn tasks(&self) -> Result<Vec<String>> {
        let list = match self {
            Self::Containerd(containerd) => containerd.ctr(&["tasks", "ls"])?,
            Self::Docker(docker) => {
                let running = docker.docker(&["ps", "-q", "--no-trunc"])?;
                let ids: Vec<&str> = running.lines().collect();
                if ids.is_empty() {
                    return Ok(Vec::new());
                }
                let format =
                    ["inspect", "--format", "{{.Id}} {{.State.Pid}} {{if .State.Running}}RUNNING{{end}}"];
                docker.docker(&[&format, ids.as_slice()].concat())?
            }
        };
        let running = list.lines().filter(|line| line.ends_with("RUNNING"));
        let words = running.map(|line| line.split_whitespace().take(2).collect::<Vec<_>>().join(" "));
        let mut tasks: Vec<String> = words.collect();
        tasks.sort();
        Ok(tasks)
    }

    /// SIGKILL to the runtime alone, as a crash: containers go on under their shims.
    pub fn kill(&mut self) {
        match self {
            Self::Containerd(containerd) => containerd.kill(),
            Self::Docker(docker) => docker.kill(),
        }
    }

    /// Ends the runtime and everything that it runs at once, as a power cut does.
    pub fn power_off(&mut self) {
        match self {
            Self::Containerd(containerd) => containerd.power_off(),
            Self::Docker(docker) => docker.power_off(),
        }
    }

    /// Starts it again after [`Engine::kill`] or [`Engine::power_off`], and does not wait for it.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn respawn(&mut self) -> Result<()> {
        match self {
            Self::Containerd(containerd) => containerd.respawn(),
            Self::Docker(docker) => docker.respawn(),
        }
    }

    /// Starts it again after [`Engine::kill`] or [`Engine::power_off`] and waits until it answers.
    ///
    /// # Errors
    /// When it does not answer within 30 s.
    pub async fn restart(&mut self) -> Result<()> {
        match self {
            Self::Containerd(containerd) => containerd.restart().await,
            Self::Docker(docker) => docker.restart().await,
        }
    }

    /// The process.
    #[must_use]
    pub fn daemon(&self) -> &Daemon {
        match self {
            Self::Containerd(containerd) => containerd.daemon(),
            Self::Docker(docker) => docker.daemon(),
        }
    }
}
