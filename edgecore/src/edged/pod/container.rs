//! What the runtime is told to make a container.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::Duration;

use k8s_cri::v1::{ContainerConfig, ContainerMetadata, ImageSpec, KeyValue, LinuxContainerConfig, Mount};
use k8s_openapi::api::core::v1::{Container, Pod};

use super::env::{self, ConfigError};
use super::{hash, policy, resources, security};
use crate::edged::config::Settings;
use crate::edged::downward::Facts;
use crate::edged::objects::Objects;
use crate::edged::runtime::{ContainerId, Image, labels};

/// Everything a container is made from.
#[derive(Clone, Copy)]
pub struct Ingredients<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// The container in it.
    pub container: &'a Container,
    /// How often it was restarted before.
    pub restarts: u32,
    /// What it has to wait if it ends.
    pub back_off: Duration,
    /// The image as it is present.
    pub image: &'a Image,
    /// Config maps and secrets.
    pub objects: &'a Objects,
    /// What the downward API tells.
    pub facts: &'a Facts,
    /// The node's settings.
    pub settings: &'a Settings,
    /// Whether the host has cgroup v2 only.
    pub unified: bool,
    /// The container whose processes it is to see.
    pub target: Option<&'a ContainerId>,
}

/// The runtime's instructions; `mounts` come from the volumes.
pub fn config(from: Ingredients<'_>, mounts: Vec<Mount>) -> Result<ContainerConfig, ConfigError> {
    let Ingredients { pod, container, .. } = from;
    let environment = env::of(pod, container, from.objects, from.facts)?;
    let known: BTreeMap<String, String> = environment.iter().cloned().collect();
    let expand = |list: &Option<Vec<String>>| -> Vec<String> {
        list.iter().flatten().map(|text| env::expand(text, &known)).collect()
    };
    let limits = resources::of(pod, container, from.settings, from.facts.machine_memory, from.unified)
        .map_err(|error| {
            ConfigError::Refused(format!("resources of container {}: {error}", container.name))
        })?;
    Ok(ContainerConfig {
        metadata: Some(ContainerMetadata { name: container.name.clone(), attempt: from.restarts }),
        image: Some(ImageSpec {
            image: from.image.id.clone(),
            user_specified_image: container.image.clone().unwrap_or_default(),
            ..ImageSpec::default()
        }),
        command: expand(&container.command),
        args: expand(&container.args),
        working_dir: container.working_dir.clone().unwrap_or_default(),
        envs: environment.into_iter().map(|(key, value)| KeyValue { key, value }).collect(),
        mounts,
        labels: container_labels(pod, container),
        annotations: annotations(from),
        log_path: log_path(&container.name, from.restarts),
        stdin: container.stdin.unwrap_or(false),
        stdin_once: container.stdin_once.unwrap_or(false),
        tty: container.tty.unwrap_or(false),
        linux: Some(LinuxContainerConfig {
            resources: Some(limits),
            security_context: Some(security::of(pod, container, from.image, from.target)?),
        }),
        ..ContainerConfig::default()
    })
}

/// Where the log lies below the pod's log directory.
pub fn log_path(container: &str, restarts: u32) -> String {
    format!("{container}/{restarts}.log")
}

fn container_labels(pod: &Pod, container: &Container) -> HashMap<String, String> {
    let text = |part: &Option<String>| part.clone().unwrap_or_default();
    let meta = &pod.metadata;
    HashMap::from([
        (labels::POD_NAME.into(), text(&meta.name)),
        (labels::POD_NAMESPACE.into(), text(&meta.namespace)),
        (labels::POD_UID.into(), text(&meta.uid)),
        (labels::CONTAINER_NAME.into(), container.name.clone()),
    ])
}

fn annotations(from: Ingredients<'_>) -> HashMap<String, String> {
    let Ingredients { pod, container, .. } = from;
    let path = container.termination_message_path.as_deref().unwrap_or(DEFAULT_TERMINATION_PATH);
    let policy = container.termination_message_policy.as_deref().unwrap_or("File");
    HashMap::from([
        (labels::CONTAINER_HASH.into(), hash::of(container)),
        (labels::RESTART_COUNT.into(), from.restarts.to_string()),
        (labels::TERMINATION_PATH.into(), path.to_owned()),
        (labels::TERMINATION_POLICY.into(), policy.to_owned()),
        (labels::GRACE.into(), policy::grace(pod).as_secs().to_string()),
        (labels::BACK_OFF.into(), from.back_off.as_secs().to_string()),
    ])
}

/// Where a container's last words are read from.
pub const DEFAULT_TERMINATION_PATH: &str = "/dev/termination-log";

/// A bind mount of a host path.
pub fn bind(host: &Path, inside: &str, read_only: bool) -> Mount {
    Mount {
        container_path: inside.to_owned(),
        host_path: host.to_string_lossy().into_owned(),
        readonly: read_only,
        ..Mount::default()
    }
}
