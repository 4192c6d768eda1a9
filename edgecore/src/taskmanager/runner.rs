//! Does the tasks, one after the other, step by step. Knows no kind of job: what a step is, its kind says.

use std::convert::Infallible;
use std::time::Duration;

use proto::operations::{Action, ActionReport, JobType};
use tasks::Backoff;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::handle::{self, Handle};
use super::task::Task;
use super::{Tools, prepull};

/// Before a result is written again that found no room on the disk: at first, and at most.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// What a step came to.
pub(super) struct Done {
    /// Why it failed; `None` is success.
    pub failure: Option<String>,
    /// What else is to be said.
    pub extend: String,
}

pub(super) async fn run(handle: Handle, tools: Tools, stop: CancellationToken) -> Result<(), Infallible> {
    let mut changed = handle.changed.subscribe();
    loop {
        changed.mark_unchanged();
        let due = handle.state.lock().await.due().cloned();
        let Some((task, action)) = due.and_then(|task| task.next.map(|action| (task, action))) else {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = changed.changed() => continue,
            }
        };
        let Some(kind) = task.kind() else {
            let reason = format!("this edge does not do tasks of type {}", task.id.job_type);
            keep(&handle, &task, handle::failed(action, reason), &stop).await;
            continue;
        };
        let done = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = handle.until_gone(&task.id, task.given) => continue,
            done = step(kind, action, &task.spec, &handle.settings.node, &tools) => done,
        };
        let job = &task.id.job;
        match &done.failure {
            None => info!(job, action = action.as_str(), "done"),
            Some(reason) => warn!(job, action = action.as_str(), "failed: {reason}"),
        }
        let report = ActionReport {
            action,
            succ: done.failure.is_none(),
            finish_time: handle::now(),
            reason: done.failure.unwrap_or_default(),
            extend: done.extend,
        };
        keep(&handle, &task, report, &stop).await;
    }
}

/// Writes a step's result down, however often that takes. If the agent ends before it is written, the step is done again.
async fn keep(handle: &Handle, task: &Task, report: ActionReport, stop: &CancellationToken) {
    let mut backoff = Backoff::new(PAUSES.0, PAUSES.1);
    while let Err(error) = handle.record(&task.id, task.given, &report).await {
        let (job, action) = (&task.id.job, report.action.as_str());
        warn!(job, action, "the result cannot be stored, and is not told before it is: {error}");
        tokio::select! {
            () = stop.cancelled() => return,
            () = handle.until_gone(&task.id, task.given) => return,
            () = tokio::time::sleep(backoff.pause()) => {}
        }
    }
}

async fn step(kind: JobType, action: Action, spec: &str, node: &str, tools: &Tools) -> Done {
    match kind {
        JobType::ImagePrePull => prepull::step(action, spec, node, tools).await,
    }
}

// === impl Done ===

impl Done {
    pub(super) fn of(result: Result<(), String>) -> Self {
        Self { failure: result.err(), extend: String::new() }
    }
}
