//! What edgehub holds of the tasks: it brings new ones and takes reports away.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use proto::message::Message;
use proto::operations::{ActionReport, JobType};
use proto::resource::Resource;
use proto::session::Outcome;
use tokio::sync::{Mutex, watch};
use tracing::{info, warn};

use super::Settings;
use super::task::{Task, TaskId};
use crate::edgehub::{Outbox, OutboxError, Report, RowKey};
use crate::folder::Folder;

/// Tasks at a time; the cloud is told to come again with more.
const MOST: usize = 256;

/// Brings tasks and takes reports. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    pub(super) settings: Arc<Settings>,
    pub(super) folder: Folder,
    pub(super) state: Arc<Mutex<State>>,
    /// Counts up whenever a task or a report came or went.
    pub(super) changed: watch::Sender<u64>,
}

/// All tasks.
pub(super) struct State {
    tasks: BTreeMap<TaskId, Task>,
}

impl State {
    pub(super) fn new(known: Vec<Task>) -> Self {
        Self { tasks: known.into_iter().map(|task| (task.id.clone(), task)).collect() }
    }

    /// The task that was given first of those with something to do.
    pub(super) fn due(&self) -> Option<&Task> {
        self.tasks.values().filter(|task| task.next.is_some()).min_by_key(|task| task.given)
    }
}

// === impl Handle ===

impl Handle {
    /// Takes what the cloud wants. `Done` only when it is on disk.
    pub async fn accept(&self, message: &Message) -> Outcome {
        let Resource::Task { job_type, job, node } = &message.route.resource else {
            return Outcome::Rejected(format!("{} is no task", message.route.resource));
        };
        if *node != self.settings.node {
            return Outcome::Rejected(format!("the task is for node {node}, this is {}", self.settings.node));
        }
        let Some(kind) = JobType::parse(job_type) else {
            return Outcome::Rejected(format!("this edge does not do tasks of type {job_type}"));
        };
        let id = TaskId { job_type: job_type.clone(), job: job.clone() };
        let spec = message.content.get().to_owned();
        let mut state = self.state.lock().await;
        let known = state.tasks.get_mut(&id);
        if let Some(known) = known.filter(|known| known.spec == spec) {
            // The cloud asks because it does not know what became of it.
            known.confirmed = 0;
            self.touch();
            return Outcome::Done;
        }
        if state.tasks.len() >= MOST && !state.tasks.contains_key(&id) {
            return Outcome::Retry(format!("{MOST} tasks are waiting on this node"));
        }
        info!(job, kind = job_type, "a task for this node");
        let now = u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0);
        // Two of the same name in one millisecond are two.
        let given = state.tasks.get(&id).map_or(now, |known| now.max(known.given + 1));
        let task = Task::new(id.clone(), kind, spec, given);
        if let Err(error) = self.folder.save(&row(&task.id).0, &task).await {
            let reason = format!("the task cannot be kept in {}: {error}", self.folder.path().display());
            warn!(job, "{reason}");
            return Outcome::Retry(reason);
        }
        state.tasks.insert(id, task);
        self.touch();
        Outcome::Done
    }

    /// Takes a step's result in, if the task is still the same. It is told, and gone on from, only once it is on disk.
    ///
    /// # Errors
    /// If it cannot be written; then the task is as it was.
    pub(super) async fn record(&self, id: &TaskId, given: u64, report: &ActionReport) -> io::Result<()> {
        let mut state = self.state.lock().await;
        let Some(task) = state.tasks.get_mut(id).filter(|task| task.given == given) else { return Ok(()) };
        let mut done = task.clone();
        done.record(report.clone());
        self.folder.save(&row(id).0, &done).await?;
        *task = done;
        self.touch();
        Ok(())
    }

    /// Ends when the task is no longer there, or is another one of the same name.
    pub(super) async fn until_gone(&self, id: &TaskId, given: u64) {
        let mut changed = self.changed.subscribe();
        loop {
            if self.state.lock().await.tasks.get(id).is_none_or(|task| task.given != given) {
                return;
            }
            if changed.changed().await.is_err() {
                return;
            }
        }
    }

    async fn forget(&self, state: &mut State, id: &TaskId) {
        state.tasks.remove(id);
        if let Err(error) = self.folder.remove(&row(id).0).await {
            warn!(job = id.job, "a finished task cannot be removed: {error}");
        }
    }

    fn touch(&self) {
        self.changed.send_modify(|count| *count += 1);
    }
}

#[async_trait]
impl Outbox for Handle {
    fn name(&self) -> &'static str {
        "taskmanager"
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    async fn ahead(&self, limit: usize, in_flight: &HashSet<RowKey>) -> Result<Vec<Report>, OutboxError> {
        let state = self.state.lock().await;
        let untold = state.tasks.values().filter_map(|task| {
            let row = row(&task.id);
            let (version, message) = task.untold(&self.settings.node)?;
            (!in_flight.contains(&row)).then_some(Report { row, version, message })
        });
        Ok(untold.take(limit).collect())
    }

    async fn confirm(&self, row: &RowKey, version: u64) -> Result<(), OutboxError> {
        let mut state = self.state.lock().await;
        let Some(id) = id(row) else { return Ok(()) };
        let Some(task) = state.tasks.get_mut(&id) else { return Ok(()) };
        if task.confirm(version) {
            if task.is_over() {
                self.forget(&mut state, &id).await;
            }
            // The next report of the task waits for this.
            self.touch();
        }
        Ok(())
    }

    async fn reject(&self, row: &RowKey, version: u64, reason: &str) -> Result<(), OutboxError> {
        let mut state = self.state.lock().await;
        let Some(id) = id(row) else { return Ok(()) };
        if state.tasks.get(&id).is_some_and(|task| task.has(version)) {
            info!(job = id.job, "the cloud does not want the task any more: {reason}");
            self.forget(&mut state, &id).await;
            self.touch();
        }
        Ok(())
    }
}

/// A step that failed now.
pub(super) fn failed(action: proto::operations::Action, reason: String) -> ActionReport {
    ActionReport { action, succ: false, finish_time: now(), reason, extend: String::new() }
}

/// As Go writes times in UTC, to the second.
pub(super) fn now() -> String {
    let seconds = Timestamp::now().as_second();
    Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH).to_string()
}

fn row(id: &TaskId) -> RowKey {
    RowKey(format!("{}/{}", id.job_type, id.job))
}

fn id(row: &RowKey) -> Option<TaskId> {
    let (job_type, job) = row.0.split_once('/')?;
    Some(TaskId { job_type: job_type.to_owned(), job: job.to_owned() })
}
