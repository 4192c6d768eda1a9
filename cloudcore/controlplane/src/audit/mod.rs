//! Who asked for what, and what became of it: `audit.k8s.io/v1` events, one JSON document a line.
//!
//! Owns the log file and its earlier parts. [`policy`] decides how much of a request is told, [`event`] how it reads, [`file`] writes.
//! Calls nothing of the crate. Opened by `plane`; `apiserver` tells it about every request.

mod event;
mod file;
mod policy;

pub(crate) use event::{Event, Reference, Stage};
pub use policy::{Level, Policy, PolicyError};
pub(crate) use policy::{Request, Told, What};

use std::path::PathBuf;
use std::time::Duration;

use tasks::TaskSet;
use tokio::sync::mpsc;

/// Lines that may wait for the disk.
const QUEUE: usize = 1024;
/// How long a request waits for a place in the queue before its line is left out.
const PATIENCE: Duration = Duration::from_millis(100);

/// Where the log goes.
#[derive(Clone, Debug)]
pub struct AuditConfig {
    /// The file that is written to; earlier ones are beside it as `NAME.1`, `NAME.2`, the newest first.
    pub path: PathBuf,
    /// What is told about which requests; everything at `Metadata` when there is none.
    pub policy: Option<PathBuf>,
    /// A file that has grown to so many bytes is put aside.
    pub max_bytes: u64,
    /// Files put aside that are kept.
    pub max_files: u32,
}

/// The audit log cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The log file.
    #[error("cannot write the audit log {path}: {source}; check modules.controlPlane.audit.path")]
    Log {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The policy file.
    #[error("cannot read the audit policy {path}: {source}; check modules.controlPlane.audit.policy")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// What the policy says.
    #[error("the audit policy {path} is wrong: {source}")]
    Policy {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        source: PolicyError,
    },
}

/// The open log. Lines that find no place in the queue for too long are left out, and counted.
#[derive(Debug)]
pub(crate) struct AuditLog {
    policy: Policy,
    lines: mpsc::Sender<Vec<u8>>,
}

impl AuditLog {
    /// Opens the log and starts its writer on `tasks`, which should end after everything that is audited.
    pub(crate) async fn open(config: AuditConfig, tasks: &TaskSet) -> Result<Self, AuditError> {
        let policy = match &config.policy {
            Some(path) => {
                let text = file::read_small(path).await;
                let text = text.map_err(|source| AuditError::File { path: path.clone(), source })?;
                Policy::parse(&text).map_err(|source| AuditError::Policy { path: path.clone(), source })?
            }
            None => Policy::default(),
        };
        let path = config.path.clone();
        let log = file::Log::open(config).await.map_err(|source| AuditError::Log { path, source })?;
        let (lines, queue) = mpsc::channel(QUEUE);
        tasks.spawn_once("audit", move |token| log.run(queue, token));
        Ok(Self { policy, lines })
    }

    /// What is told about a request.
    pub(crate) fn told(&self, request: &Request<'_>) -> Told {
        self.policy.told(request)
    }

    /// Tells of an event.
    pub(crate) async fn tell(&self, event: &Event<'_>) {
        if self.lines.send_timeout(line(event), PATIENCE).await.is_err() {
            left_out();
        }
    }

    /// The same where nobody can wait.
    pub(crate) fn tell_now(&self, event: &Event<'_>) {
        if self.lines.try_send(line(event)).is_err() {
            left_out();
        }
    }
}

fn line(event: &Event<'_>) -> Vec<u8> {
    // Serialising a `Value` into memory cannot fail; an empty line keeps this total.
    let mut line = serde_json::to_vec(&event.to_value()).unwrap_or_default();
    line.push(b'\n');
    line
}

fn left_out() {
    tracing::warn!("the audit log cannot keep up: an event is left out");
}
