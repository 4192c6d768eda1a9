//! Shims that containerd has lost. When the agent dies while a sandbox is being made for it, containerd gives the sandbox up and deletes
//! its bundle; a shim that was just starting is forgotten and stays for ever, with nothing to hold. When containerd itself dies between
//! the start of a shim and the making of its task, it has a shim without a task after its restart: the container is removed as one that
//! never ran, and nobody ends its shim.
//!
//! Only shims of this runtime's socket in CRI's namespace are looked at: what others run in containerd is left alone.

mod bundles;
mod process;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use crate::edged::context::Context;
use crate::edged::runtime::Tasks;
use process::{Found, Shim};

/// When it is looked after a start of the agent or of the runtime: what the last death has left is seen by then.
const AFTER_START: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(30)];
/// How often it is looked otherwise. Reads the command lines of all processes.
const PERIOD: Duration = Duration::from_secs(10 * 60);
/// How soon it is looked again when a shim seems lost.
const AGAIN: Duration = Duration::from_secs(15);
/// How long a shim must have seemed lost: whoever removes a container ends its shim in a moment.
const LOST: Duration = Duration::from_secs(60);
/// How often it is looked whether the runtime was started anew. Reads one inode.
const RESTARTS: Duration = Duration::from_secs(10);

/// Shims that hold nothing that the runtime knows, and since when.
type Suspects = BTreeMap<Shim, Instant>;

pub(super) async fn run(ctx: &Context) {
    // Docker's own containerd works for a daemon that does not die with the agent.
    let Some(socket) = ctx.settings.runtime_endpoint.strip_prefix("unix://").map(str::to_owned) else {
        return;
    };
    let mut pauses = AFTER_START.into_iter();
    let mut life = life(&socket);
    let mut suspects = Suspects::new();
    // What containerd has not removed by the next look, is removed then.
    let mut ended = Vec::new();
    loop {
        let pause =
            if suspects.is_empty() && ended.is_empty() { pauses.next().unwrap_or(PERIOD) } else { AGAIN };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            new = restarted(&socket, life) => {
                life = new;
                pauses = AFTER_START.into_iter();
                continue;
            }
        }
        let socket = socket.clone();
        let found = match tokio::task::spawn_blocking(move || process::shims(&socket)).await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!("cannot look for shims without a container: {error}");
                continue;
            }
        };
        let (forgotten, rest): (Vec<_>, Vec<_>) = found.into_iter().partition(Found::is_forgotten);
        let ids: BTreeSet<String> = rest.iter().map(|found| found.shim.id.clone()).collect();
        let asked = ended.iter().map(|(shim, _): &(Shim, _)| shim.id.clone()).chain(ids.iter().cloned());
        let tasks = match ctx.runtime.tasks(&asked.collect()).await {
            Ok(tasks) => tasks,
            Err(error) => {
                tracing::debug!("cannot ask for containers of shims: {error}");
                None
            }
        };
        let now = Instant::now();
        if let Some(tasks) = &tasks {
            let alive = ids.iter().chain(&tasks.containers).cloned().collect();
            let bundles = std::mem::take(&mut ended);
            if let Err(error) = tokio::task::spawn_blocking(move || bundles::remove(bundles, &alive)).await {
                tracing::warn!("cannot remove folders of ended shims: {error}");
            }
        }
        let lost = match tasks {
            Some(tasks) => lost(&rest, &tasks, &mut suspects, now),
            None => {
                suspects.clear();
                Vec::new()
            }
        };
        let lost: Vec<Found> = forgotten.into_iter().chain(lost).collect();
        ended.extend(lost.iter().filter_map(bundles::of));
        let ending = tokio::task::spawn_blocking(move || lost.iter().for_each(process::end));
        if let Err(error) = ending.await {
            tracing::warn!("cannot end shims without a container: {error}");
        }
    }
}

/// Those of whose container the runtime has known nothing for long enough, and of which it knows no process either.
fn lost(found: &[Found], tasks: &Tasks, suspects: &mut Suspects, now: Instant) -> Vec<Found> {
    let unknown = |found: &&Found| {
        !tasks.containers.contains(&found.shim.id) && found.children.is_disjoint(&tasks.processes)
    };
    let before = std::mem::take(suspects);
    let mut lost = Vec::new();
    for found in found.iter().filter(unknown) {
        let since = before.get(&found.shim).copied().unwrap_or(now);
        if now.duration_since(since) >= LOST {
            lost.push(found.clone());
        } else {
            suspects.insert(found.shim.clone(), since);
        }
    }
    lost
}

/// What tells one life of who listens from another: the socket is made anew at each start.
fn life(socket: &str) -> Option<(u64, i64, i64)> {
    let made = fs::metadata(Path::new(socket)).ok()?;
    Some((made.ino(), made.ctime(), made.ctime_nsec()))
}

/// Returns when the runtime was started anew.
async fn restarted(socket: &str, before: Option<(u64, i64, i64)>) -> Option<(u64, i64, i64)> {
    loop {
        tokio::time::sleep(RESTARTS).await;
        let now = life(socket);
        if now.is_some() && now != before {
            return now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(pid: i32, id: &str, children: &[i32]) -> Found {
        let shim = Shim { pid, started: 1, id: id.to_owned() };
        Found { shim, bundle: None, bundle_is_deleted: false, children: children.iter().copied().collect() }
    }

    #[test]
    fn a_shim_is_lost_when_the_runtime_has_known_nothing_that_it_holds_for_a_minute() {
        let tasks = Tasks { containers: ["known".to_owned()].into(), processes: [21].into() };
        let all = [
            found(1, "known", &[]),
            // A pod's shim holds the containers of its sandbox, too.
            found(2, "gone", &[20, 21]),
            found(3, "empty", &[]),
            found(4, "full", &[30]),
        ];
        let ids = |lost: Vec<Found>| lost.into_iter().map(|found| found.shim.id).collect::<Vec<_>>();
        let begun = Instant::now();
        let mut suspects = Suspects::new();
        assert!(lost(&all, &tasks, &mut suspects, begun).is_empty(), "one look is not enough");
        assert!(lost(&all, &tasks, &mut suspects, begun + AGAIN).is_empty());
        // Another process with the same number and id is another shim.
        let mut other = all.clone();
        other[2].shim.started = 2;
        assert_eq!(ids(lost(&other, &tasks, &mut suspects, begun + LOST)), ["full"]);
        assert_eq!(ids(lost(&all, &tasks, &mut suspects, begun + LOST)), [""; 0], "ended, or looked at anew");
    }

    #[test]
    fn who_was_known_in_between_is_not_lost() {
        let nobody = Tasks::default();
        let known = Tasks { containers: ["one".to_owned()].into(), ..Tasks::default() };
        let (all, begun) = ([found(1, "one", &[])], Instant::now());
        let mut suspects = Suspects::new();
        for (tasks, at) in [(&nobody, 0), (&known, 30), (&nobody, 60), (&nobody, 100)] {
            let at = begun + Duration::from_secs(at);
            assert!(lost(&all, tasks, &mut suspects, at).is_empty());
        }
        assert_eq!(lost(&all, &nobody, &mut suspects, begun + Duration::from_secs(120)).len(), 1);
    }

    #[test]
    fn a_socket_that_is_made_anew_is_of_another_life() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s").to_string_lossy().into_owned();
        assert_eq!(life(&path), None);
        let first = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let before = life(&path);
        assert!(before.is_some() && before == life(&path));
        fs::remove_file(&path).unwrap();
        let _second = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert_ne!(before, life(&path));
        drop(first);
    }
}
