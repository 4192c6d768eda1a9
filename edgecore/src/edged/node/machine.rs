//! Facts about the machine, as a kubelet reports them.

use std::{fs, path::Path};

use k8s_openapi::api::core::v1::NodeSystemInfo;
use nix::sys::statvfs::statvfs;
use procfs::{Current, Meminfo};
use tracing::debug;

use super::reserve::Amounts;
use crate::machine;

/// `<Kubernetes>-kubeedge-<KubeEdge>`: clouds split it at the dashes and read the third part (KubeEdge v1.23
/// `cloud/pkg/taskmanager`).
const VERSION: &str = concat!("v1.32.10-kubeedge-v1.23.1+skerry.", env!("CARGO_PKG_VERSION"));

/// How much of something there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Amount {
    pub(crate) capacity: u64,
    pub(crate) available: u64,
}

/// Pages of one size that are set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HugePages {
    /// Bytes of one page.
    pub(crate) page: u64,
    /// Bytes of all of them.
    pub(crate) bytes: u64,
}

/// What the machine has now.
#[derive(Clone, Debug, Default)]
pub(crate) struct Machine {
    pub(crate) cpus: usize,
    /// Bytes.
    pub(crate) memory: Amount,
    /// Bytes of the file system that holds pods.
    pub(crate) disk: Amount,
    /// Process ids.
    pub(crate) pids: Amount,
    /// By size of page, the smallest first.
    pub(crate) huge_pages: Vec<HugePages>,
}

impl Machine {
    /// Looks. What cannot be read counts as plenty: a container without `/proc/loadavg` is no reason to refuse pods.
    pub(crate) fn look(root: &Path) -> Self {
        Self {
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            memory: memory(),
            disk: disk(root),
            pids: pids(),
            huge_pages: huge_pages(),
        }
    }

    /// What there is of what pods share.
    pub(crate) fn amounts(&self) -> Amounts {
        Amounts {
            cpu_milli: self.cpus as u64 * 1000,
            memory: self.memory.capacity,
            storage: self.disk.capacity,
            pids: self.pids.capacity,
        }
    }

    /// Memory that is set aside as huge pages, in bytes.
    pub(crate) fn huge(&self) -> u64 {
        self.huge_pages.iter().map(|pages| pages.bytes).fold(0, u64::saturating_add)
    }
}

/// Directories are called `hugepages-2048kB`.
fn huge_pages() -> Vec<HugePages> {
    let found = fs::read_dir("/sys/kernel/mm/hugepages").into_iter().flatten().flatten();
    let pages = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        let kib: u64 = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
        let page = kib.checked_mul(1024)?;
        let number: u64 = line(entry.path().join("nr_hugepages")).parse().ok()?;
        Some(HugePages { page, bytes: page.saturating_mul(number) })
    };
    let mut all: Vec<HugePages> = found.filter_map(pages).collect();
    all.sort_by_key(|pages| pages.page);
    all
}

fn memory() -> Amount {
    Meminfo::current().map_or_else(
        |error| unknown("memory", &error),
        |info| Amount { capacity: info.mem_total, available: info.mem_available.unwrap_or(info.mem_free) },
    )
}

fn disk(root: &Path) -> Amount {
    // The directory appears with the first pod; until then its nearest ancestor is on the same disk.
    let existing = root.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    statvfs(existing).map_or_else(
        |error| unknown("disk", &error),
        |stat| Amount {
            capacity: stat.blocks() * stat.fragment_size(),
            available: stat.blocks_available() * stat.fragment_size(),
        },
    )
}

fn pids() -> Amount {
    let capacity = machine::process_limit().unwrap_or(u64::MAX);
    Amount { capacity, available: capacity.saturating_sub(machine::processes().unwrap_or(0)) }
}

fn unknown(what: &str, error: &dyn std::error::Error) -> Amount {
    debug!(what, %error, "the machine does not say how much there is");
    Amount { capacity: 0, available: u64::MAX }
}

/// Names this start of the machine.
pub(super) fn boot_id() -> String {
    line("/proc/sys/kernel/random/boot_id")
}

/// Versions and identities. `runtime` is empty until the runtime has said what it is.
pub(super) fn info(runtime: &str) -> NodeSystemInfo {
    let machine = line("/etc/machine-id");
    let system = line("/sys/class/dmi/id/product_uuid");
    NodeSystemInfo {
        architecture: architecture().to_owned(),
        boot_id: boot_id(),
        container_runtime_version: runtime.to_owned(),
        kernel_version: line("/proc/sys/kernel/osrelease"),
        kube_proxy_version: String::new(),
        kubelet_version: VERSION.to_owned(),
        system_uuid: if system.is_empty() { machine.clone() } else { system },
        machine_id: machine,
        operating_system: "linux".to_owned(),
        os_image: os_image(),
        swap: None,
    }
}

/// The machine's architecture as Go names it.
pub(super) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

fn os_image() -> String {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or_else(|| "Linux".to_owned(), |name| name.trim_matches('"').to_owned())
}

fn line(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_processors_memory_disk_and_process_ids() {
        let machine = Machine::look(Path::new("/no/such/place"));
        assert!(machine.cpus > 0);
        assert_eq!(machine.amounts().memory, machine.memory.capacity);
        assert!(machine.huge() <= machine.memory.capacity);
        for amount in [machine.memory, machine.disk, machine.pids] {
            assert!(amount.capacity > 0 && amount.available <= amount.capacity, "{amount:?}");
        }
    }

    #[test]
    fn kubeedge_finds_its_version_in_the_third_part() {
        assert_eq!(
            info("").kubelet_version.split('-').nth(2).and_then(|v| v.split('+').next()),
            Some("v1.23.1")
        );
    }
}
