//! Shims as the machine shows them: their words, where they work, and what runs under them. Blocks.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use procfs::process::{Process, all_processes};

use crate::edged::runtime::CRI_NAMESPACE;

/// A process of containerd's that holds the containers of one pod, or one container.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Shim {
    pub(super) pid: i32,
    /// Since when, in ticks since the machine started: numbers of processes come again.
    pub(super) started: u64,
    /// The sandbox or container for which it was started.
    pub(super) id: String,
}

/// A shim, and what it has.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) shim: Shim,
    /// The folder that it works in: its bundle.
    pub(super) bundle: Option<PathBuf>,
    /// The folder is deleted.
    pub(super) bundle_is_deleted: bool,
    /// It is the parent of all that runs in it.
    pub(super) children: BTreeSet<i32>,
}

impl Found {
    /// Whether containerd has deleted its bundle before anything ran in it.
    pub(super) fn is_forgotten(&self) -> bool {
        self.bundle_is_deleted && self.children.is_empty()
    }

    fn look(process: &Process, id: String) -> Option<Self> {
        let shim = Shim { pid: process.pid, started: process.stat().ok()?.starttime, id };
        let bundle = process.cwd().ok()?;
        let mut children = BTreeSet::new();
        for task in process.tasks().ok()?.flatten() {
            children.extend(task.children().ok()?.into_iter().filter_map(|pid| i32::try_from(pid).ok()));
        }
        let bundle_is_deleted = bundle.as_os_str().as_encoded_bytes().ends_with(b" (deleted)");
        Some(Self { shim, bundle: Some(bundle), bundle_is_deleted, children })
    }
}

/// All shims that the containerd at that socket has started for CRI.
pub(super) fn shims(socket: &str) -> Vec<Found> {
    let shim = |process: &Process| Found::look(process, id_of(&process.cmdline().ok()?, socket)?);
    all_processes().into_iter().flatten().flatten().filter_map(|process| shim(&process)).collect()
}

/// Ends a shim with all that runs in it.
pub(super) fn end(found: &Found) {
    let Shim { pid, id, started } = &found.shim;
    let alive =
        Process::new(*pid).and_then(|process| process.stat()).is_ok_and(|stat| stat.starttime == *started);
    if !alive {
        return;
    }
    tracing::warn!(
        pid,
        id,
        processes = found.children.len(),
        "a shim holds no container that containerd knows: it is ended"
    );
    for pid in found.children.iter().chain([pid]) {
        if let Err(errno) = kill(Pid::from_raw(*pid), Signal::SIGKILL) {
            tracing::warn!(pid, id, "cannot end it: {errno}");
        }
    }
}

/// For what this is the command line of a shim, if it is one of the containerd at that socket for CRI.
fn id_of(command: &[String], socket: &str) -> Option<String> {
    let program = Path::new(command.first()?).file_name()?;
    let word = |key: &str| {
        let at = command.iter().position(|word| word == key)?;
        command.get(at + 1).map(String::as_str)
    };
    let own = program.as_encoded_bytes().starts_with(b"containerd-shim")
        && word("-address") == Some(socket)
        && word("-namespace") == Some(CRI_NAMESPACE);
    own.then(|| word("-id").map(str::to_owned)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_shims_of_this_containerd_for_cri_are_looked_at() {
        let of = |line: &str| {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            id_of(&words, "/run/containerd/containerd.sock")
        };
        let shim = "/usr/bin/containerd-shim-runc-v2 -namespace k8s.io -id x -address /run/containerd/containerd.sock";
        assert_eq!(of(shim).as_deref(), Some("x"));
        assert_eq!(of(&shim.replace("containerd.sock", "other.sock")), None);
        assert_eq!(of(&shim.replace("k8s.io", "moby")), None);
        assert_eq!(of(&shim.replace("-id x ", "")), None);
        assert_eq!(of("ctr -namespace k8s.io -id x -address /run/containerd/containerd.sock"), None);
    }

    #[test]
    fn what_a_process_has_is_seen_and_one_in_a_directory_that_exists_is_not_forgotten() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let me = Found::look(&Process::myself().unwrap(), "x".to_owned()).unwrap();
        assert!(me.children.contains(&i32::try_from(child.id()).unwrap()));
        assert!(!me.bundle_is_deleted && !me.is_forgotten());
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn who_has_ended_is_not_ended_again_and_who_has_not_is_with_its_children() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let mut found = Found::look(&Process::new(pid).unwrap(), "x".to_owned()).unwrap();
        found.shim.started += 1;
        end(&found);
        assert!(child.try_wait().unwrap().is_none(), "another process of the same number");
        found.shim.started -= 1;
        end(&found);
        assert!(!child.wait().unwrap().success());
    }
}
