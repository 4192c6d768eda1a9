//! Compares what is wanted, what the API says and what the machine holds.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;

use crate::held::{self, Held};
use crate::host::Host;
use crate::plan::{Kind, Wish};
use crate::pods;

/// Dead containers that are kept of each, for their logs.
const DEAD: usize = 1;

/// All that is not as it should be; empty when everything is.
pub fn differences(host: &Host<'_>, api: &[Pod], wanted: &BTreeMap<usize, Wish>) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    let wanted: BTreeMap<String, Wish> =
        wanted.iter().map(|(number, wish)| (pods::name(*number), *wish)).collect();
    let mut alive = BTreeMap::new();
    for pod in api {
        let name = pod.metadata.name.clone().unwrap_or_default();
        let uid = pod.metadata.uid.clone().context("a pod has a uid")?;
        match wanted.get(&name) {
            Some(wish) => {
                wrong.extend(status(pod, *wish).map(|why| format!("{name}: {why}")));
                alive.insert(uid, *wish);
            }
            None => wrong.push(format!("{name} is still in the API")),
        }
    }
    if alive.len() != wanted.len() {
        wrong.push(format!("{} pods are in the API and {} are wanted", alive.len(), wanted.len()));
    }

    let held = held::all(host.engine)?;
    for (uid, wish) in &alive {
        wrong.extend(
            containers(&held, uid, wish.kind)
                .into_iter()
                .map(|why| format!("{uid} ({:?}): {why}", wish.kind)),
        );
    }
    for stranger in held.iter().filter(|one| !alive.contains_key(&one.uid)) {
        wrong.push(format!("the runtime holds {stranger:?}, which nobody wants"));
    }
    let sandboxes: Vec<&Held> = held.iter().filter(|one| one.is_sandbox() && one.pid.is_some()).collect();
    let own_network =
        sandboxes.iter().filter(|one| alive.get(&one.uid).is_some_and(|wish| wish.kind != Kind::HostNetwork));
    let networks = own_network.count();
    let ids: BTreeSet<&str> = held.iter().map(|one| one.id.as_str()).collect();
    let aliases: BTreeSet<&str> =
        held.iter().flat_map(|one| one.aliases.iter().map(String::as_str)).collect();

    let (namespaces, mounts): (Vec<_>, Vec<_>) =
        host.mounts().into_iter().partition(|path| path.components().any(|part| part.as_os_str() == "netns"));
    // Docker holds the host's own under this name.
    let namespaces = namespaces.iter().filter(|path| !path.ends_with("default")).count();
    let known = |path: &Path| {
        // dockerd mounts its own folder over itself.
        path == host.dir.join("root")
            || path.components().any(|part| {
                let part = part.as_os_str().to_string_lossy();
                ids.contains(&*part) || aliases.contains(&*part) || alive.contains_key(&*part)
            })
    };
    wrong.extend(
        mounts.iter().filter(|path| !known(path)).map(|path| format!("nobody's mount {}", path.display())),
    );
    let shims = host.shims();
    let strays = shims.iter().filter(|(id, count)| !ids.contains(id.as_str()) || **count != 1);
    wrong.extend(strays.map(|(id, count)| format!("{count} shims for {id}")));
    for (what, uids) in [("cgroup", host.groups()), ("volumes", host.volumes()), ("logs", host.logs())] {
        wrong.extend(
            uids.iter().filter(|uid| !alive.contains_key(*uid)).map(|uid| format!("{what} left of {uid}")),
        );
    }
    let owned = |path: &Path| path.file_name().is_some_and(|id| ids.contains(&*id.to_string_lossy()));
    let strays = host.folders().into_iter().filter(|path| !owned(path));
    wrong.extend(strays.map(|path| format!("{} is left and nobody's", path.display())));
    for (what, count) in [
        ("interfaces", host.interfaces()?.len()),
        ("network namespaces", namespaces),
        ("addresses", host.addresses()?),
    ] {
        if count != networks {
            wrong.push(format!("{count} {what} for {networks} sandboxes with a network of their own"));
        }
    }
    Ok(wrong)
}

/// What the API says of the pod, if it is not what it should say.
fn status(pod: &Pod, wish: Wish) -> Option<String> {
    if pod.metadata.deletion_timestamp.is_some() {
        return Some("is being deleted".to_owned());
    }
    let status = pod.status.clone().unwrap_or_default();
    let phase = status.phase.clone().unwrap_or_default();
    let right = match wish.kind {
        // Its process may have been killed before it was done.
        Kind::Finisher => phase == "Succeeded" || phase == "Failed",
        Kind::Crasher => {
            let restarts = status.container_statuses.iter().flatten().map(|status| status.restart_count);
            phase == "Running" && restarts.sum::<i32>() > 0
        }
        kind => {
            let statuses = status.container_statuses.clone().unwrap_or_default();
            e2e::pod::is_ready(pod)
                && statuses.len() == kind.running().len()
                && statuses.iter().all(|status| status.image == pods::image(wish))
        }
    };
    (!right).then(|| format!("{:?} has status {}", wish, serde_json::to_string(&status).unwrap_or_default()))
}

/// What the runtime holds of one pod, where it is not what it should hold.
fn containers(held: &[Held], uid: &str, kind: Kind) -> Vec<String> {
    let mut wrong = Vec::new();
    let own: Vec<&Held> = held.iter().filter(|one| one.uid == uid).collect();
    let sandboxes: Vec<_> = own.iter().filter(|one| one.is_sandbox()).collect();
    let ready = sandboxes.iter().filter(|one| one.pid.is_some()).count();
    if ready != usize::from(kind.holds_sandbox()) || sandboxes.len() > ready + DEAD {
        wrong.push(format!("{ready} sandboxes of {} run", sandboxes.len()));
    }
    let mut names: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for one in own.iter().filter(|one| !one.is_sandbox()) {
        let (running, dead) = names.entry(&one.name).or_default();
        *(if one.pid.is_some() { running } else { dead }) += 1;
    }
    for name in kind.running() {
        names.entry(name).or_default();
    }
    for (name, (running, dead)) in names {
        let should = usize::from(kind.running().contains(&name));
        // A crasher may be caught in the act.
        if (running != should && kind != Kind::Crasher) || dead > DEAD + 1 {
            wrong.push(format!("container {name}: {running} run, {dead} are dead"));
        }
    }
    wrong
}
