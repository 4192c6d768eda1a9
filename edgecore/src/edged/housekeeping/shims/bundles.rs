//! Folders of shims that were ended. containerd cleans up after a shim whose task it has known; the folders of one that never had a
//! task stay, because containerd 1.6 misses a file in them that only a task writes. Blocks.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, umount2};

use super::process::{Found, Shim};
use crate::edged::runtime::CRI_NAMESPACE;

/// Where containerd's second shim API keeps folders, below its state and its root (`runtime/v2/manager.go`).
const KEPT_IN: &str = "io.containerd.runtime.v2.task";

/// The bundle of a shim that is about to be ended, if it is one.
pub(super) fn of(found: &Found) -> Option<(Shim, PathBuf)> {
    let bundle = found.bundle.clone().filter(|_| !found.bundle_is_deleted)?;
    is_of(&bundle, &found.shim.id).then(|| (found.shim.clone(), bundle))
}

/// Whether the folder is where containerd keeps what belongs to that id, and nothing else.
fn is_of(folder: &Path, id: &str) -> bool {
    let mut names = folder.iter().rev();
    let ends =
        [id, CRI_NAMESPACE, KEPT_IN].into_iter().all(|name| names.next().is_some_and(|last| last == name));
    ends && folder.is_absolute() && !id.is_empty()
}

/// Removes what is left of the bundles of ended shims, but for ids that something alive has.
pub(super) fn remove(ended: Vec<(Shim, PathBuf)>, alive: &BTreeSet<String>) {
    for (Shim { id, .. }, bundle) in ended.into_iter().filter(|(shim, _)| !alive.contains(&shim.id)) {
        match clear(&bundle, &id) {
            Ok(true) => {
                tracing::info!(id, bundle = %bundle.display(), "the folders of an ended shim are removed")
            }
            Ok(false) => {}
            Err(error) => tracing::warn!(id, "cannot remove {}: {error}", bundle.display()),
        }
    }
}

/// Whether there was anything to remove.
fn clear(bundle: &Path, id: &str) -> io::Result<bool> {
    if !bundle.is_dir() {
        return Ok(false);
    }
    // Its working folder lies below containerd's root.
    let work = fs::read_link(bundle.join("work")).ok().filter(|work| is_of(work, id));
    let root = bundle.join("rootfs");
    while umount2(&root, MntFlags::MNT_DETACH).is_ok() {}
    // With something still mounted in it, this fails before anything of what is mounted is touched.
    match fs::remove_dir(&root) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    for folder in work.iter().map(PathBuf::as_path).chain([bundle]) {
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(dir: &Path, kind: &str, id: &str) -> PathBuf {
        let folder = dir.join(kind).join(KEPT_IN).join(CRI_NAMESPACE).join(id);
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn shim(id: &str) -> Shim {
        Shim { pid: 1, started: 1, id: id.to_owned() }
    }

    #[test]
    fn both_folders_of_an_ended_shim_go_and_those_of_others_stay() {
        let dir = tempfile::tempdir().unwrap();
        let (bundle, work) = (place(dir.path(), "state", "one"), place(dir.path(), "root", "one"));
        std::os::unix::fs::symlink(&work, bundle.join("work")).unwrap();
        fs::create_dir(bundle.join("rootfs")).unwrap();
        fs::write(bundle.join("config.json"), "{}").unwrap();
        let other = place(dir.path(), "state", "two");
        let alive = BTreeSet::from(["two".to_owned()]);
        remove(vec![(shim("one"), bundle.clone()), (shim("two"), other.clone())], &alive);
        assert!(!bundle.exists() && !work.exists());
        assert!(other.exists(), "a shim of that id lives");
    }

    #[test]
    fn a_container_that_has_files_left_in_its_root_keeps_everything() {
        let dir = tempfile::tempdir().unwrap();
        let bundle = place(dir.path(), "state", "one");
        fs::create_dir(bundle.join("rootfs")).unwrap();
        fs::write(bundle.join("rootfs/data"), "precious").unwrap();
        assert!(clear(&bundle, "one").is_err());
        assert_eq!(fs::read_to_string(bundle.join("rootfs/data")).unwrap(), "precious");
    }

    #[test]
    fn a_link_that_leads_elsewhere_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let bundle = place(dir.path(), "state", "one");
        let elsewhere = place(dir.path(), "root", "two");
        std::os::unix::fs::symlink(&elsewhere, bundle.join("work")).unwrap();
        assert!(clear(&bundle, "one").unwrap());
        assert!(elsewhere.exists() && !bundle.exists());
    }

    #[test]
    fn only_the_folder_of_its_own_id_is_a_shims() {
        let id = "0a1b";
        assert!(is_of(Path::new("/run/containerd/io.containerd.runtime.v2.task/k8s.io/0a1b"), id));
        for other in [
            "/run/containerd/io.containerd.runtime.v2.task/moby/0a1b",
            "/",
            "/data/k8s.io/0a1b",
            "0a1b",
            "/run/containerd/io.containerd.runtime.v2.task/k8s.io/0a1b/rootfs",
        ] {
            assert!(!is_of(Path::new(other), id), "{other}");
        }
        assert!(!is_of(Path::new("/run/containerd/io.containerd.runtime.v2.task/k8s.io"), ""));
    }
}
