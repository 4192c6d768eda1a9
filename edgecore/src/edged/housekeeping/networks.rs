//! Networks that containerd has lost. When it dies, or the agent that asked, between the making of a sandbox's network and the record of
//! the sandbox, nobody knows of the namespace, the interfaces and the address any more, and every address is missing for good.

mod address;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::mount::{MntFlags, umount2};
use procfs::process::all_processes;

use crate::edged::context::{Context, PARALLEL_CREATIONS};
use crate::edged::runtime::Networks;

/// What containerd's namespaces are called.
const NAMESPACE: &str = "cni-";
/// How often it is looked.
const PERIOD: Duration = Duration::from_secs(60);
/// How soon it is looked again when something seems lost: a sandbox that nobody waits for may still be on its way out.
const AGAIN: Duration = Duration::from_secs(15);

/// What belongs to no sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Lost {
    namespaces: BTreeSet<PathBuf>,
    /// Sandboxes that never were and have an address.
    holders: BTreeSet<String>,
}

impl Lost {
    /// What was lost before and is so still.
    fn since(&self, before: &Self) -> Self {
        Self {
            namespaces: self.namespaces.intersection(&before.namespaces).cloned().collect(),
            holders: self.holders.intersection(&before.holders).cloned().collect(),
        }
    }

    fn is_empty(&self) -> bool {
        self.namespaces.is_empty() && self.holders.is_empty()
    }
}

pub(super) async fn run(ctx: &Context) {
    let mut before = Lost::default();
    loop {
        tokio::time::sleep(if before.is_empty() { PERIOD } else { AGAIN }).await;
        // Not while a sandbox is being made: its network is there before it is.
        let Ok(_all) = ctx.creations.try_acquire_many(PARALLEL_CREATIONS) else { continue };
        let networks = match ctx.runtime.networks().await {
            Ok(Some(networks)) => networks,
            Ok(None) => continue,
            Err(error) => {
                tracing::debug!("cannot ask for networks that are lost: {error}");
                continue;
            }
        };
        let known = networks.clone();
        let Ok(now) = tokio::task::spawn_blocking(move || look(&known)).await else { continue };
        let lost = now.since(&before);
        before = now;
        for holder in &lost.holders {
            match address::release(&networks, holder).await {
                Ok(()) => tracing::warn!(
                    sandbox = holder,
                    "the address of a sandbox that never was is given back: containerd has forgotten it"
                ),
                Err(error) => tracing::warn!(
                    sandbox = holder,
                    "cannot give back the address of a sandbox that never was: {error}"
                ),
            }
        }
        for namespace in lost.namespaces {
            remove(&namespace);
        }
    }
}

/// What is there and belongs to no sandbox. Blocks.
fn look(networks: &Networks) -> Lost {
    let mut namespaces: BTreeSet<PathBuf> = names(&networks.namespaces)
        .filter(|name| name.starts_with(NAMESPACE))
        .map(|name| networks.namespaces.join(name))
        .filter(|path| !networks.used.contains(path))
        .collect();
    let mut holders: BTreeSet<String> = networks.configurations.iter().flat_map(address::holders).collect();
    holders.retain(|id| !networks.sandboxes.contains(id));
    if !namespaces.is_empty() || !holders.is_empty() {
        leave_what_lives(&mut namespaces, &mut holders);
    }
    Lost { namespaces, holders }
}

/// Takes out what a process is in, or is named for: another runtime's.
fn leave_what_lives(namespaces: &mut BTreeSet<PathBuf>, holders: &mut BTreeSet<String>) {
    for process in all_processes().into_iter().flatten().flatten() {
        if let Ok(own) = fs::metadata(format!("/proc/{}/ns/net", process.pid)) {
            namespaces.retain(|path| {
                fs::metadata(path).is_ok_and(|one| (one.dev(), one.ino()) != (own.dev(), own.ino()))
            });
        }
        let words = process.cmdline().unwrap_or_default();
        holders.retain(|id| !words.contains(id));
    }
}

/// Its interfaces go with it, and their other ends with them.
fn remove(namespace: &Path) {
    if let Err(errno) = umount2(namespace, MntFlags::MNT_DETACH) {
        tracing::debug!("{} is no mount: {errno}", namespace.display());
    }
    match fs::remove_file(namespace) {
        Ok(()) => tracing::warn!(
            "network namespace {} belongs to no sandbox and containerd has forgotten it: it is removed",
            namespace.display()
        ),
        Err(error) => {
            tracing::warn!(
                "cannot remove network namespace {}, which belongs to no sandbox: {error}",
                namespace.display()
            );
        }
    }
}

fn names(folder: &Path) -> impl Iterator<Item = String> + use<> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_no_sandbox_has_is_lost_and_what_another_made_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let netns = dir.path().join("netns");
        let leases = dir.path().join("leases/pods");
        fs::create_dir_all(&netns).unwrap();
        fs::create_dir_all(&leases).unwrap();
        for name in ["cni-used", "cni-lost", "of-somebody-else"] {
            fs::write(netns.join(name), "").unwrap();
        }
        for (address, id) in [("10.0.0.2", "known"), ("10.0.0.3", "never-was")] {
            fs::write(leases.join(address), format!("{id}\r\neth0")).unwrap();
        }
        fs::write(leases.join("last_reserved_ip.0"), "10.0.0.3").unwrap();
        let ipam = json!({ "type": "host-local", "dataDir": dir.path().join("leases") });
        let networks = Networks {
            namespaces: netns.clone(),
            used: [netns.join("cni-used")].into(),
            sandboxes: ["known".to_owned()].into(),
            plugins: dir.path().join("bin"),
            configurations: vec![json!({ "name": "pods", "plugins": [{ "type": "bridge", "ipam": ipam }] })],
        };
        let lost = look(&networks);
        assert_eq!(lost.namespaces, [netns.join("cni-lost")].into());
        assert_eq!(lost.holders, ["never-was".to_owned()].into());
        assert!(lost.since(&Lost::default()).is_empty(), "one look is not enough");
        assert_eq!(lost.since(&lost), lost);
        remove(&netns.join("cni-lost"));
        assert!(look(&networks).namespaces.is_empty());
    }
}
