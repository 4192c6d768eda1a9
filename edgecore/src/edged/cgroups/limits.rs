//! What pods may have together, and each of them. The runtime limits containers; what holds several of them is limited
//! here, in the files of both versions of control groups (Kubernetes v1.36 `pkg/kubelet/cm`).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Pod;

use super::{MOUNT, is_v2, name, parent, place, slices};
use crate::edged::admission;
use crate::edged::config::{CgroupDriver, Settings};
use crate::edged::node::Amounts;
use crate::edged::pod::resources;
use crate::edged::pod::status::QosClass;

/// A file of a controller and what is to be in it.
pub(super) type Limit = (&'static str, &'static str, String);

/// Holds all pods together to these amounts. True when something had to be written. Blocks.
///
/// # Errors
/// When the kernel refuses, as it does while more is used than is to be allowed; the message names the file.
pub fn hold_pods(limit: Amounts, settings: &Settings) -> io::Result<bool> {
    let group = name(&["kubepods"], settings);
    write_all(&group, settings.cgroup_driver, &of_all_pods(limit, is_v2()))
}

/// Holds a pod to what its containers may use together, and to so many processes and threads as any may have. Blocks.
///
/// # Errors
/// As of [`hold_pods`].
pub fn hold_pod(pod: &Pod, settings: &Settings) -> io::Result<()> {
    let group = parent(pod, settings);
    write_all(&group, settings.cgroup_driver, &of_pod(pod, settings, is_v2())).map(drop)
}

/// Gives the pods that may use more than they asked for, together, the weight of what they asked for, and those that asked
/// for nothing the least. Blocks.
///
/// # Errors
/// As of [`hold_pods`].
pub fn weigh_classes(burstable_cpu_milli: i64, settings: &Settings) -> io::Result<()> {
    for (class, milli) in [("burstable", burstable_cpu_milli), ("besteffort", 0)] {
        let group = name(&["kubepods", class], settings);
        write_all(&group, settings.cgroup_driver, &[weight(resources::cpu_shares(milli), is_v2())])?;
    }
    Ok(())
}

/// What its containers may use together (Kubernetes v1.36 `ResourceConfigForPod`).
fn of_pod(pod: &Pod, settings: &Settings, unified: bool) -> Vec<Limit> {
    let best_effort = QosClass::of(pod) == QosClass::BestEffort;
    let asked = if best_effort { 0 } else { admission::cpu_request(pod) };
    let mut all = vec![weight(resources::cpu_shares(asked), unified)];
    if let Some(milli) = resources::cpu_limit(pod).filter(|_| settings.cpu_cfs_quota) {
        let period = i64::try_from(settings.cpu_cfs_period.as_micros()).unwrap_or(100_000);
        let quota = resources::cpu_quota(milli, period);
        match unified {
            true => all.push(("cpu", "cpu.max", format!("{quota} {period}"))),
            false => all.extend([
                ("cpu", "cpu.cfs_period_us", period.to_string()),
                ("cpu", "cpu.cfs_quota_us", quota.to_string()),
            ]),
        }
    }
    if let Some(bytes) = resources::memory_limit(pod) {
        let file = if unified { "memory.max" } else { "memory.limit_in_bytes" };
        all.push(("memory", file, bytes.to_string()));
    }
    if let Some(most) = settings.pod_pids {
        all.push(("pids", "pids.max", most.to_string()));
    }
    all
}

fn weight(shares: i64, unified: bool) -> Limit {
    match unified {
        true => ("cpu", "cpu.weight", (1 + (shares - 2) * 9999 / 262_142).to_string()),
        false => ("cpu", "cpu.shares", shares.to_string()),
    }
}

/// The kernel's units; what is not known (zero) is not limited.
fn of_all_pods(limit: Amounts, unified: bool) -> Vec<Limit> {
    let shares = resources::cpu_shares(i64::try_from(limit.cpu_milli).unwrap_or(i64::MAX));
    let file = if unified { "memory.max" } else { "memory.limit_in_bytes" };
    let mut all = vec![weight(shares, unified), ("memory", file, limit.memory.to_string())];
    all.retain(|(controller, ..)| *controller != "memory" || limit.memory > 0);
    if limit.pids > 0 {
        all.push(("pids", "pids.max", limit.pids.to_string()));
    }
    all
}

fn write_all(group: &str, driver: CgroupDriver, limits: &[Limit]) -> io::Result<bool> {
    // The kernel may be built without some.
    let known = |limit: &&Limit| is_v2() || Path::new(MOUNT).join(limit.0).is_dir();
    let limits: Vec<&Limit> = limits.iter().filter(known).collect();
    let file = |limit: &Limit| place(group, driver, limit.0).join(limit.1);
    if driver == CgroupDriver::Systemd {
        // Slices are systemd's: what is written past it is undone when it looks again.
        let differs = limits.iter().any(|limit| !stands(&file(limit), &limit.2));
        if differs {
            slices::hold(group, &limits)?;
        }
        return Ok(differs);
    }
    let mut written = false;
    for limit in limits {
        make(&place(group, driver, limit.0), limit.0)?;
        written |= write(&file(limit), &limit.2)?;
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
    if stands(path, value) {
        return Ok(false);
    }
    fs::write(path, value).map_err(|error| named(path, error))?;
    Ok(true)
}

fn stands(path: &Path, value: &str) -> bool {
    fs::read_to_string(path).is_ok_and(|present| same(present.trim(), value))
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
    fn a_pod_has_together_what_its_containers_have() {
        let settings =
            Settings::new("edge1", [192, 0, 2, 1].into(), "/var/lib/kubelet".into(), "/var/log/pods".into());
        let text = |containers: serde_json::Value, unified: bool| -> Vec<String> {
            let pod = serde_json::json!({ "spec": { "containers": containers } });
            let pod: Pod = serde_json::from_value(pod).unwrap();
            of_pod(&pod, &settings, unified)
                .into_iter()
                .map(|(_, file, value)| format!("{file}={value}"))
                .collect()
        };
        let container = |requests: &str, limits: &str| {
            serde_json::json!({ "name": "c", "resources": {
                "requests": { "cpu": requests }, "limits": { "cpu": limits, "memory": "32Mi" } } })
        };
        let bounded = serde_json::json!([container("250m", "500m"), container("250m", "1")]);
        assert_eq!(
            text(bounded.clone(), false),
            [
                "cpu.shares=512",
                "cpu.cfs_period_us=100000",
                "cpu.cfs_quota_us=150000",
                "memory.limit_in_bytes=67108864"
            ]
        );
        assert_eq!(text(bounded, true), ["cpu.weight=20", "cpu.max=150000 100000", "memory.max=67108864"]);
        let half = serde_json::json!([container("250m", "500m"), { "name": "d" }]);
        assert_eq!(text(half, false), ["cpu.shares=256"], "one may use what it likes");
        assert_eq!(text(serde_json::json!([{ "name": "c" }]), false), ["cpu.shares=2"]);
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
