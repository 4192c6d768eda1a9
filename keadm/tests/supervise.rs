//! Programs kept running without systemd.

mod harness;

use std::{path::Path, process::Output, time::Duration};

use harness::{Host, stderr};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

struct Supervised {
    host: Host,
}

impl Supervised {
    fn new() -> Self {
        Self { host: Host::new("exec sleep 1000") }
    }

    fn run(&self, action: &str, command: &[&str]) -> Output {
        let (run, log) = (self.host.path("run"), self.host.path("log"));
        let (run, log) = (run.to_string_lossy(), log.to_string_lossy());
        let mut line = vec!["supervise", action, "--name", "job", "--run-dir", &run, "--log-dir", &log];
        if !command.is_empty() {
            line.push("--");
            line.extend(command);
        }
        self.host.keadm(&line)
    }

    fn pid(&self) -> Option<i32> {
        std::fs::read_to_string(self.host.path("run/job.pid")).ok()?.trim().parse().ok()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.host.path("log/job.log")).unwrap_or_default()
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        self.run("stop", &[]);
    }
}

#[track_caller]
fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let mut looks = 0;
    while !check() {
        looks += 1;
        assert!(looks < 500, "not within 10 s: {what}");
        pause();
    }
}

#[allow(clippy::disallowed_methods)] // no runtime here
fn pause() {
    std::thread::sleep(Duration::from_millis(20));
}

fn is_alive(pid: i32) -> bool {
    // A zombie has ended; whoever is its parent now may take its time to say so.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

#[test]
fn a_program_that_is_killed_is_started_again_and_one_that_is_stopped_is_not() {
    let job = Supervised::new();
    let started = job.run("start", &["/bin/sleep", "1000"]);
    assert!(started.status.success(), "{}", stderr(&started));
    let first = job.pid().expect("a pid file");
    kill(Pid::from_raw(first), Signal::SIGKILL).unwrap();
    eventually("a new process", || job.pid().is_some_and(|pid| pid != first && is_alive(pid)));
    assert!(job.log().contains("was ended by SIGKILL"), "{}", job.log());
    let second = job.pid().unwrap();
    assert!(job.run("stop", &[]).status.success());
    assert!(!is_alive(second));
    assert!(!job.run("status", &[]).status.success());
    let left: Vec<_> = std::fs::read_dir(job.host.path("run")).unwrap().flatten().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn starting_twice_keeps_the_running_program() {
    let job = Supervised::new();
    job.run("start", &["/bin/sleep", "1000"]);
    let first = job.pid();
    assert!(job.run("start", &["/bin/sleep", "1000"]).status.success());
    assert_eq!(job.pid(), first);
}

#[test]
fn a_killed_supervisor_is_replaced_and_its_program_is_not_left_over() {
    let job = Supervised::new();
    job.run("start", &["/bin/sleep", "1000"]);
    let state = std::fs::read_to_string(job.host.path("run/job.json")).unwrap();
    let state: serde_json::Value = serde_json::from_str(&state).unwrap();
    let supervisor = i32::try_from(state["supervisor"]["pid"].as_i64().unwrap()).unwrap();
    let orphan = job.pid().unwrap();
    kill(Pid::from_raw(supervisor), Signal::SIGKILL).unwrap();
    eventually("the supervisor is gone", || !is_alive(supervisor));
    assert!(is_alive(orphan));
    assert!(job.run("start", &["/bin/sleep", "1000"]).status.success());
    assert!(!is_alive(orphan) && job.pid() != Some(orphan));
}

#[test]
fn a_program_that_ignores_the_order_to_stop_is_killed() {
    let job = Supervised::new();
    let stubborn = job.host.program("stubborn", "trap '' TERM\nwhile :; do sleep 0.1; done");
    let (run, log) = (job.host.path("run"), job.host.path("stubborn.log"));
    std::fs::create_dir_all(&run).unwrap();
    let mut supervisor = std::process::Command::new(env!("CARGO_BIN_EXE_keadm"))
        .args(["supervise", "run", "--name", "job", "--grace", "1", "--run-dir"])
        .args([&run, Path::new("--log"), &log, Path::new("--"), &stubborn])
        .spawn()
        .unwrap();
    eventually("it runs", || job.pid().is_some());
    let pid = job.pid().unwrap();
    // The trap is only set once the shell has come to it.
    pause();
    pause();
    kill(Pid::from_raw(supervisor.id().cast_signed()), Signal::SIGTERM).unwrap();
    assert!(supervisor.wait().unwrap().success());
    assert!(!is_alive(pid));
    let text = std::fs::read_to_string(log).unwrap();
    assert!(text.contains("does not stop; killing it"), "{text}");
}

#[test]
fn bad_configuration_is_not_tried_again_and_again() {
    let job = Supervised::new();
    let broken = job.host.program("broken", "echo 'port 99999 is no port' >&2; exit 64");
    let output = job.run("start", &[&broken.to_string_lossy()]);
    // Whether the end is seen before or after `start` returns is a matter of luck; that it is not restarted is not.
    if output.status.success() {
        eventually("it gave up", || job.log().contains("its configuration is wrong"));
    } else {
        assert!(stderr(&output).contains("exited with code 64"), "{}", stderr(&output));
    }
    assert_eq!(job.log().matches("port 99999 is no port").count(), 1, "{}", job.log());
}

#[test]
fn what_a_program_says_is_in_its_log() {
    let job = Supervised::new();
    job.run("start", &["/bin/sh", "-c", "echo to stdout; echo to stderr >&2; exec sleep 1000"]);
    eventually("both lines", || job.log().contains("to stdout") && job.log().contains("to stderr"));
}
