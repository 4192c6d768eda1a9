//! Jobs on nodes: tells nodes what a job wants of them, and writes what they report into the job's status.
//!
//! Owns: the statuses of jobs (nobody else writes them), and [`Grants`]: which secret a node may read because a job for it
//! names it. All that is needed to go on is in the objects, so a restart loses nothing; which node was told is known per
//! session, and a node that connects is told again what it has not finished. May call: the Kubernetes API, sessions.
//! Called by: the wiring, which runs [`TaskManager::run`] and hands it nodes' reports.

mod begin;
mod decide;
mod events;
mod grants;
mod job;
mod shell;

use std::sync::Arc;

use kube::Client;
use proto::message::{Message, Operation};
use proto::operations::{ActionReport, JobType};
use proto::pki::NodeName;
use proto::resource::Resource;
use proto::session::Outcome;
use tokio::sync::{Mutex, mpsc, oneshot};
use tracing::warn;

use crate::cloudhub::Sessions;
use crate::cloudhub::session::Reply;
use crate::metrics::Metrics;

pub use grants::{Grant, Grants};

/// Reports and news that wait to be taken up; beyond it nodes are asked to send again.
const QUEUE: usize = 4096;

/// The controller. Cheap to clone.
#[derive(Clone)]
pub struct TaskManager {
    client: Client,
    sessions: Sessions,
    grants: Grants,
    metrics: Metrics,
    enabled: bool,
    work: mpsc::Sender<Work>,
    queue: Arc<Mutex<mpsc::Receiver<Work>>>,
}

/// Something that happened to a node.
#[derive(Debug)]
enum Work {
    /// It reported a step.
    Report { node: NodeName, job: String, report: ActionReport, reply: oneshot::Sender<Outcome> },
    /// It connected.
    Connected,
}

// === impl TaskManager ===

impl TaskManager {
    /// A controller that knows nothing yet. One that is not `enabled` is never run, and says so to nodes.
    #[must_use]
    pub fn new(client: Client, sessions: Sessions, grants: Grants, metrics: Metrics, enabled: bool) -> Self {
        let (work, queue) = mpsc::channel(QUEUE);
        Self { client, sessions, grants, metrics, enabled, work, queue: Arc::new(Mutex::new(queue)) }
    }

    /// Deals with one report of `node`. It has its place in the queue when this returns; it is confirmed when the job's
    /// status has it.
    pub fn handle(&self, node: &NodeName, request: &Message) -> impl Future<Output = Reply> + Send + use<> {
        let accepted = self.accept(node, request);
        async move {
            let outcome = match accepted {
                Ok(outcome) => {
                    outcome.await.unwrap_or_else(|_| Outcome::Retry("cloudcore is stopping".into()))
                }
                Err(outcome) => outcome,
            };
            Reply::Report(outcome)
        }
    }

    /// A session of some node has begun: it may have to be told something.
    pub fn connected(&self) {
        // A full queue means that the controller is about to look at every job anyway.
        let _ = self.work.try_send(Work::Connected);
    }

    fn accept(&self, node: &NodeName, request: &Message) -> Result<oneshot::Receiver<Outcome>, Outcome> {
        let reject = |reason: String| Err(Outcome::Rejected(reason));
        let resource = &request.route.resource;
        let Resource::Task { job_type, job, node: about } = resource else {
            return reject(format!("{resource} is no task"));
        };
        if about != node.as_str() {
            self.metrics.forbidden.inc();
            warn!(%node, task = %resource, "a node reported about another node's task");
            return reject(format!("{resource} is not of node {node}"));
        }
        if request.route.operation != Operation::UpdateNodeActionStatus
            || JobType::parse(job_type) != Some(JobType::ImagePrePull)
        {
            return reject(format!("cloudcore does not serve {} of {resource}", request.route.operation));
        }
        if !self.enabled {
            return Err(Outcome::Retry("modules.taskManager.enable is false in this cloudcore".into()));
        }
        let report = match request.content.parse_lenient() {
            Ok(report) => report,
            Err(error) => {
                warn!(%node, task = %resource, "a report about a task cannot be read: {error}");
                return reject(error.to_string());
            }
        };
        let (reply, outcome) = oneshot::channel();
        let work = Work::Report { node: node.clone(), job: job.clone(), report, reply };
        self.work.try_send(work).map_err(|_| Outcome::Retry("too many reports are waiting".into()))?;
        Ok(outcome)
    }
}
