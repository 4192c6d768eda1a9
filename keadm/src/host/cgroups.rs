use std::path::{Path, PathBuf};

const MOUNT: &str = "/sys/fs/cgroup";

/// Where the pods' cgroups below `root` (`/` on a normal node) are, in every hierarchy, made by the runtime or by systemd.
pub(crate) fn of_pods(root: &str) -> Vec<PathBuf> {
    let relatives = [Path::new(root.trim_matches('/')).join("kubepods"), slice_of_pods(root)];
    let hierarchies = std::fs::read_dir(MOUNT).into_iter().flatten().flatten().map(|entry| entry.path());
    std::iter::once(PathBuf::from(MOUNT))
        .chain(hierarchies)
        .flat_map(|hierarchy| relatives.clone().map(|relative| hierarchy.join(relative)))
        .filter(|group| group.is_dir())
        .collect()
}

/// Where edgecore has systemd keep the pods: a dash in a slice's name stands for a level.
fn slice_of_pods(root: &str) -> PathBuf {
    let parts = root.split('/').filter(|part| !part.is_empty()).chain(["kubepods"]);
    let mut name = String::new();
    parts
        .map(|part| {
            let dash = if name.is_empty() { "" } else { "-" };
            name = format!("{name}{dash}{}", part.trim_end_matches(".slice").replace('-', "_"));
            format!("{name}.slice")
        })
        .collect()
}

/// Removes what is empty of a group: a slice by systemd, whose it is, any other directly.
pub(crate) async fn remove(group: &Path) {
    let mut slices = vec![group.to_owned()];
    while let Some(slice) = slices.pop() {
        let name = slice.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !name.ends_with(".slice") {
            if slice == group {
                remove_empty(group);
            }
        } else if has_processes(&slice) {
            slices.extend(below(&slice));
        } else {
            tokio::process::Command::new("systemctl").args(["--quiet", "stop", &name]).status().await.ok();
        }
    }
}

fn below(group: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = std::fs::read_dir(group).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path())
}

/// Whether a process lives in the group or below it.
fn has_processes(group: &Path) -> bool {
    std::fs::read_to_string(group.join("cgroup.procs")).is_ok_and(|list| !list.is_empty())
        || below(group).any(|inner| has_processes(&inner))
}

/// Removes a cgroup and those below it, as far as no process is in them: the kernel refuses the others.
fn remove_empty(group: &Path) {
    below(group).for_each(|inner| remove_empty(&inner));
    std::fs::remove_dir(group).ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pods_slice_lies_below_the_slices_of_its_root() {
        assert_eq!(slice_of_pods("/"), Path::new("kubepods.slice"));
        assert_eq!(slice_of_pods("/a-b/"), Path::new("a_b.slice/a_b-kubepods.slice"));
        assert_eq!(slice_of_pods("a.slice"), Path::new("a.slice/a-kubepods.slice"));
    }

    #[tokio::test]
    async fn a_group_that_is_no_slice_is_removed_as_far_as_it_is_empty() {
        let dir = tempfile::tempdir().unwrap();
        let group = dir.path().join("kubepods");
        std::fs::create_dir_all(group.join("burstable/pod1")).unwrap();
        std::fs::create_dir_all(group.join("pod2")).unwrap();
        std::fs::write(group.join("pod2/cgroup.procs"), "7\n").unwrap();
        assert!(has_processes(&group));
        remove(&group).await;
        assert!(!group.join("burstable").exists());
        assert!(group.join("pod2").exists());
    }
}
