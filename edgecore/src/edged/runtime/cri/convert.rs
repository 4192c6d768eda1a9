//! CRI messages into our observed types. What lacks the pod labels was not made by a kubelet and is not ours.

use std::net::IpAddr;
use std::path::PathBuf;

use jiff::Timestamp;
use k8s_cri::v1 as cri;

use super::super::{
    Container, ContainerId, ContainerState, Exit, Health, Image, PodUid, Sandbox, SandboxId, labels,
};

pub(super) fn time(nanos: i64) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(nanos)).unwrap_or(Timestamp::UNIX_EPOCH)
}

pub(super) fn sandbox(item: cri::PodSandbox) -> Option<Sandbox> {
    let metadata = item.metadata?;
    item.labels.get(labels::POD_UID)?;
    Some(Sandbox {
        id: SandboxId(item.id),
        uid: PodUid(metadata.uid),
        name: metadata.name,
        namespace: metadata.namespace,
        attempt: metadata.attempt,
        created: time(item.created_at),
        ready: item.state == cri::PodSandboxState::SandboxReady as i32,
    })
}

pub(super) fn container(item: cri::Container) -> Option<Container> {
    let metadata = item.metadata?;
    let created = time(item.created_at);
    let state = match cri::ContainerState::try_from(item.state) {
        Ok(cri::ContainerState::ContainerCreated) => ContainerState::Created,
        Ok(cri::ContainerState::ContainerRunning) => ContainerState::Running { started: created },
        Ok(cri::ContainerState::ContainerExited) => ContainerState::Exited(Exit {
            code: 0,
            reason: String::new(),
            message: String::new(),
            started: created,
            finished: created,
        }),
        _ => ContainerState::Unknown,
    };
    Some(Container {
        id: ContainerId(item.id),
        sandbox: SandboxId(item.pod_sandbox_id),
        uid: PodUid(item.labels.get(labels::POD_UID)?.clone()),
        name: item.labels.get(labels::CONTAINER_NAME).cloned().unwrap_or(metadata.name),
        attempt: metadata.attempt,
        created,
        state,
        image: item.image.map(|image| image.image).unwrap_or_default(),
        image_ref: item.image_ref,
        labels: item.labels,
        annotations: item.annotations,
        last_words: None,
    })
}

/// The sandbox is not part of a status: the caller fills it in from the list.
pub(super) fn container_status(item: cri::ContainerStatus) -> Option<Container> {
    let metadata = item.metadata?;
    let started = time(item.started_at);
    let last_words = item.annotations.get(labels::TERMINATION_PATH).and_then(|path| {
        let mount = item.mounts.iter().find(|mount| mount.container_path == *path)?;
        Some(PathBuf::from(&mount.host_path))
    });
    let state = match cri::ContainerState::try_from(item.state) {
        Ok(cri::ContainerState::ContainerCreated) => ContainerState::Created,
        Ok(cri::ContainerState::ContainerRunning) => ContainerState::Running { started },
        Ok(cri::ContainerState::ContainerExited) => ContainerState::Exited(Exit {
            code: item.exit_code,
            reason: item.reason,
            message: item.message,
            started,
            finished: time(item.finished_at),
        }),
        _ => ContainerState::Unknown,
    };
    Some(Container {
        id: ContainerId(item.id),
        sandbox: SandboxId(String::new()),
        uid: PodUid(item.labels.get(labels::POD_UID)?.clone()),
        name: item.labels.get(labels::CONTAINER_NAME).cloned().unwrap_or(metadata.name),
        attempt: metadata.attempt,
        created: time(item.created_at),
        state,
        image: item.image.map(|image| image.image).unwrap_or_default(),
        image_ref: item.image_ref,
        labels: item.labels,
        annotations: item.annotations,
        last_words,
    })
}

pub(super) fn addresses(network: cri::PodSandboxNetworkStatus) -> Vec<IpAddr> {
    std::iter::once(network.ip)
        .chain(network.additional_ips.into_iter().map(|extra| extra.ip))
        .filter_map(|ip| ip.parse().ok())
        .collect()
}

pub(super) fn image(image: cri::Image) -> Image {
    Image {
        id: image.id,
        digests: image.repo_digests,
        tags: image.repo_tags,
        pinned: image.pinned,
        size: image.size,
        uid: image.uid.map(|uid| uid.value),
        username: image.username,
    }
}

pub(super) fn health(answer: cri::StatusResponse) -> Health {
    let mut health = Health::default();
    let Some(status) = answer.status else {
        health.runtime = Some("the runtime reports no status".into());
        return health;
    };
    for condition in status.conditions.into_iter().filter(|condition| !condition.status) {
        let words = format!("{}: {}", condition.reason, condition.message);
        match condition.r#type.as_str() {
            "NetworkReady" => {
                health.network = Some(format!("{words}. Put a CNI configuration into /etc/cni/net.d"));
            }
            _ => health.runtime = Some(words),
        }
    }
    health
}

/// The image of sandboxes, as containerd tells it in its verbose status. Old ones do not pin it, and where nothing can be
/// pulled no pod would start without it.
pub(super) fn sandbox_image(answer: &cri::StatusResponse) -> Option<String> {
    let config: serde_json::Value = serde_json::from_str(answer.info.get("config")?).ok()?;
    config["sandboxImage"].as_str().map(str::to_owned)
}

pub(super) fn usage(filesystem: cri::FilesystemUsage) -> Option<(String, u64)> {
    Some((filesystem.fs_id?.mountpoint, filesystem.used_bytes.map_or(0, |bytes| bytes.value)))
}
