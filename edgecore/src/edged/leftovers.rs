//! What pods that are gone have left on disk and in cgroups: an agent that is killed between two steps of a pod's end, or a runtime
//! that made a sandbox for nobody, leaves something that no pod's worker knows of any more.

use std::collections::BTreeSet;
use std::fs;
use std::io;

use super::cgroups;
use super::config::Settings;
use super::volumes;

/// Uids of all pods that have volumes, logs or a cgroup here. Reads a few directories.
pub(super) fn uids(settings: &Settings) -> BTreeSet<String> {
    let logs = logs(settings).filter_map(|name| Some(uid_of_log(&name)?.to_owned()));
    volumes::orphans(settings).into_iter().chain(logs).chain(cgroups::uids(settings)).collect()
}

/// Removes all that is left of a pod; may be repeated. Blocks.
///
/// # Errors
/// When volumes cannot be unmounted or a directory cannot be removed.
pub(super) fn remove(uid: &str, settings: &Settings) -> io::Result<()> {
    cgroups::remove(uid, settings);
    volumes::teardown(uid, settings)?;
    for name in logs(settings).filter(|name| uid_of_log(name) == Some(uid)) {
        fs::remove_dir_all(settings.pod_logs.join(name))?;
    }
    Ok(())
}

fn logs(settings: &Settings) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(&settings.pod_logs).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok())
}

/// The uid in `<namespace>_<name>_<uid>`; names of objects hold no underscores, so anything else is not a pod's.
fn uid_of_log(name: &str) -> Option<&str> {
    let mut parts = name.split('_');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(_), Some(_), Some(uid), None) if !uid.is_empty() => Some(uid),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_and_logs_of_a_pod_are_found_and_removed_and_others_stay() {
        let dir = tempfile::tempdir().unwrap();
        let (root, pod_logs) = (dir.path().join("root"), dir.path().join("logs"));
        let mut settings = Settings::new("edge1", [127, 0, 0, 1].into(), root.clone(), pod_logs.clone());
        settings.cgroup_root = "/skerry-no-such-group".into();
        for path in [root.join("pods/a/volumes"), pod_logs.join("ns_one_b/main"), pod_logs.join("my_logs")] {
            fs::create_dir_all(path).unwrap();
        }
        assert_eq!(uids(&settings), BTreeSet::from(["a".to_owned(), "b".to_owned()]));
        remove("b", &settings).unwrap();
        remove("a", &settings).unwrap();
        assert_eq!(uids(&settings), BTreeSet::new());
        assert!(pod_logs.join("my_logs").exists(), "what is not a pod's is left alone");
    }
}
