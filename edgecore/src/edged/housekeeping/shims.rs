//! Shims that containerd has lost. When the agent dies while a sandbox is being made for it, containerd gives the sandbox up and deletes
//! its bundle; a shim that was just starting is forgotten and stays for ever, with nothing to hold.

use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use procfs::process::{Process, all_processes};

use crate::edged::context::Context;

/// When it is looked after a start: what the agent's last death has left is seen by then.
const AFTER_START: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(30)];
/// How often it is looked otherwise. Reads the command lines of all processes.
const PERIOD: Duration = Duration::from_secs(10 * 60);

pub(super) async fn run(ctx: &Context) {
    // Docker's own containerd works for a daemon that does not die with the agent.
    let Some(socket) = ctx.settings.runtime_endpoint.strip_prefix("unix://").map(str::to_owned) else {
        return;
    };
    let mut pauses = AFTER_START.into_iter();
    loop {
        tokio::time::sleep(pauses.next().unwrap_or(PERIOD)).await;
        let socket = socket.clone();
        if let Err(error) = tokio::task::spawn_blocking(move || end_strays(&socket)).await {
            tracing::warn!("cannot look for shims without a container: {error}");
        }
    }
}

fn end_strays(socket: &str) {
    for process in all_processes().into_iter().flatten().flatten() {
        let Ok(command) = process.cmdline() else { continue };
        if is_shim_of(&command, socket) && is_stray(&process) {
            tracing::warn!(
                pid = process.pid,
                "a shim holds no container and containerd has forgotten it: it is ended"
            );
            if let Err(errno) = kill(Pid::from_raw(process.pid), Signal::SIGKILL) {
                tracing::warn!(pid = process.pid, "cannot end it: {errno}");
            }
        }
    }
}

/// Whether this is the command line of a shim of the containerd at that socket.
fn is_shim_of(command: &[String], socket: &str) -> bool {
    let program = command.first().and_then(|program| Path::new(program).file_name());
    program.is_some_and(|name| name.as_encoded_bytes().starts_with(b"containerd-shim"))
        && command.iter().any(|word| word == socket)
}

/// A shim works in its bundle and is the parent of all that runs in it.
fn is_stray(process: &Process) -> bool {
    let bundle_is_deleted =
        process.cwd().is_ok_and(|path| path.as_os_str().as_encoded_bytes().ends_with(b" (deleted)"));
    let childless = || {
        process.tasks().is_ok_and(|tasks| {
            tasks.flatten().all(|task| task.children().is_ok_and(|children| children.is_empty()))
        })
    };
    bundle_is_deleted && childless()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_shims_of_this_containerd_are_looked_at() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let line = "/usr/bin/containerd-shim-runc-v2 -namespace k8s.io -id x -address /run/containerd/containerd.sock";
        assert!(is_shim_of(&words(line), "/run/containerd/containerd.sock"));
        assert!(!is_shim_of(&words(line), "/run/other.sock"));
        assert!(!is_shim_of(
            &words("ctr -address /run/containerd/containerd.sock"),
            "/run/containerd/containerd.sock"
        ));
    }

    #[test]
    fn a_process_in_a_directory_that_exists_is_no_stray() {
        assert!(!is_stray(&Process::myself().unwrap()));
    }
}
