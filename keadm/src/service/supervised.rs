use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use tokio::time::Instant;

use super::{Service, Status, decisive, log, state::Files, supervisor};
use crate::problem::{Problem, file_problem};

const START_LIMIT: Duration = Duration::from_secs(10);
/// Longer than the grace that a supervisor gives its child.
const STOP_LIMIT: Duration = Duration::from_secs(40);

/// Programs that a detached `keadm supervise` each keeps running.
#[derive(Clone, Debug)]
pub(crate) struct Supervised {
    run_dir: PathBuf,
    log_dir: PathBuf,
}

impl Supervised {
    pub(crate) fn new(run_dir: PathBuf, log_dir: PathBuf) -> Self {
        Self { run_dir, log_dir }
    }

    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.log_dir.join(format!("{name}.log"))
    }

    pub(crate) async fn start(&self, service: &Service) -> Result<(), Problem> {
        for dir in [&self.run_dir, &self.log_dir] {
            std::fs::create_dir_all(dir).map_err(|error| file_problem("create", dir, &error))?;
        }
        let files = Files::new(&self.run_dir, &service.name);
        if files.is_supervised() {
            if files.read().is_some_and(|state| !state.gave_up) {
                return Ok(());
            }
            self.stop(&service.name).await?;
        }
        self.end_orphan(&files, &service.name).await?;
        // What a killed supervisor left must not be taken for the new one's word.
        files.remove().map_err(|error| file_problem("clean", &self.run_dir, &error))?;
        let log_file = self.log(&service.name);
        let keadm =
            std::env::current_exe().map_err(|error| file_problem("find", Path::new("keadm"), &error))?;
        let mut supervisor = Command::new(&keadm)
            .args(supervisor::command_line(service, &self.run_dir, &log_file))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| file_problem("start", &keadm, &error))?;
        let end = Instant::now() + START_LIMIT;
        loop {
            if let Some(state) = files.read() {
                if state.child.is_some() {
                    return Ok(());
                }
                if let Some(reason) = state.last_end {
                    self.stop(&service.name).await?;
                    return Err(Problem::new(format!("{} cannot be started", service.name))
                        .cause(match decisive(&log::tail(&log_file, 60)) {
                            said if said.is_empty() => reason,
                            said => format!("{reason}\nits log says:\n{said}"),
                        })
                        .next(format!("read its log: less {}", log_file.display())));
                }
            }
            let ended = supervisor.try_wait().ok().flatten();
            if ended.is_some() || Instant::now() > end {
                return Err(Problem::new(format!("the supervisor of {} did not start", service.name))
                    .cause(
                        ended.map_or("it said nothing within 10 s".to_owned(), |status| status.to_string()),
                    )
                    .next(format!(
                        "check that {} and {} are writable",
                        self.run_dir.display(),
                        log_file.display()
                    )));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) async fn stop(&self, name: &str) -> Result<bool, Problem> {
        let files = Files::new(&self.run_dir, name);
        let mut found = false;
        if files.is_supervised()
            && let Some(state) = files.read()
        {
            found = true;
            let gone = state.supervisor.end(STOP_LIMIT).await;
            if !matches!(gone, Ok(true)) {
                return Err(Problem::new(format!("the supervisor of {name} does not end"))
                    .cause(gone.map_or_else(|error| error.to_string(), |_| "it ignores SIGKILL".to_owned()))
                    .next(format!(
                        "end process {} by hand, then run the command again",
                        state.supervisor.pid
                    )));
            }
        }
        found |= self.end_orphan(&files, name).await?;
        files.remove().map_err(|error| file_problem("clean", &self.run_dir, &error))?;
        Ok(found)
    }

    /// Ends a child whose supervisor was killed. True when there was one.
    async fn end_orphan(&self, files: &Files, name: &str) -> Result<bool, Problem> {
        let Some(child) = files.read().and_then(|state| state.child) else { return Ok(false) };
        if !child.is_alive() {
            return Ok(false);
        }
        match child.end(Duration::from_secs(20)).await {
            Ok(true) => Ok(true),
            other => Err(Problem::new(format!("{name} (pid {}) does not end", child.pid))
                .cause(other.map_or_else(|error| error.to_string(), |_| "it ignores SIGKILL".to_owned()))
                .next(
                    "look at it with `ps -o pid,stat,wchan,args`; a hanging disk or network mount keeps it",
                )),
        }
    }

    pub(crate) fn status(&self, name: &str) -> Status {
        let files = Files::new(&self.run_dir, name);
        let Some(state) = files.read() else { return Status::Stopped };
        match state.child {
            Some(child) if child.is_alive() => Status::Running { pid: child.pid },
            _ if state.gave_up || !files.is_supervised() => Status::Stopped,
            _ => {
                Status::Restarting { reason: state.last_end.unwrap_or_else(|| "is being started".to_owned()) }
            }
        }
    }
}
