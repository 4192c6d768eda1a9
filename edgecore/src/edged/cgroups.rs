//! The pod's own cgroup, named as the kubelet names it, so that tools which look for it find it. It is made by [`limits`], in
//! the way of the driver: as a directory, or as a slice of systemd's; what is empty once its pod is gone is removed here.

pub mod limits;
mod slices;

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
    let pod_group = format!("pod{}", pod.metadata.uid.as_deref().unwrap_or_default());
    let class = match QosClass::of(pod) {
        QosClass::Guaranteed => None,
        QosClass::Burstable => Some("burstable"),
        QosClass::BestEffort => Some("besteffort"),
    };
    let parts: Vec<&str> = ["kubepods"].into_iter().chain(class).chain([pod_group.as_str()]).collect();
    name(&parts, settings)
}

/// The group that these parts lead to from the root of the settings, as the runtime is told it.
pub fn name(parts: &[&str], settings: &Settings) -> String {
    let root = settings.cgroup_root.split('/').filter(|part| !part.is_empty());
    match settings.cgroup_driver {
        CgroupDriver::Cgroupfs => root.chain(parts.iter().copied()).map(|part| format!("/{part}")).collect(),
        CgroupDriver::Systemd => {
            let all = root.map(|part| part.trim_end_matches(".slice")).chain(parts.iter().copied());
            // A dash in a slice's name stands for a level.
            let all: Vec<String> = all.map(|part| part.replace('-', "_")).collect();
            format!("{}.slice", all.join("-"))
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

/// Where the group that these parts lead to lies in the hierarchy of that controller.
pub fn path_of(parts: &[&str], settings: &Settings, controller: &str) -> PathBuf {
    place(&name(parts, settings), settings.cgroup_driver, controller)
}

/// Where a group lies in the hierarchy of that controller.
fn place(group: &str, driver: CgroupDriver, controller: &str) -> PathBuf {
    let hierarchy = if is_v2() { PathBuf::from(MOUNT) } else { Path::new(MOUNT).join(controller) };
    below(hierarchy, group, driver)
}

fn below(hierarchy: PathBuf, group: &str, driver: CgroupDriver) -> PathBuf {
    if driver == CgroupDriver::Cgroupfs {
        return hierarchy.join(group.trim_start_matches('/'));
    }
    // systemd nests slices by the dashes in their names: a-b.slice lies in a.slice.
    let name = group.trim_end_matches(".slice");
    let ends = name.match_indices('-').map(|(at, _)| at).chain([name.len()]);
    ends.fold(hierarchy, |dir, end| dir.join(format!("{}.slice", &name[..end])))
}

/// Where pods' groups lie, by class.
const CLASSES: [&[&str]; 3] = [&["kubepods"], &["kubepods", "burstable"], &["kubepods", "besteffort"]];

/// Whether the pod has a group in any hierarchy.
pub fn exists(uid: &str, settings: &Settings) -> bool {
    names(uid, settings).iter().any(|group| directories(group, settings).any(|path| path.exists()))
}

/// Removes what is left of a pod's cgroups. Only empty ones are removed, so nothing alive is hurt. Blocks.
pub fn remove(uid: &str, settings: &Settings) {
    if uid.is_empty() {
        return;
    }
    for group in names(uid, settings) {
        match settings.cgroup_driver {
            CgroupDriver::Cgroupfs => directories(&group, settings).for_each(|path| remove_empty(&path)),
            CgroupDriver::Systemd => {
                let mut there = directories(&group, settings).filter(|path| path.exists()).peekable();
                if there.peek().is_some() && there.all(|path| is_empty(&path)) {
                    slices::stop(&group)
                        .unwrap_or_else(|error| tracing::warn!("cannot remove {group}: {error}"));
                }
            }
        }
    }
}

/// What a pod's group may be called.
fn names(uid: &str, settings: &Settings) -> [String; 3] {
    let pod_group = format!("pod{uid}");
    CLASSES.map(|class| name(&[class, &[pod_group.as_str()]].concat(), settings))
}

/// A group's directory in each hierarchy.
fn directories<'a>(group: &'a str, settings: &'a Settings) -> impl Iterator<Item = PathBuf> + 'a {
    hierarchies().into_iter().map(move |hierarchy| below(hierarchy, group, settings.cgroup_driver))
}

/// Whether no process lives in the group or below it.
fn is_empty(path: &Path) -> bool {
    let has_processes = fs::read_to_string(path.join("cgroup.procs")).is_ok_and(|list| !list.is_empty());
    let mut inner = fs::read_dir(path).into_iter().flatten().flatten();
    !has_processes
        && inner.all(|entry| !entry.file_type().is_ok_and(|kind| kind.is_dir()) || is_empty(&entry.path()))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(driver: CgroupDriver, root: &str) -> Settings {
        let mut settings =
            Settings::new("edge1", [192, 0, 2, 1].into(), "/var/lib/kubelet".into(), "/var/log/pods".into());
        (settings.cgroup_driver, settings.cgroup_root) = (driver, root.into());
        settings
    }

    fn pod(uid: &str, resources: serde_json::Value) -> Pod {
        serde_json::from_value(serde_json::json!({ "metadata": { "uid": uid },
            "spec": { "containers": [{ "name": "c", "resources": resources }] } }))
        .unwrap()
    }

    #[test]
    fn groups_are_named_as_the_kubelet_names_them() {
        let modest = pod("8b9c-1", serde_json::json!({}));
        let asks = pod("8b9c-1", serde_json::json!({ "requests": { "cpu": "1" } }));
        let all = serde_json::json!({ "cpu": "1", "memory": "1Mi" });
        let has = pod("8b9c-1", serde_json::json!({ "limits": all }));
        let plain = settings(CgroupDriver::Cgroupfs, "/");
        assert_eq!(parent(&modest, &plain), "/kubepods/besteffort/pod8b9c-1");
        assert_eq!(parent(&has, &plain), "/kubepods/pod8b9c-1");
        assert_eq!(parent(&has, &settings(CgroupDriver::Cgroupfs, "/a-b/")), "/a-b/kubepods/pod8b9c-1");
        let slices = settings(CgroupDriver::Systemd, "/");
        assert_eq!(parent(&asks, &slices), "kubepods-burstable-pod8b9c_1.slice");
        assert_eq!(parent(&has, &slices), "kubepods-pod8b9c_1.slice");
        let rooted = settings(CgroupDriver::Systemd, "/a-b.slice");
        assert_eq!(parent(&modest, &rooted), "a_b-kubepods-besteffort-pod8b9c_1.slice");
    }

    #[test]
    fn slices_lie_in_each_other_by_the_dashes_in_their_names() {
        let at = |group: &str, driver| below("/c".into(), group, driver).display().to_string();
        assert_eq!(at("/a/kubepods/podx", CgroupDriver::Cgroupfs), "/c/a/kubepods/podx");
        assert_eq!(
            at("kubepods-burstable-podx.slice", CgroupDriver::Systemd),
            "/c/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podx.slice"
        );
    }

    #[test]
    fn a_group_is_empty_when_no_process_is_left_below_it() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("docker-1.scope");
        fs::create_dir(&inner).unwrap();
        fs::write(dir.path().join("cgroup.procs"), "").unwrap();
        fs::write(inner.join("cgroup.procs"), "").unwrap();
        assert!(is_empty(dir.path()));
        fs::write(inner.join("cgroup.procs"), "17\n").unwrap();
        assert!(!is_empty(dir.path()));
    }
}
