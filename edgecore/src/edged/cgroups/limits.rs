//! What pods may have together, and how many processes one of them. The runtime limits containers; what holds several of them is
//! limited here, in the files of both versions of control groups (Kubernetes v1.36 `pkg/kubelet/cm`).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Pod;

use super::{MOUNT, is_v2, parent, place};
use crate::edged::config::{CgroupDriver, Settings};
use crate::edged::node::Amounts;

/// A file of a controller and what is to be in it.
type Limit = (&'static str, &'static str, String);

/// Holds all pods together to these amounts. True when something had to be written. Blocks.
///
/// # Errors
/// When the kernel refuses, as it does while more is used than is to be allowed; the message names the file.
pub fn hold_pods(limit: Amounts, settings: &Settings) -> io::Result<bool> {
    let group = match settings.cgroup_driver {
        CgroupDriver::Cgroupfs => format!("{}/kubepods", settings.cgroup_root.trim_end_matches('/')),
        CgroupDriver::Systemd => "kubepods.slice".to_owned(),
    };
    write_all(&group, settings.cgroup_driver, &of_all_pods(limit, is_v2()))
}

/// Holds a pod to so many processes and threads. Blocks.
///
/// # Errors
/// As of [`hold_pods`].
pub fn hold_processes(pod: &Pod, most: u64, settings: &Settings) -> io::Result<()> {
    let group = parent(pod, settings);
    write_all(&group, settings.cgroup_driver, &[("pids", "pids.max", most.to_string())]).map(drop)
}

/// The kernel's units; what is not known (zero) is not limited.
fn of_all_pods(limit: Amounts, unified: bool) -> Vec<Limit> {
    let shares = (limit.cpu_milli.saturating_mul(1024) / 1000).clamp(2, 262_144);
    let memory = limit.memory.to_string();
    let mut all = match unified {
        true => vec![
            ("cpu", "cpu.weight", (1 + (shares - 2) * 9999 / 262_142).to_string()),
            ("memory", "memory.max", memory),
        ],
        false => {
            vec![("cpu", "cpu.shares", shares.to_string()), ("memory", "memory.limit_in_bytes", memory)]
        }
    };
    all.retain(|(controller, ..)| *controller != "memory" || limit.memory > 0);
    if limit.pids > 0 {
        all.push(("pids", "pids.max", limit.pids.to_string()));
    }
    all
}

fn write_all(group: &str, driver: CgroupDriver, limits: &[Limit]) -> io::Result<bool> {
    let mut written = false;
    for (controller, file, value) in limits {
        if !is_v2() && !Path::new(MOUNT).join(controller).is_dir() {
            // The kernel is built without it.
            continue;
        }
        let dir = place(group, driver, controller);
        match driver {
            CgroupDriver::Cgroupfs => make(&dir, controller)?,
            // Slices are systemd's to make, when the first pod comes.
            CgroupDriver::Systemd if !dir.exists() => continue,
            CgroupDriver::Systemd => {}
        }
        written |= write(&dir.join(file), value)?;
    }
    Ok(written)
}

/// Makes the group; in the unified hierarchy a group has only those controllers that the ones above it hand down.
fn make(dir: &Path, controller: &str) -> io::Result<()> {
    if is_v2() {
        let above = dir.ancestors().skip(1).take_while(|path| path.starts_with(MOUNT));
        let above: Vec<PathBuf> = above.map(Path::to_owned).collect();
        for group in above.into_iter().rev() {
            fs::create_dir_all(&group)?;
            let handed = group.join("cgroup.subtree_control");
            let now = fs::read_to_string(&handed).unwrap_or_default();
            if !now.split_whitespace().any(|one| one == controller) {
                fs::write(&handed, format!("+{controller}")).map_err(|error| named(&handed, error))?;
            }
        }
    }
    fs::create_dir_all(dir).map_err(|error| named(dir, error))
}

/// Only what differs is written: the machine wakes up for less.
fn write(path: &Path, value: &str) -> io::Result<bool> {
    if fs::read_to_string(path).is_ok_and(|present| same(present.trim(), value)) {
        return Ok(false);
    }
    fs::write(path, value).map_err(|error| named(path, error))?;
    Ok(true)
}

/// The kernel keeps memory in whole pages.
fn same(present: &str, wanted: &str) -> bool {
    const PAGE: u64 = 65_536;
    let numbers = (present.parse::<u64>(), wanted.parse::<u64>());
    match numbers {
        (Ok(present), Ok(wanted)) if wanted >= PAGE * 16 => present <= wanted && wanted - present < PAGE,
        _ => present == wanted,
    }
}

fn named(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Amounts = Amounts { cpu_milli: 1500, memory: 1 << 30, storage: 0, pids: 100 };

    #[test]
    fn both_versions_of_the_files_say_the_same() {
        let text = |unified: bool| -> Vec<String> {
            of_all_pods(LIMIT, unified)
                .into_iter()
                .map(|(_, file, value)| format!("{file}={value}"))
                .collect()
        };
        assert_eq!(text(false), ["cpu.shares=1536", "memory.limit_in_bytes=1073741824", "pids.max=100"]);
        assert_eq!(text(true), ["cpu.weight=59", "memory.max=1073741824", "pids.max=100"]);
        let unknown = of_all_pods(Amounts::default(), false);
        assert_eq!(unknown, [("cpu", "cpu.shares", "2".to_owned())], "what is not known is not limited");
    }

    #[test]
    fn a_limit_that_stands_is_not_written_again() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("memory.max");
        fs::write(&file, "max\n").unwrap();
        assert!(write(&file, "1073745919").unwrap());
        fs::write(&file, "1073741824\n").unwrap();
        assert!(!write(&file, "1073745919").unwrap(), "the kernel has cut it to whole pages");
        assert!(write(&file, "2147483648").unwrap());
    }
}
