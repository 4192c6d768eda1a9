//! Which kind of container runtime is used: named (`modules.edged.containerRuntime`, `keadm join --runtimetype`), or told
//! from its socket.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::kubelet::CONTAINERD_SOCKET;

/// Where a Docker engine listens.
pub const DOCKER_SOCKET: &str = "unix:///var/run/docker.sock";

/// What somebody has written about the runtime.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RuntimeType {
    /// Nothing: the socket tells.
    #[default]
    Auto,
    /// `docker`: the Docker Engine API.
    Docker,
    /// `remote`: CRI, as containerd, CRI-O and cri-dockerd have it.
    Remote,
}

/// The protocol that edged speaks with the runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RuntimeApi {
    /// The Docker Engine API.
    Docker,
    /// CRI v1.
    Cri,
}

/// Neither `docker` nor `remote`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no runtime type: write docker (Docker Engine) or remote (CRI: containerd, CRI-O)")]
pub struct UnknownRuntime(String);

impl RuntimeType {
    /// The protocol and the socket to speak it on. A Docker engine that was asked for by name only listens where it
    /// always does.
    pub fn resolve(self, endpoint: &str) -> (RuntimeApi, String) {
        let api = match self {
            Self::Docker => RuntimeApi::Docker,
            Self::Remote => RuntimeApi::Cri,
            Self::Auto if is_docker(endpoint) => RuntimeApi::Docker,
            Self::Auto => RuntimeApi::Cri,
        };
        // dockershim's socket is the default of old KubeEdge files.
        let unset =
            endpoint.is_empty() || endpoint == CONTAINERD_SOCKET || endpoint.ends_with("dockershim.sock");
        let endpoint = if api == RuntimeApi::Docker && unset { DOCKER_SOCKET } else { endpoint };
        (api, endpoint.to_owned())
    }
}

/// Whether a Docker engine listens on a socket of that name; cri-dockerd has "docker" in its name, but speaks CRI. The
/// directory does not count: the engine's own containerd listens below `/run/docker`.
fn is_docker(endpoint: &str) -> bool {
    let name = endpoint.rsplit('/').next().unwrap_or_default();
    name.contains("docker") && !name.contains("cri-docker")
}

impl FromStr for RuntimeType {
    type Err = UnknownRuntime;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "" => Ok(Self::Auto),
            "docker" => Ok(Self::Docker),
            "remote" => Ok(Self::Remote),
            other => Err(UnknownRuntime(other.to_owned())),
        }
    }
}

impl fmt::Display for RuntimeType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "",
            Self::Docker => "docker",
            Self::Remote => "remote",
        })
    }
}

impl Serialize for RuntimeType {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RuntimeType {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_tells_unless_the_runtime_is_named() {
        let of = |kind: RuntimeType, endpoint: &str| kind.resolve(endpoint);
        let (docker, cri) = (RuntimeApi::Docker, RuntimeApi::Cri);
        assert_eq!(of(RuntimeType::Auto, DOCKER_SOCKET), (docker, DOCKER_SOCKET.into()));
        assert_eq!(of(RuntimeType::Auto, CONTAINERD_SOCKET), (cri, CONTAINERD_SOCKET.into()));
        assert_eq!(of(RuntimeType::Auto, "unix:///run/cri-dockerd.sock").0, cri);
        assert_eq!(of(RuntimeType::Auto, "unix:///run/docker/containerd/containerd.sock").0, cri);
        assert_eq!(of(RuntimeType::Auto, "unix:///var/run/dockershim.sock"), (docker, DOCKER_SOCKET.into()));
        assert_eq!(of(RuntimeType::Docker, CONTAINERD_SOCKET), (docker, DOCKER_SOCKET.into()));
        assert_eq!(of(RuntimeType::Docker, "unix:///my/d.sock"), (docker, "unix:///my/d.sock".into()));
        assert_eq!(of(RuntimeType::Remote, DOCKER_SOCKET), (cri, DOCKER_SOCKET.into()));
    }

    #[test]
    fn what_is_neither_is_refused_with_what_could_be_written() {
        let error = "podman".parse::<RuntimeType>().expect_err("unknown");
        assert!(error.to_string().contains("docker (Docker Engine) or remote"), "{error}");
    }
}
