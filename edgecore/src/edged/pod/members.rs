//! The containers of a pod by the list that they stand in. A container's name is unique in its pod.

use std::borrow::Cow;

use k8s_openapi::api::core::v1::{Container, EphemeralContainer, Pod};

use super::policy;

/// The list that a container stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Before the others, or beside them as a sidecar.
    Init,
    /// What the pod is for.
    Main,
    /// Put into the pod to look around in it; never started again.
    Ephemeral,
}

impl Role {
    /// The list's name in a pod's `spec`.
    pub fn field(self) -> &'static str {
        match self {
            Self::Init => "initContainers",
            Self::Main => "containers",
            Self::Ephemeral => "ephemeralContainers",
        }
    }
}

/// The container of that name and the list that it stands in.
pub fn find<'a>(pod: &'a Pod, name: &str) -> Option<(Role, Cow<'a, Container>)> {
    let plain = |role: Role, list: &'a [Container]| {
        list.iter().find(|one| one.name == name).map(|one| (role, Cow::Borrowed(one)))
    };
    plain(Role::Init, policy::inits(pod))
        .or_else(|| plain(Role::Main, &policy::spec(pod).containers))
        .or_else(|| ephemeral(pod, name).map(|one| (Role::Ephemeral, Cow::Owned(as_container(one)))))
}

/// All ephemeral containers of the pod, as containers.
pub fn ephemerals(pod: &Pod) -> Vec<Container> {
    policy::spec(pod).ephemeral_containers.iter().flatten().map(as_container).collect()
}

/// The container whose processes the ephemeral container of that name is to see.
pub fn target<'a>(pod: &'a Pod, name: &str) -> Option<&'a str> {
    ephemeral(pod, name)?.target_container_name.as_deref().filter(|target| !target.is_empty())
}

fn ephemeral<'a>(pod: &'a Pod, name: &str) -> Option<&'a EphemeralContainer> {
    policy::spec(pod).ephemeral_containers.iter().flatten().find(|one| one.name == name)
}

/// The fields that both kinds have. Probes, hooks, ports and resources are refused by the API and would be ignored here.
fn as_container(from: &EphemeralContainer) -> Container {
    let from = from.clone();
    Container {
        name: from.name,
        image: from.image,
        image_pull_policy: from.image_pull_policy,
        command: from.command,
        args: from.args,
        working_dir: from.working_dir,
        env: from.env,
        env_from: from.env_from,
        volume_mounts: from.volume_mounts,
        volume_devices: from.volume_devices,
        termination_message_path: from.termination_message_path,
        termination_message_policy: from.termination_message_policy,
        security_context: from.security_context,
        stdin: from.stdin,
        stdin_once: from.stdin_once,
        tty: from.tty,
        ..Container::default()
    }
}
