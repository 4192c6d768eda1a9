//! The pod's own cgroup, named as the kubelet names it, so that tools which look for it find it. The runtime makes it;
//! what it leaves empty behind is removed here.

pub mod limits;

use std::fs;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Pod;

use super::config::{CgroupDriver, Settings};
use super::pod::status::QosClass;

const MOUNT: &str = "/sys/fs/cgroup";

/// Whether the host has the unified hierarchy only.
pub fn is_v2() -> bool {
    Path::new(MOUNT).join("cgroup.controllers").exists()
}

/// The parent that the runtime puts a pod's containers under.
pub fn parent(pod: &Pod, settings: &Settings) -> String {
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let class = match QosClass::of(pod) {
        QosClass::Guaranteed => None,
        QosClass::Burstable => Some("burstable"),
        QosClass::BestEffort => Some("besteffort"),
    };
    match settings.cgroup_driver {
        CgroupDriver::Cgroupfs => {
            let root = settings.cgroup_root.trim_end_matches('/');
            let class = class.map(|class| format!("/{class}")).unwrap_or_default();
            format!("{root}/kubepods{class}/pod{uid}")
        }
        CgroupDriver::Systemd => {
            let class = class.map(|class| format!("-{class}")).unwrap_or_default();
            format!("kubepods{class}-pod{}.slice", uid.replace('-', "_"))
        }
    }
}

/// Memory that the pod would not give back: what it uses, without file pages that nobody touched lately.
pub fn memory(pod: &Pod, settings: &Settings) -> Option<u64> {
    let (usage, inactive) = match is_v2() {
        true => ("memory.current", "inactive_file"),
        false => ("memory.usage_in_bytes", "total_inactive_file"),
    };
    let dir = path(pod, settings, "memory");
    let used: u64 = fs::read_to_string(dir.join(usage)).ok()?.trim().parse().ok()?;
    let stat = fs::read_to_string(dir.join("memory.stat")).unwrap_or_default();
    let inactive = stat.lines().find_map(|line| line.strip_prefix(inactive)?.trim().parse::<u64>().ok());
    Some(used.saturating_sub(inactive.unwrap_or(0)))
}

/// Processes and threads of the pod.
pub fn pids(pod: &Pod, settings: &Settings) -> Option<u64> {
    fs::read_to_string(path(pod, settings, "pids").join("pids.current")).ok()?.trim().parse().ok()
}

/// The group of a container inside its pod's, as containerd, CRI-O and Docker name it; `runtime` is the scheme of its ids.
pub fn of_container(id: &str, runtime: &str, settings: &Settings) -> String {
    let scope = match runtime {
        "containerd" => "cri-containerd",
        "cri-o" => "crio",
        other => other,
    };
    match settings.cgroup_driver {
        CgroupDriver::Cgroupfs if runtime == "cri-o" => format!("crio-{id}"),
        CgroupDriver::Cgroupfs => id.to_owned(),
        CgroupDriver::Systemd => format!("{scope}-{id}.scope"),
    }
}

/// Where the pod's cgroup lies in the hierarchy of that controller.
pub fn path(pod: &Pod, settings: &Settings, controller: &str) -> PathBuf {
    place(&parent(pod, settings), settings.cgroup_driver, controller)
}

/// Where a group lies in the hierarchy of that controller.
fn place(group: &str, driver: CgroupDriver, controller: &str) -> PathBuf {
    let hierarchy = if is_v2() { PathBuf::from(MOUNT) } else { Path::new(MOUNT).join(controller) };
    if driver == CgroupDriver::Cgroupfs {
        return hierarchy.join(group.trim_start_matches('/'));
    }
    // systemd nests slices by the dashes in their names: a-b.slice lies in a.slice.
    let name = group.trim_end_matches(".slice");
    let ends = name.match_indices('-').map(|(at, _)| at).chain([name.len()]);
    ends.fold(hierarchy, |dir, end| dir.join(format!("{}.slice", &name[..end])))
}

/// Where pods' groups lie, by class.
const CLASSES: [&str; 3] = ["kubepods", "kubepods/burstable", "kubepods/besteffort"];

/// Whether the pod has a group in any hierarchy.
pub fn exists(uid: &str, settings: &Settings) -> bool {
    settings.cgroup_driver == CgroupDriver::Cgroupfs && groups(uid, settings).any(|path| path.exists())
}

/// Removes what is left of a pod's cgroups. Only empty ones can be removed, so nothing alive is hurt.
pub fn remove(uid: &str, settings: &Settings) {
    if settings.cgroup_driver == CgroupDriver::Systemd || uid.is_empty() {
        return;
    }
    groups(uid, settings).for_each(|path| remove_empty(&path));
}

/// Where a pod's group may lie.
fn groups(uid: &str, settings: &Settings) -> impl Iterator<Item = PathBuf> {
    let root = settings.cgroup_root.trim_matches('/');
    hierarchies().into_iter().flat_map(move |hierarchy| {
        CLASSES.map(|class| hierarchy.join(root).join(class).join(format!("pod{uid}")))
    })
}

/// Mount points of cgroup hierarchies: one on v2, one per controller on v1.
fn hierarchies() -> Vec<PathBuf> {
    if is_v2() {
        return vec![PathBuf::from(MOUNT)];
    }
    fs::read_dir(MOUNT)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect()
}

fn remove_empty(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_empty(&entry.path());
        }
    }
    // A group with processes in it refuses, which is right.
    fs::remove_dir(path).ok();
}
