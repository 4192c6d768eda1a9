//! What a pod uses now.

use std::path::Path;

use k8s_openapi::api::core::v1::Pod;
use proto::quantity;

use super::pressure::Signal;
use crate::edged::cgroups;
use crate::edged::config::Settings;
use crate::edged::pod::{policy, sandbox};

/// Files looked at for one pod; a pod with more uses a lot in any case.
const MOST_FILES: usize = 200_000;

/// What the pod uses of the resource. Reads files: not for an async task.
pub(super) fn of(pod: &Pod, signal: Signal, settings: &Settings) -> u64 {
    match signal {
        Signal::Memory => cgroups::memory(pod, settings).unwrap_or(0),
        Signal::Pids => cgroups::pids(pod, settings).unwrap_or(0),
        _ => {
            let volumes = settings.pod_dir(pod.metadata.uid.as_deref().unwrap_or_default());
            let mut left = MOST_FILES;
            let dirs = [volumes, sandbox::log_directory(pod, settings)];
            let inodes = matches!(signal, Signal::NodeFsInodes | Signal::ImageFsInodes);
            dirs.iter().map(|dir| tree(dir, inodes, &mut left)).sum()
        }
    }
}

/// What the pod asked for.
pub(super) fn request(pod: &Pod, signal: Signal) -> u64 {
    let name = match signal {
        Signal::Memory => "memory",
        Signal::NodeFs | Signal::ImageFs => "ephemeral-storage",
        _ => return 0,
    };
    let of_container = |container: &k8s_openapi::api::core::v1::Container| {
        let resources = container.resources.as_ref()?;
        let requests = resources.requests.as_ref().and_then(|requests| requests.get(name));
        let limits = resources.limits.as_ref().and_then(|limits| limits.get(name));
        quantity::whole(&requests.or(limits)?.0).ok()
    };
    let all: i64 = policy::spec(pod).containers.iter().filter_map(of_container).sum();
    u64::try_from(all).unwrap_or(0)
}

/// Bytes on disk below a directory of one pod. Reads files: not for an async task.
pub(in crate::edged) fn bytes(dir: &Path) -> u64 {
    tree(dir, false, &mut { MOST_FILES })
}

/// Bytes on disk, or files, below a directory; mounts of others are not entered.
fn tree(dir: &Path, inodes: bool, left: &mut usize) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(top) = std::fs::symlink_metadata(dir) else { return 0 };
    let mut sum = 0_u64;
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            let Ok(meta) = entry.path().symlink_metadata() else { continue };
            if meta.dev() != top.dev() || *left == 0 {
                continue;
            }
            *left -= 1;
            sum = sum.saturating_add(if inodes { 1 } else { meta.blocks() * 512 });
            if meta.is_dir() {
                open.push(entry.path());
            }
        }
    }
    sum
}
