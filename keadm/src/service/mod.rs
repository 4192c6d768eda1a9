//! Keeping a program running: systemd units where systemd runs, a supervisor of our own where it does not.
//!
//! Owns: units under `/etc/systemd/system`, and `/run/kubeedge` and `/var/log/kubeedge` with the supervisor.
//! May call: `host`, systemctl and journalctl. Called by: `init`, `join`, `reset`, and `keadm supervise`.

mod command;
mod log;
mod state;
mod supervised;
mod supervisor;
mod systemd;

use std::path::PathBuf;

pub(crate) use command::SuperviseArgs;
pub(crate) use supervised::Supervised;
pub(crate) use systemd::Systemd;

use crate::{layout::Layout, problem::Problem};

/// A program to keep running.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    /// Names the unit, the pid file and the log.
    pub(crate) name: String,
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
}

/// What a service does at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// Its process runs.
    Running {
        /// Of the program itself, not of its supervisor.
        pid: i32,
    },
    /// It is to run, but has ended and will be started again.
    Restarting {
        /// How it ended last.
        reason: String,
    },
    /// It is not to run, or has given up.
    Stopped,
}

/// Whoever keeps programs running on this host.
#[derive(Clone, Debug)]
pub(crate) enum Services {
    /// systemd is the init process.
    Systemd(Systemd),
    /// There is no systemd, or the installation lies below another root.
    Supervised(Supervised),
}

impl Services {
    /// Finds out who keeps programs running for this installation.
    pub(crate) fn of(layout: &Layout) -> Self {
        if layout.is_host() && Systemd::is_running() {
            Self::Systemd(Systemd::new(layout.clone()))
        } else {
            Self::Supervised(Supervised::new(layout.run_dir(), layout.log_dir()))
        }
    }

    /// Starts `service` now and at every boot. Nothing happens when it runs already.
    pub(crate) async fn start(&self, service: &Service) -> Result<(), Problem> {
        match self {
            Self::Systemd(systemd) => systemd.start(service).await,
            Self::Supervised(supervised) => supervised.start(service).await,
        }
    }

    /// Ends the service and forgets it. False when there was nothing to end.
    pub(crate) async fn stop(&self, name: &str) -> Result<bool, Problem> {
        match self {
            Self::Systemd(systemd) => systemd.stop(name).await,
            Self::Supervised(supervised) => supervised.stop(name).await,
        }
    }

    pub(crate) async fn status(&self, name: &str) -> Status {
        match self {
            Self::Systemd(systemd) => systemd.status(name).await,
            Self::Supervised(supervised) => supervised.status(name),
        }
    }

    /// The last lines that the service wrote.
    pub(crate) async fn tail(&self, name: &str, lines: usize) -> Vec<String> {
        match self {
            Self::Systemd(systemd) => systemd.tail(name, lines).await,
            Self::Supervised(supervised) => log::tail(&supervised.log(name), lines),
        }
    }

    /// How the user reads the log.
    pub(crate) fn log_hint(&self, name: &str) -> String {
        match self {
            Self::Systemd(_) => format!("journalctl -u {name}"),
            Self::Supervised(supervised) => format!("less {}", supervised.log(name).display()),
        }
    }

    /// How the service is kept running, for people.
    pub(crate) fn describe(&self, name: &str) -> String {
        match self {
            Self::Systemd(_) => format!("systemd unit {name}.service"),
            Self::Supervised(_) => {
                format!("background process {name}, supervised by keadm (no systemd here)")
            }
        }
    }
}

/// Finds the lines that tell why a program ended: errors first, else the last ones.
pub(crate) fn decisive(lines: &[String]) -> String {
    let told: Vec<&str> = lines
        .iter()
        .map(String::as_str)
        .filter(|line| {
            ["ERROR", "error:", "Error:", "panicked", "\"level\":\"ERROR\""]
                .iter()
                .any(|mark| line.contains(mark))
        })
        .collect();
    let chosen: Vec<&str> = if told.is_empty() {
        lines.iter().rev().take(5).rev().map(String::as_str).collect()
    } else {
        told.iter().rev().take(3).rev().copied().collect()
    };
    chosen.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_decisive_lines_are_the_last_errors_or_else_the_last_lines() {
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(decisive(&lines("a\nERROR one\nb\nerror: two\nc")), "ERROR one\nerror: two");
        assert_eq!(decisive(&lines("1\n2\n3\n4\n5\n6")), "2\n3\n4\n5\n6");
    }
}
