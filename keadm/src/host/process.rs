use std::{ffi::OsStr, path::Path, time::Duration};

use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use procfs::process::{Process, all_processes};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// A process that cannot be mistaken for a later one with the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessId {
    pub(crate) pid: i32,
    /// Ticks after boot at which it began.
    pub(crate) start: u64,
}

impl ProcessId {
    /// The process with this number, if there is one.
    pub(crate) fn of(pid: i32) -> Option<Self> {
        let stat = Process::new(pid).ok()?.stat().ok()?;
        Some(Self { pid, start: stat.starttime })
    }

    /// Whether it is still there; a zombie is not.
    pub(crate) fn is_alive(self) -> bool {
        Process::new(self.pid)
            .and_then(|process| process.stat())
            .is_ok_and(|stat| stat.starttime == self.start && !matches!(stat.state, 'Z' | 'X'))
    }

    /// Sends `signal`, unless the process is gone.
    pub(crate) fn signal(self, signal: Signal) -> Result<(), Errno> {
        if !self.is_alive() {
            return Ok(());
        }
        match kill(Pid::from_raw(self.pid), signal) {
            Err(Errno::ESRCH) => Ok(()),
            other => other,
        }
    }

    /// SIGTERM, then SIGKILL after `grace`. True when the process is gone afterwards.
    pub(crate) async fn end(self, grace: Duration) -> Result<bool, Errno> {
        self.signal(Signal::SIGTERM)?;
        if self.wait_gone(grace).await {
            return Ok(true);
        }
        self.signal(Signal::SIGKILL)?;
        Ok(self.wait_gone(Duration::from_secs(5)).await)
    }

    pub(crate) async fn wait_gone(self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        while self.is_alive() {
            if Instant::now() >= end {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        true
    }
}

/// A running program, for messages: `edgecore (pid 12)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Running {
    pub(crate) name: String,
    pub(crate) id: ProcessId,
}

impl std::fmt::Display for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (pid {})", self.name, self.id.pid)
    }
}

/// Processes whose program is called `name` and whose `--config`, if they have one, is `config`.
pub(crate) fn running(name: &str, config: Option<&Path>) -> Vec<Running> {
    let Ok(processes) = all_processes() else { return Vec::new() };
    processes
        .flatten()
        .filter_map(|process| {
            let stat = process.stat().ok()?;
            let arguments = process.cmdline().ok()?;
            let program = Path::new(arguments.first()?).file_name()?;
            if program != OsStr::new(name) || matches!(stat.state, 'Z' | 'X') {
                return None;
            }
            if let (Some(wanted), Some(has)) = (config, config_of(&arguments))
                && wanted != Path::new(has)
            {
                return None;
            }
            let id = ProcessId { pid: stat.pid, start: stat.starttime };
            Some(Running { name: name.to_owned(), id })
        })
        .collect()
}

fn config_of(arguments: &[String]) -> Option<&str> {
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        if argument == "--config" {
            return rest.next().map(String::as_str);
        }
        if let Some(value) = argument.strip_prefix("--config=") {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_told_from_a_later_one_with_the_same_number() {
        let own = ProcessId::of(std::process::id() as i32).unwrap();
        assert!(own.is_alive());
        assert!(!ProcessId { start: own.start + 1, ..own }.is_alive());
    }

    #[test]
    fn the_configuration_is_found_in_both_spellings() {
        let split = ["edgecore", "--config", "/a"].map(str::to_owned);
        let joined = ["edgecore", "-v", "2", "--config=/b"].map(str::to_owned);
        assert_eq!(config_of(&split), Some("/a"));
        assert_eq!(config_of(&joined), Some("/b"));
        assert_eq!(config_of(&split[..1]), None);
    }
}
