use std::path::{Path, PathBuf};

const MOUNT: &str = "/sys/fs/cgroup";

/// Where the pods' cgroups below `root` (`/` on a normal node) are, in every hierarchy.
pub(crate) fn of_pods(root: &str) -> Vec<PathBuf> {
    let relative = Path::new(root.trim_matches('/')).join("kubepods");
    let hierarchies = std::fs::read_dir(MOUNT).into_iter().flatten().flatten().map(|entry| entry.path());
    std::iter::once(PathBuf::from(MOUNT))
        .chain(hierarchies)
        .map(|hierarchy| hierarchy.join(&relative))
        .filter(|group| group.is_dir())
        .collect()
}

/// Removes a cgroup and those below it, as far as no process is in them: the kernel refuses the others.
pub(crate) fn remove_empty(group: &Path) {
    let children = std::fs::read_dir(group).into_iter().flatten().flatten();
    for child in children.filter(|child| child.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove_empty(&child.path());
    }
    std::fs::remove_dir(group).ok();
}
