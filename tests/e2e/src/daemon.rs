use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// Where the binary `name` of this workspace was built: `SKERRY_BIN_DIR`, or the profile folder that the
/// running test was built into.
///
/// # Errors
/// When it is not there, with the command that builds it.
pub fn binary(name: &str) -> Result<PathBuf> {
    let dir = match std::env::var_os("SKERRY_BIN_DIR") {
        Some(dir) => PathBuf::from(dir),
        None => {
            let exe = std::env::current_exe()?;
            let parent = exe.parent().context("a test binary lies in a folder")?;
            if parent.ends_with("deps") {
                parent.parent().unwrap_or(parent).to_owned()
            } else {
                parent.to_owned()
            }
        }
    };
    let path = dir.join(name);
    if !path.is_file() {
        bail!("{} is not built: run `cargo build --workspace --bins` first", path.display());
    }
    Ok(path)
}

/// A child process whose output goes to a file and which dies with its owner.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    program: PathBuf,
    args: Vec<String>,
    log: PathBuf,
    child: Option<Child>,
}

impl Daemon {
    /// Starts `program` with `args`; standard output and error are appended to `log`.
    ///
    /// # Errors
    /// When the log cannot be opened or the program cannot be started.
    pub fn start(name: &str, program: &Path, args: &[&str], log: &Path) -> Result<Self> {
        let mut daemon = Self {
            name: name.to_owned(),
            program: program.to_owned(),
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            log: log.to_owned(),
            child: None,
        };
        daemon.restart()?;
        Ok(daemon)
    }

    /// Starts the same command again after [`Daemon::kill`] or [`Daemon::terminate`].
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn restart(&mut self) -> Result<()> {
        self.kill();
        let out = File::options().create(true).append(true).open(&self.log).context("open the log")?;
        let child = Command::new(&self.program)
            .args(&self.args)
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()
            .with_context(|| format!("start {}", self.program.display()))?;
        self.child = Some(child);
        Ok(())
    }

    /// The process id, or `None` when it does not run.
    pub fn pid(&self) -> Option<i32> {
        self.child.as_ref().and_then(|child| i32::try_from(child.id()).ok())
    }

    /// `Some(exit status)` once the process has ended by itself.
    pub fn exited(&mut self) -> Option<std::process::ExitStatus> {
        self.child.as_mut().and_then(|child| child.try_wait().ok().flatten())
    }

    /// SIGKILL, then waits for the end.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
        }
    }

    /// SIGSTOP: it keeps what it has and answers nobody.
    ///
    /// # Errors
    /// When the process does not run.
    pub fn hang(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// SIGCONT: it goes on after [`Daemon::hang`].
    ///
    /// # Errors
    /// When the process does not run.
    pub fn wake(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.pid().context("the process does not run")?;
        kill(Pid::from_raw(pid), signal).with_context(|| format!("send {signal}"))
    }

    /// SIGTERM, then waits up to `limit` for the end.
    ///
    /// # Errors
    /// When the process is still there afterwards (it is killed then).
    pub async fn terminate(&mut self, limit: Duration) -> Result<()> {
        let Some(pid) = self.pid() else { return Ok(()) };
        kill(Pid::from_raw(pid), Signal::SIGTERM).context("send SIGTERM")?;
        let end = tokio::time::Instant::now() + limit;
        while self.exited().is_none() {
            if tokio::time::Instant::now() > end {
                self.kill();
                bail!(
                    "{} did not end within {limit:?} after SIGTERM; its log ends:\n{}",
                    self.name,
                    self.tail()
                );
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.child = None;
        Ok(())
    }

    /// The last lines of the log, for messages of failed tests.
    pub fn tail(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// The whole log so far.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Resident memory in bytes.
    ///
    /// # Errors
    /// When the process does not run.
    pub fn resident_bytes(&self) -> Result<u64> {
        let pid = self.pid().context("the process does not run")?;
        let status = procfs::process::Process::new(pid)?.status()?;
        Ok(status.vmrss.context("VmRSS in /proc/PID/status")? * 1024)
    }

    /// Processor time that the process has used so far.
    ///
    /// # Errors
    /// When the process does not run.
    pub fn cpu_time(&self) -> Result<Duration> {
        let pid = self.pid().context("the process does not run")?;
        let stat = procfs::process::Process::new(pid)?.stat()?;
        Ok(Duration::from_secs_f64((stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64))
    }

    /// Bytes that the process caused to be written to disk so far (`write_bytes` of `/proc/PID/io`).
    ///
    /// # Errors
    /// When the process does not run.
    pub fn written_bytes(&self) -> Result<u64> {
        let pid = self.pid().context("the process does not run")?;
        Ok(procfs::process::Process::new(pid)?.io()?.write_bytes)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}
