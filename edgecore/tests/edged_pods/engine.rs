//! The runtime under a test's node, and what a test asks of it behind edged's back.

#![allow(clippy::expect_used, clippy::panic, reason = "a test helper fails by panicking")]

use std::path::Path;
use std::time::Duration;

use e2e::{Containerd, Docker, Runtime};
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

/// A private runtime, perhaps behind a door.
pub(crate) struct Engine {
    runtime: e2e::Engine,
    door: Option<Door>,
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
        let runtime = if kind == Kind::Docker { Runtime::Docker } else { Runtime::Containerd };
        let runtime = e2e::Engine::start(runtime, dir).await.expect("the runtime starts");
        let door = (kind == Kind::CriOnly).then(|| Door::open(dir, runtime.socket()));
        Self { runtime, door }
    }

    pub(crate) fn containerd(&self) -> &Containerd {
        let e2e::Engine::Containerd(containerd) = &self.runtime else {
            panic!("the test runs on containerd")
        };
        containerd
    }

    pub(crate) fn docker(&self) -> &Docker {
        let e2e::Engine::Docker(docker) = &self.runtime else { panic!("the test runs on Docker") };
        docker
    }

    pub(crate) fn door(&self) -> &Door {
        self.door.as_ref().expect("the test runs behind the door")
    }

    pub(crate) fn endpoint(&self) -> String {
        self.door.as_ref().map_or_else(|| self.runtime.endpoint(), Door::endpoint)
    }

    pub(crate) fn cgroup_root(&self) -> String {
        self.runtime.cgroup_root()
    }

    pub(crate) fn log(&self) -> String {
        self.runtime.daemon().tail()
    }

    pub(crate) fn add_image(&self, name: &str, command: &[&str]) {
        self.runtime.add_image(name, command).expect("an image");
    }

    /// Pushes an image to its registry, and forgets it here.
    pub(crate) fn push_image(&self, name: &str, user: &str, password: &str) {
        self.runtime.push(name, user, password).expect("pushed");
    }

    /// Names of the images that are there, one a line.
    pub(crate) fn images(&self) -> String {
        self.runtime.images().expect("images")
    }

    /// All containers, sandboxes included.
    pub(crate) fn containers(&self) -> Vec<String> {
        lines(self.runtime.containers())
    }

    /// Those that run.
    pub(crate) fn running(&self) -> Vec<String> {
        lines(self.runtime.running())
    }

    /// SIGKILL to a container's first process.
    pub(crate) fn kill_container(&self, id: &str) {
        match &self.runtime {
            e2e::Engine::Containerd(containerd) => containerd.ctr(&["tasks", "kill", "-s", "KILL", id]),
            e2e::Engine::Docker(docker) => docker.docker(&["kill", id]),
        }
        .expect("killed");
    }

    /// Runs a command in a running container.
    pub(crate) fn exec(&self, id: &str, command: &[&str]) -> String {
        match &self.runtime {
            e2e::Engine::Containerd(containerd) => exec_by_cri(&containerd.endpoint(), id, command),
            e2e::Engine::Docker(docker) => {
                docker.docker(&[&["exec", id], command].concat()).expect("the command runs")
            }
        }
    }

    /// The runtime crashes; containers go on.
    pub(crate) fn kill(&mut self) {
        self.runtime.kill();
    }

    /// The runtime stops answering, its socket stays.
    pub(crate) fn hang(&self) {
        self.runtime.daemon().hang().expect("stopped");
    }

    /// It goes on.
    pub(crate) fn wake(&self) {
        self.runtime.daemon().wake().expect("continued");
    }

    pub(crate) async fn restart(&mut self) {
        self.runtime.restart().await.expect("it comes back");
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
