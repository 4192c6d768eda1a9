//! The first thing that a stranger does: one command up, the same again, one command down.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use anyhow::{Context, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

const DEMO: &str = "/var/lib/skerry-demo";

/// Everything that `--down` must remove.
const PLACES: [&str; 8] = [
    DEMO,
    "/etc/kubeedge",
    "/var/lib/cloudcore",
    "/var/lib/kubeedge",
    "/var/log/kubeedge",
    "/run/kubeedge",
    "/usr/local/bin/cloudcore",
    "/usr/local/bin/edgecore",
];

fn quickstart(arguments: &[&str]) -> Result<Output> {
    let bin = e2e::binary("keadm")?;
    let bin = bin.parent().context("a program lies in a folder")?;
    for program in ["cloudcore", "edgecore"] {
        e2e::binary(program)?;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/quickstart.sh");
    let output = Command::new("bash").arg(script).args(arguments).env("SKERRY_BIN_DIR", bin).output()?;
    ensure!(
        output.status.success(),
        "quickstart {arguments:?} ended with {}:\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(output)
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Takes everything down even when an assertion fails on the way.
struct Down;

impl Drop for Down {
    fn drop(&mut self) {
        quickstart(&["--down"]).map_err(|error| eprintln!("{error:#}")).ok();
    }
}

/// The process id in a supervised program's pid file.
fn pid(program: &str) -> Result<i32> {
    Ok(std::fs::read_to_string(format!("/run/kubeedge/{program}.pid"))?.trim().parse()?)
}

/// What a set-up leaves on the host, as lines.
fn traces() -> Result<Vec<String>> {
    let mut found: Vec<String> =
        PLACES.iter().filter(|place| Path::new(place).exists()).map(|&place| place.to_owned()).collect();
    found.extend(
        e2e::containerd::mounts_below(Path::new(DEMO))
            .iter()
            .map(|mount| format!("mount {}", mount.display())),
    );
    found.extend(
        e2e::containerd::cgroups("skerry-demo").iter().map(|group| format!("cgroup {}", group.display())),
    );
    if Path::new("/sys/class/net/skerry0").exists() {
        found.push("link skerry0".to_owned());
    }
    let rules = Command::new("nft").args(["list", "ruleset"]).output()?;
    let rules = String::from_utf8_lossy(&rules.stdout).into_owned();
    found.extend(
        rules
            .lines()
            .filter(|line| line.contains("CNI-") || line.contains("10.88.77."))
            .map(|line| format!("rule {line}")),
    );
    for process in procfs::process::all_processes()?.flatten() {
        let command = process.cmdline().unwrap_or_default().join(" ");
        if command.contains(DEMO) && !command.contains("quickstart.sh") {
            found.push(format!("process {command}"));
        }
    }
    Ok(found)
}

#[test]
fn one_command_shows_a_deployment_and_a_reading_and_one_leaves_nothing_behind() -> Result<()> {
    quickstart(&["--down"])?;
    e2e::firewall::sweep()?;
    let before = traces()?;
    ensure!(before.is_empty(), "the host is not clean before the test: {before:#?}");
    let forwarding = std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward")?;
    let down = Down;

    let shown = text(&quickstart(&[])?);
    for word in ["edge1", "Ready", "hello", "2/2", "Running", "thermometer", "22.1"] {
        assert!(shown.contains(word), "`{word}` is not in:\n{shown}");
    }

    // Again: what runs is kept.
    let (cloudcore, edgecore) = (pid("cloudcore")?, pid("edgecore")?);
    let shown = text(&quickstart(&[])?);
    assert!(shown.contains("cloudcore runs already") && shown.contains("edgecore runs already"), "{shown}");
    assert_eq!((cloudcore, edgecore), (pid("cloudcore")?, pid("edgecore")?));

    // Once more, with a part missing: it is finished, and the pod that runs is not touched.
    let running = containers()?;
    kill(Pid::from_raw(pid("edgecore")?), Signal::SIGKILL)?;
    quickstart(&[])?;
    assert_eq!(running, containers()?, "a healthy container is never touched");

    drop(down);
    let left = traces()?;
    assert!(left.is_empty(), "left behind: {left:#?}");
    assert_eq!(forwarding, std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward")?);
    Ok(())
}

/// The demo's containers; a container that was made anew has a new name.
fn containers() -> Result<Vec<PathBuf>> {
    let state = Path::new(DEMO).join("state/io.containerd.runtime.v2.task/k8s.io");
    let mut found: Vec<PathBuf> = std::fs::read_dir(state)?.flatten().map(|entry| entry.path()).collect();
    found.sort();
    Ok(found)
}
