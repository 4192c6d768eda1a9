//! What pods that are gone have left on disk and in cgroups: an agent that is killed between two steps of a pod's end, or a runtime
//! that made a sandbox for nobody, leaves something that no pod's worker knows of any more.
//!
//! Only pods that this agent has written down are looked for: another kubelet may have its pods in the same folders.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;

use super::cgroups;
use super::clock::{self, Moment};
use super::config::Settings;
use super::volumes;

/// Writes a pod down, before anything of it is made, with the moment at which it was taken on; the answer is how long ago that is. `start`:
/// when that was by the status of a pod that was here before. May be repeated.
///
/// # Errors
/// When the disk does not take it.
pub(super) fn note(uid: &str, start: Option<Timestamp>, settings: &Settings) -> io::Result<Duration> {
    let Some(path) = record(uid, settings) else { return Ok(Duration::ZERO) };
    let kept = fs::read_to_string(&path).ok().and_then(|text| Moment::parse(&text));
    let here = Moment::now();
    let age = start.map_or(Duration::ZERO, |start| clock::age(kept.as_ref(), &here, start, Timestamp::now()));
    let begun = here.earlier(age);
    // The moment stands for one life of the machine.
    if !kept.is_some_and(|kept| kept.is_of(&here)) {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(path, begun.to_text())?;
    }
    Ok(age)
}

/// Uids of the pods that were written down. Reads one directory.
pub(super) fn noted(settings: &Settings) -> Vec<String> {
    let entries = fs::read_dir(folder(settings)).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// Removes all that is left of a pod; true when there was something. Who had left nothing is forgotten: the runtime may still make
/// something for a pod whose agent was killed meanwhile, so that it takes two looks. May be repeated. Blocks.
///
/// # Errors
/// When volumes cannot be unmounted or a directory cannot be removed.
pub(super) fn remove(uid: &str, settings: &Settings) -> io::Result<bool> {
    let Some(record) = record(uid, settings) else { return Ok(false) };
    let logs: Vec<String> = logs(settings).filter(|name| uid_of_log(name) == Some(uid)).collect();
    if logs.is_empty() && !settings.pod_dir(uid).exists() && !cgroups::exists(uid, settings) {
        fs::remove_file(record)?;
        return Ok(false);
    }
    cgroups::remove(uid, settings);
    volumes::teardown(uid, settings)?;
    for name in logs {
        fs::remove_dir_all(settings.pod_logs.join(name))?;
    }
    Ok(true)
}

fn folder(settings: &Settings) -> PathBuf {
    settings.root.join("edged/pods")
}

/// The file that stands for a pod; none for a uid that is no name of a file.
fn record(uid: &str, settings: &Settings) -> Option<PathBuf> {
    let plain = !uid.is_empty() && !uid.starts_with('.') && !uid.contains('/');
    plain.then(|| folder(settings).join(uid))
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
    fn what_a_pod_of_this_agent_left_is_removed_and_what_others_have_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (root, pod_logs) = (dir.path().join("root"), dir.path().join("logs"));
        let mut settings = Settings::new("edge1", [127, 0, 0, 1].into(), root.clone(), pod_logs.clone());
        settings.cgroup_root = "/skerry-no-such-group".into();
        let mine = [root.join("pods/a/volumes"), pod_logs.join("ns_one_b/main")];
        let others =
            [root.join("pods/x/volumes"), pod_logs.join("ns_other_y/main"), pod_logs.join("my_logs")];
        for path in mine.iter().chain(&others) {
            fs::create_dir_all(path).unwrap();
        }
        for uid in ["a", "b", "b"] {
            assert!(note(uid, None, &settings).unwrap().is_zero());
        }
        assert!(note("../../x", None, &settings).is_ok() && note("", None, &settings).is_ok());
        let all = |settings: &Settings| {
            let mut all = noted(settings);
            all.sort();
            all
        };
        assert_eq!(all(&settings), ["a", "b"]);
        assert!(remove("a", &settings).unwrap() && remove("b", &settings).unwrap());
        assert_eq!(all(&settings), ["a", "b"], "the runtime may not be done with them");
        assert!(!remove("a", &settings).unwrap() && !remove("b", &settings).unwrap());
        assert_eq!(all(&settings), Vec::<String>::new());
        assert!(mine.iter().all(|path| !path.exists()));
        assert!(others.iter().all(|path| path.exists()), "what was not written down is left alone");
    }

    #[test]
    fn how_long_a_pod_has_been_here_is_known_whatever_the_clock_has_become() {
        let dir = tempfile::tempdir().unwrap();
        let settings =
            Settings::new("edge1", [127, 0, 0, 1].into(), dir.path().to_owned(), dir.path().join("logs"));
        note("fresh", None, &settings).unwrap();
        let soon = Duration::from_secs(60);
        for start in [0, 1_000_000_000, 4_000_000_000] {
            let start = Timestamp::from_second(start).unwrap();
            assert!(note("fresh", Some(start), &settings).unwrap() < soon, "{start}");
        }
        // Written down by nobody: the status is believed, once.
        let hour = Duration::from_secs(3600);
        let start = Timestamp::now() - hour;
        assert!(note("adopted", Some(start), &settings).unwrap() >= hour);
    }
}
