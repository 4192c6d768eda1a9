use std::{
    io,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use nix::sys::signal::Signal;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::Command,
    signal::unix::{Signal as Signals, SignalKind, signal},
    time::Instant,
};

use super::{
    Service,
    log::RotatingLog,
    state::{Files, State},
};
use crate::host::process::ProcessId;

/// The exit code that says "my configuration is wrong": starting again cannot help.
const BAD_CONFIGURATION: i32 = 64;
/// A program that ran this long was healthy; its next end is not held against it.
const HEALTHY: Duration = Duration::from_secs(60);
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
const LOG_BYTES: u64 = 10 << 20;
const LOGS_KEPT: u32 = 3;

/// What the supervisor is told on its command line.
#[derive(Debug)]
pub(super) struct Orders {
    pub(super) service: Service,
    pub(super) run_dir: PathBuf,
    pub(super) log: PathBuf,
    pub(super) grace: Duration,
}

/// Becomes the supervisor of one program and returns when it has been told to end it.
///
/// # Errors
/// When another supervisor has this service, or a file cannot be written.
pub(super) async fn supervise(orders: &Orders) -> io::Result<()> {
    // Already a leader only when a shell started us in the foreground, which is fine.
    nix::unistd::setsid().ok();
    let files = Files::new(&orders.run_dir, &orders.service.name);
    let Some(_lock) = files.lock()? else {
        return Err(io::Error::other("another supervisor has this service"));
    };
    std::env::set_current_dir("/")?;
    let own = ProcessId::of(nix::unistd::getpid().as_raw())
        .ok_or_else(|| io::Error::other("/proc does not list this process"))?;
    let state = State { supervisor: own, child: None, restarts: 0, last_end: None, gave_up: false };
    let log = RotatingLog::open(&orders.log, LOG_BYTES, LOGS_KEPT)?;
    let mut supervisor = Supervisor { orders, files, state, log };
    let outcome = supervisor.run().await;
    supervisor.files.remove()?;
    outcome
}

struct Supervisor<'a> {
    orders: &'a Orders,
    files: Files,
    state: State,
    log: RotatingLog,
}

/// The order to stop, from whichever signal brings it.
struct StopOrder {
    terminate: Signals,
    interrupt: Signals,
    _ignored: Signals,
}

impl StopOrder {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            _ignored: signal(SignalKind::hangup())?,
        })
    }

    async fn received(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// How one life of the child came to its end.
enum End {
    /// By itself.
    Exited(ExitStatus),
    /// Because we were told to stop.
    Told,
}

impl Supervisor<'_> {
    async fn run(&mut self) -> io::Result<()> {
        let mut stop = StopOrder::listen()?;
        let mut pause = FIRST_PAUSE;
        loop {
            let begun = Instant::now();
            let reason = match self.one_life(&mut stop).await {
                Ok(End::Told) => return Ok(()),
                Ok(End::Exited(status)) => {
                    self.state.gave_up = status.code() == Some(BAD_CONFIGURATION);
                    describe(status)
                }
                Err(error) => format!("cannot start {}: {error}", self.orders.service.program.display()),
            };
            if begun.elapsed() >= HEALTHY {
                pause = FIRST_PAUSE;
            }
            let then = if self.state.gave_up {
                "its configuration is wrong; it stays down until it is started again".to_owned()
            } else {
                format!("starting it again in {:.1} s", pause.as_secs_f32())
            };
            self.say(&format!("{} {reason}; {then}", self.orders.service.name));
            self.state.child = None;
            self.state.last_end = Some(reason);
            self.state.restarts += 1;
            self.files.write(&self.state)?;
            let gave_up = self.state.gave_up;
            tokio::select! {
                () = tokio::time::sleep(pause), if !gave_up => {}
                () = stop.received() => return Ok(()),
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Runs the program once and copies what it says to the log. Its own children may keep the pipes open for
    /// longer, so the end of the process decides, not the end of the output.
    async fn one_life(&mut self, stop: &mut StopOrder) -> io::Result<End> {
        let mut child = Command::new(&self.orders.service.program)
            .args(&self.orders.service.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        self.state.child = child.id().and_then(|pid| ProcessId::of(pid.cast_signed()));
        self.files.write(&self.state)?;
        let (mut out, mut err) = (child.stdout.take(), child.stderr.take());
        let (mut from_out, mut from_err) = (vec![0; 8192], vec![0; 8192]);
        let mut insist_at = None;
        loop {
            let patience = async {
                match insist_at {
                    Some(moment) => tokio::time::sleep_until(moment).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                count = read(&mut out, &mut from_out) => self.log.write(&from_out[..count]),
                count = read(&mut err, &mut from_err) => self.log.write(&from_err[..count]),
                status = child.wait() => {
                    return Ok(if insist_at.is_some() { End::Told } else { End::Exited(status?) });
                }
                () = stop.received(), if insist_at.is_none() => {
                    self.say(&format!("{} is told to stop", self.orders.service.name));
                    self.signal(Signal::SIGTERM)?;
                    insist_at = Some(Instant::now() + self.orders.grace);
                }
                () = patience => {
                    self.say(&format!("{} does not stop; killing it", self.orders.service.name));
                    self.signal(Signal::SIGKILL)?;
                    insist_at = Some(Instant::now() + self.orders.grace);
                }
            }
        }
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        self.state.child.map_or(Ok(()), |child| Ok(child.signal(signal)?))
    }

    fn say(&mut self, text: &str) {
        let now = jiff::Timestamp::now();
        self.log.write(format!("{now:.3} keadm: {text}\n").as_bytes());
    }
}

/// Reads what there is; closes the pipe at its end and is never ready again.
async fn read(pipe: &mut Option<impl AsyncRead + Unpin>, buffer: &mut [u8]) -> usize {
    if let Some(open) = pipe {
        match open.read(buffer).await {
            Ok(count) if count > 0 => return count,
            _ => *pipe = None,
        }
    }
    std::future::pending().await
}

fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with code {code}"),
        (None, Some(number)) => {
            let name =
                Signal::try_from(number).map_or_else(|_| number.to_string(), |signal| signal.to_string());
            format!("was ended by {name}")
        }
        (None, None) => "ended".to_owned(),
    }
}

/// The command line that makes a keadm the supervisor of `service`.
pub(super) fn command_line(service: &Service, run_dir: &Path, log: &Path) -> Vec<std::ffi::OsString> {
    let mut line: Vec<std::ffi::OsString> = vec!["supervise".into(), "run".into(), "--name".into()];
    line.push(service.name.clone().into());
    line.push("--run-dir".into());
    line.push(run_dir.into());
    line.push("--log".into());
    line.push(log.into());
    line.push("--".into());
    line.push(service.program.clone().into());
    line.extend(service.arguments.iter().map(Into::into));
    line
}
