//! The runtime under a test's node, and what a test asks of it behind edged's back.

#![allow(clippy::expect_used, clippy::panic, reason = "a test helper fails by panicking")]

use std::path::Path;
use std::time::Duration;

use e2e::{Containerd, Daemon, Docker};
use edgecore::edged::runtime::cri::Cri;
use edgecore::edged::runtime::{ContainerId, ContainerRuntime};

use super::cri_only::Door;

/// Which runtime a test runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Containerd,
    Docker,
    /// containerd behind a door that lets through CRI alone.
    CriOnly,
}

/// A private runtime.
pub(crate) enum Engine {
    Containerd(Containerd),
    Docker(Docker),
    CriOnly(Containerd, Door),
}

/// Makes each of these functions a test on each runtime.
macro_rules! on_every_runtime {
    ($($name:ident),+ $(,)?) => {
        mod containerd {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(crate::engine::Kind::Containerd).await;
            })+
        }
        mod docker {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(crate::engine::Kind::Docker).await;
            })+
        }
    };
}
pub(crate) use on_every_runtime;

/// Makes each of these functions a test on a runtime that serves CRI and nothing else.
macro_rules! on_cri_alone {
    ($($name:ident),+ $(,)?) => {
        mod cri_alone {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(crate::engine::Kind::CriOnly).await;
            })+
        }
    };
}
pub(crate) use on_cri_alone;

impl Engine {
    pub(crate) async fn start(kind: Kind, dir: &Path) -> Self {
        match kind {
            Kind::Containerd => Self::Containerd(Containerd::start(dir).await.expect("containerd starts")),
            Kind::Docker => Self::Docker(Docker::start(dir).await.expect("dockerd starts")),
            Kind::CriOnly => {
                let containerd = Containerd::start(dir).await.expect("containerd starts");
                let door = Door::open(dir, containerd.socket());
                Self::CriOnly(containerd, door)
            }
        }
    }

    pub(crate) fn endpoint(&self) -> String {
        match self {
            Self::Containerd(containerd) => containerd.endpoint(),
            Self::CriOnly(_, door) => door.endpoint(),
            Self::Docker(docker) => docker.endpoint(),
        }
    }

    pub(crate) fn cgroup_root(&self) -> String {
        match self {
            Self::Containerd(containerd) | Self::CriOnly(containerd, _) => containerd.cgroup_root(),
            Self::Docker(docker) => docker.cgroup_root(),
        }
    }

    pub(crate) fn log(&self) -> String {
        match self {
            Self::Containerd(containerd) | Self::CriOnly(containerd, _) => containerd.log(),
            Self::Docker(docker) => docker.log(),
        }
    }

    pub(crate) fn add_image(&self, name: &str, command: &[&str]) {
        match self {
            Self::Containerd(containerd) | Self::CriOnly(containerd, _) => {
                containerd.add_image(name, command)
            }
            Self::Docker(docker) => docker.add_image(name, command),
        }
        .expect("an image");
    }

    /// Pushes an image to its registry, and forgets it here.
    pub(crate) fn push_image(&self, name: &str, user: &str, password: &str) {
        match self {
            Self::Containerd(containerd) | Self::CriOnly(containerd, _) => {
                containerd.push(name, user, password)
            }
            Self::Docker(docker) => docker.push(name, user, password),
        }
        .expect("pushed");
    }

    /// Names of the images that are there, one a line.
    pub(crate) fn images(&self) -> String {
        match self {
            Self::Containerd(containerd) | Self::CriOnly(containerd, _) => {
                containerd.ctr(&["images", "ls", "-q"])
            }
            Self::Docker(docker) => docker.docker(&["images", "--format", "{{.Repository}}:{{.Tag}}"]),
        }
        .expect("images")
    }

    /// All containers, sandboxes included.
    pub(crate) fn containers(&self) -> Vec<String> {
        lines(match self {
            Self::Containerd(containerd) | Self::CriOnly(containerd, _) => {
                containerd.ctr(&["containers", "ls", "-q"])
            }
            Self::Docker(docker) => docker.docker(&["ps", "-aq", "--no-trunc"]),
        })
    }

    /// Those that run.
    pub(crate) fn running(&self) -> Vec<String> {
        lines(match self {
            Self::Containerd(containerd) | Self::CriOnly(containerd, _) => {
                containerd.ctr(&["tasks", "ls", "-q"])
            }
            Self::Docker(docker) => docker.docker(&["ps", "-q", "--no-trunc"]),
        })
    }

    /// SIGKILL to a container's first process.
    pub(crate) fn kill_container(&self, id: &str) {
        match self {
            Self::Containerd(containerd) | Self::CriOnly(containerd, _) => {
                containerd.ctr(&["tasks", "kill", "-s", "KILL", id])
            }
            Self::Docker(docker) => docker.docker(&["kill", id]),
        }
        .expect("killed");
    }

    /// Runs a command in a running container.
    pub(crate) fn exec(&self, id: &str, command: &[&str]) -> String {
        match self {
            Self::Containerd(containerd) | Self::CriOnly(containerd, _) => {
                exec_by_cri(&containerd.endpoint(), id, command)
            }
            Self::Docker(docker) => {
                docker.docker(&[&["exec", id], command].concat()).expect("the command runs")
            }
        }
    }

    /// The runtime crashes; containers go on.
    pub(crate) fn kill(&mut self) {
        match self {
            Self::Containerd(containerd) | Self::CriOnly(containerd, _) => containerd.kill(),
            Self::Docker(docker) => docker.kill(),
        }
    }

    /// The runtime stops answering, its socket stays.
    pub(crate) fn hang(&self) {
        self.daemon().hang().expect("stopped");
    }

    /// It goes on.
    pub(crate) fn wake(&self) {
        self.daemon().wake().expect("continued");
    }

    fn daemon(&self) -> &Daemon {
        match self {
            Self::Containerd(containerd) | Self::CriOnly(containerd, _) => containerd.daemon(),
            Self::Docker(docker) => docker.daemon(),
        }
    }

    pub(crate) async fn restart(&mut self) {
        match self {
            Self::Containerd(containerd) | Self::CriOnly(containerd, _) => containerd.restart().await,
            Self::Docker(docker) => docker.restart().await,
        }
        .expect("it comes back");
    }
}

fn lines(text: anyhow::Result<String>) -> Vec<String> {
    text.expect("a list").lines().map(str::to_owned).collect()
}

/// Not by `ctr tasks exec`: it ends before it has read all that a short command printed (containerd pull request 13931).
fn exec_by_cri(endpoint: &str, id: &str, command: &[&str]) -> String {
    let limit = Duration::from_secs(60);
    let command = command.iter().map(|&word| word.to_owned()).collect();
    let run = async {
        let cri = Cri::new(endpoint, None, limit).expect("an endpoint");
        cri.exec(&ContainerId(id.to_owned()), command, limit).await.expect("containerd answers")
    };
    let (code, output) = tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(run));
    assert_eq!(code, 0, "{output}");
    output
}
