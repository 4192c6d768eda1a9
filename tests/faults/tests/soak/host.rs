//! What the machine holds: containers, mounts, interfaces, groups, processes, directories.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use e2e::Engine;
use e2e::containerd::cgroups;

/// What only the image that holds sandboxes open runs.
const PAUSES: &str = "2147483647";

/// Looks at one runtime and one agent below one directory.
pub struct Host<'a> {
    pub engine: &'a Engine,
    pub dir: &'a Path,
}

impl Host<'_> {
    /// Mount points below the directory.
    pub fn mounts(&self) -> Vec<PathBuf> {
        e2e::containerd::mounts_below(self.dir)
    }

    /// Interfaces of pods: the ends that hang on this runtime's bridge.
    pub fn interfaces(&self) -> Result<BTreeSet<String>> {
        let root = self.engine.cgroup_root();
        let bridge = root.trim_start_matches("/skerry-");
        let out = Command::new("ip").args(["-o", "link", "show", "master", bridge]).output()?;
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        Ok(text.lines().filter_map(|line| Some(line.split(": ").nth(1)?.to_owned())).collect())
    }

    /// Uids of pods that have a group, in any hierarchy.
    pub fn groups(&self) -> BTreeSet<String> {
        let root = self.engine.cgroup_root();
        let classes = ["kubepods", "kubepods/burstable", "kubepods/besteffort"];
        let dirs = cgroups(root.trim_start_matches('/'));
        let dirs = dirs.iter().flat_map(|root| classes.iter().map(|class| root.join(class)));
        let names = dirs.flat_map(|dir| entries(&dir));
        names.filter_map(|name| Some(name.strip_prefix("pod")?.to_owned())).collect()
    }

    /// Ids on the command lines of this runtime's shims, with how many there are of each.
    pub fn shims(&self) -> BTreeMap<String, usize> {
        let socket = match self.engine {
            Engine::Containerd(containerd) => containerd.socket(),
            Engine::Docker(_) => self.dir.join("exec/containerd/containerd.sock"),
        };
        let socket = socket.display().to_string();
        let mut found = BTreeMap::new();
        for pid in entries(Path::new("/proc")).iter().filter(|name| name.parse::<i32>().is_ok()) {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let words: Vec<_> = line.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
            let shim = words.first().is_some_and(|program| program.contains("containerd-shim"));
            if shim
                && words.iter().any(|word| *word == socket)
                && let Some(id) = words.iter().position(|word| word == "-id").and_then(|at| words.get(at + 1))
            {
                *found.entry(id.to_string()).or_default() += 1;
            }
        }
        found
    }

    /// Uids of pods that have a directory of volumes.
    pub fn volumes(&self) -> BTreeSet<String> {
        entries(&self.dir.join("edge/kubelet/pods")).into_iter().collect()
    }

    /// Uids of pods that have a directory of logs.
    pub fn logs(&self) -> BTreeSet<String> {
        let names = entries(&self.dir.join("edge/logs")).into_iter();
        names.filter_map(|name| name.rsplit('_').next().map(str::to_owned)).collect()
    }

    /// Addresses that are given out.
    pub fn addresses(&self) -> Result<usize> {
        match self.engine {
            Engine::Containerd(_) => {
                let networks = entries(&self.dir.join("cni-leases"));
                let files = networks.iter().flat_map(|name| entries(&self.dir.join("cni-leases").join(name)));
                Ok(files.filter(|name| name.parse::<std::net::IpAddr>().is_ok()).count())
            }
            Engine::Docker(docker) => {
                let count = docker.docker(&["network", "inspect", "bridge", "-f", "{{len .Containers}}"])?;
                Ok(count.trim().parse()?)
            }
        }
    }

    /// Folders of the runtime's own, by id: bundles of what runs, and what it keeps of each.
    pub fn folders(&self) -> Vec<PathBuf> {
        let folders: &[&str] = match self.engine {
            Engine::Containerd(_) => &[
                "state/io.containerd.runtime.v2.task/k8s.io",
                "root/io.containerd.runtime.v2.task/k8s.io",
                "state/io.containerd.grpc.v1.cri/sandboxes",
                "state/io.containerd.grpc.v1.cri/containers",
                "root/io.containerd.grpc.v1.cri/sandboxes",
                "root/io.containerd.grpc.v1.cri/containers",
            ],
            Engine::Docker(_) => &[
                "exec/containerd/daemon/io.containerd.runtime.v2.task/moby",
                "root/containerd/daemon/io.containerd.runtime.v2.task/moby",
                "root/containers",
            ],
        };
        let all = folders.iter().map(|folder| self.dir.join(folder));
        all.flat_map(|folder| entries(&folder).into_iter().map(move |id| folder.join(id))).collect()
    }
}

/// A process of that pod: of its sandbox, or of one of its containers.
pub fn process(uid: &str, sandbox: bool) -> Option<i32> {
    let group = format!("/pod{uid}/");
    let of_pod = |pid: &i32| {
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        groups.contains(&group) && String::from_utf8_lossy(&line).contains(PAUSES) == sandbox
    };
    entries(Path::new("/proc")).iter().filter_map(|name| name.parse().ok()).find(of_pod)
}

fn entries(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}
