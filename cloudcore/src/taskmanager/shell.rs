//! The controller's loop: watches jobs, takes reports, and carries out what is decided, job by job.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event as Told, Node};
use kube::Api;
use kube::api::{DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use proto::operations::{ActionReport, JobPhase, JobStatus};
use proto::pki::NodeName;
use proto::session::Outcome;
use serde_json::json;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::begin::begin;
use super::decide::{Seen, decide};
use super::events::{self, between};
use super::job::Job;
use super::{TaskManager, Work};
use crate::kubeapi::{is_passing, status_of, watch_failure_of};

/// Reports taken at once, so that they share a write.
const BATCH: usize = 512;
/// A write that failed is tried again after this.
const AGAIN: Duration = Duration::from_secs(1);
/// How often a job that nothing happens to is looked at: sessions end without a word.
const IDLE: Duration = Duration::from_secs(5);

/// A report that waits to be written.
struct Waiting {
    node: NodeName,
    report: ActionReport,
    reply: oneshot::Sender<Outcome>,
}

/// A job and what this process knows about it.
struct Tracked {
    job: Job,
    waiting: Vec<Waiting>,
    /// On which session a node was told.
    told: BTreeMap<String, u64>,
    dirty: bool,
}

struct Run<'a> {
    manager: &'a TaskManager,
    jobs: BTreeMap<String, Tracked>,
    /// What a list that is under way has shown.
    listed: Option<HashSet<String>>,
    complete: bool,
}

/// Why a job was not settled.
enum Unsettled {
    /// It does not exist any more.
    Gone,
    /// Another try may help.
    Passing(String),
}

impl TaskManager {
    /// Runs until cancelled.
    ///
    /// # Errors
    /// Never; failures of the API are logged and tried again.
    pub async fn run(&self, stop: CancellationToken) -> Result<(), Infallible> {
        let mut queue = self.queue.lock().await;
        let mut run = Run { manager: self, jobs: BTreeMap::new(), listed: None, complete: false };
        let watched = watcher(Job::api(&self.client), watcher::Config::default()).default_backoff();
        let mut watched = pin!(watched);
        let mut batch = Vec::new();
        loop {
            let pause = run.pause();
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                Some(event) = watched.next() => run.watched(event),
                count = queue.recv_many(&mut batch, BATCH) => {
                    if count == 0 {
                        return Ok(());
                    }
                    batch.drain(..).for_each(|work| run.take(work));
                }
                () = tokio::time::sleep(pause) => run.touch_all(),
            }
            run.settle().await;
        }
    }
}

impl Run<'_> {
    fn watched(&mut self, event: Result<Event<DynamicObject>, watcher::Error>) {
        match event {
            Err(error) => {
                let missing = "the API does not know ImagePrePullJobs: install the definitions in deploy/crds (keadm init does)";
                warn!("watching jobs failed, trying again: {}", watch_failure_of(error, missing));
            }
            Ok(Event::Init) => self.listed = Some(HashSet::new()),
            Ok(Event::InitApply(object) | Event::Apply(object)) => self.applied(&object),
            Ok(Event::Delete(object)) => {
                if let Some(name) = &object.metadata.name {
                    self.gone(name);
                }
            }
            Ok(Event::InitDone) => {
                let listed = self.listed.take().unwrap_or_default();
                let missing: Vec<_> =
                    self.jobs.keys().filter(|name| !listed.contains(*name)).cloned().collect();
                missing.iter().for_each(|name| self.gone(name));
                self.complete = true;
                for tracked in self.jobs.values() {
                    self.grant(tracked);
                }
                self.manager.grants.complete();
            }
        }
    }

    fn applied(&mut self, object: &DynamicObject) {
        let Some(job) = Job::read(object) else { return };
        if let Some(listed) = &mut self.listed {
            listed.insert(job.name.clone());
        }
        match self.jobs.get_mut(&job.name) {
            Some(tracked) if tracked.job.uid == job.uid => {
                if job.is_newer_than(&tracked.job) {
                    tracked.job = job;
                    tracked.dirty = true;
                }
            }
            _ => {
                let name = job.name.clone();
                self.gone(&name);
                let tracked = Tracked { job, waiting: Vec::new(), told: BTreeMap::new(), dirty: true };
                self.jobs.insert(name, tracked);
            }
        }
    }

    /// The job was deleted: nodes hear it as the answer to their next report, and stop.
    fn gone(&mut self, name: &str) {
        if let Some(tracked) = self.jobs.remove(name) {
            tracked.answer(&Outcome::Rejected(no_job(name)));
        }
        self.manager.grants.set(name, None, BTreeSet::new());
    }

    fn take(&mut self, work: Work) {
        match work {
            Work::Connected => self.touch_all(),
            Work::Report { node, job, report, reply } => match self.jobs.get_mut(&job) {
                Some(tracked) => {
                    tracked.waiting.push(Waiting { node, report, reply });
                    tracked.dirty = true;
                }
                None => {
                    let outcome = if self.complete {
                        Outcome::Rejected(no_job(&job))
                    } else {
                        Outcome::Retry("cloudcore has just started and does not know the jobs yet".into())
                    };
                    // Whoever asked may be gone.
                    let _ = reply.send(outcome);
                }
            },
        }
    }

    fn touch_all(&mut self) {
        for tracked in self.jobs.values_mut() {
            tracked.dirty |= !matches!(tracked.job.status.phase, JobPhase::Completed | JobPhase::Failure);
        }
    }

    fn pause(&self) -> Duration {
        if self.jobs.values().any(|tracked| tracked.dirty) { AGAIN } else { IDLE }
    }

    async fn settle(&mut self) {
        if !self.complete {
            return;
        }
        let dirty: Vec<_> =
            self.jobs.iter().filter(|(_, tracked)| tracked.dirty).map(|(name, _)| name.clone()).collect();
        for name in dirty {
            let Some(mut tracked) = self.jobs.remove(&name) else { continue };
            tracked.dirty = false;
            match self.turn(&mut tracked).await {
                Ok(()) => {}
                Err(Unsettled::Gone) => {
                    tracked.answer(&Outcome::Rejected(no_job(&name)));
                    self.manager.grants.set(&name, None, BTreeSet::new());
                    continue;
                }
                Err(Unsettled::Passing(reason)) => {
                    debug!(job = name, "not settled, again soon: {reason}");
                    std::mem::take(&mut tracked.waiting)
                        .into_iter()
                        .for_each(|waiting| drop(waiting.reply.send(Outcome::Retry(reason.clone()))));
                    tracked.dirty = true;
                }
            }
            self.jobs.insert(name, tracked);
        }
    }

    /// One job: decide, write, and only then do.
    async fn turn(&self, tracked: &mut Tracked) -> Result<(), Unsettled> {
        if tracked.job.status.phase == JobPhase::New {
            let nodes: Api<Node> = Api::all(self.manager.client.clone());
            let nodes = nodes.list(&ListParams::default()).await.map_err(unsettled)?;
            let status = begin(&tracked.job, &nodes.items, Timestamp::now());
            self.write(tracked, status).await?;
        }
        self.grant(tracked);
        let sessions = &self.manager.sessions;
        let open: BTreeMap<String, u64> = tracked
            .job
            .status
            .node_status
            .iter()
            .filter(|node| !node.phase.is_final())
            .filter_map(|node| Some((node.node_name.clone(), sessions.id(&node.node_name.parse().ok()?)?)))
            .collect();
        tracked.told.retain(|node, session| open.get(node) == Some(session));
        let reports: Vec<_> = tracked
            .waiting
            .iter()
            .map(|waiting| (waiting.node.to_string(), waiting.report.clone()))
            .collect();
        let decision = decide(
            &tracked.job,
            &Seen {
                connected: &open.keys().cloned().collect(),
                told: &tracked.told.keys().cloned().collect(),
                reports: &reports,
                now: Timestamp::now(),
            },
        );
        if let Some(status) = decision.status {
            self.write(tracked, status).await?;
        }
        let known: HashSet<_> =
            tracked.job.status.node_status.iter().map(|node| node.node_name.as_str()).collect();
        for waiting in std::mem::take(&mut tracked.waiting) {
            let outcome = if known.contains(waiting.node.as_str()) {
                Outcome::Done
            } else {
                Outcome::Rejected(format!("job {} is not for node {}", tracked.job.name, waiting.node))
            };
            // Whoever asked may be gone.
            let _ = waiting.reply.send(outcome);
        }
        self.grant(tracked);
        for node in decision.tell {
            let Ok(name) = node.parse::<NodeName>() else { continue };
            if let Some(session) = sessions.tell(&name, tracked.job.task(&node)) {
                debug!(job = tracked.job.name, %node, "told");
                tracked.told.insert(node, session);
            } else {
                tracked.dirty = true;
            }
        }
        Ok(())
    }

    async fn write(&self, tracked: &mut Tracked, status: JobStatus) -> Result<(), Unsettled> {
        let job = &mut tracked.job;
        // Lists are replaced as wholes; the version keeps a second cloudcore from writing over what it has not seen.
        let patch =
            json!({"metadata": {"resourceVersion": job.resource_version, "uid": job.uid}, "status": status});
        let api = Job::api(&self.manager.client);
        let written = api
            .patch_status(&job.name, &PatchParams::default(), &Patch::Merge(&patch))
            .await
            .map_err(unsettled)?;
        let before = std::mem::replace(&mut job.status, status);
        if let Some(version) = written.metadata.resource_version {
            job.resource_version = version;
        }
        if before.phase != job.status.phase {
            info!(job = job.name, phase = ?job.status.phase, progress = job.status.progress, "{}", job.status.reason);
        }
        let events: Api<Told> = Api::namespaced(self.manager.client.clone(), events::NAMESPACE);
        for note in between(job, &before, &job.status) {
            // An event is a courtesy: the status has it all.
            if let Err(error) =
                events.create(&PostParams::default(), &note.event(job, Timestamp::now())).await
            {
                debug!(job = job.name, "an event was not recorded: {}", status_of(error).message);
            }
        }
        Ok(())
    }

    /// Nodes that are not done may read the job's secret; those that were silent may still be at it.
    fn grant(&self, tracked: &Tracked) {
        use proto::operations::NodePhase::{Failure, Successful};
        let Ok(plan) = &tracked.job.plan else { return };
        let open = tracked.job.status.node_status.iter();
        let open = open.filter(|node| !matches!(node.phase, Successful | Failure));
        let open = open.map(|node| node.node_name.clone()).collect();
        self.manager.grants.set(&tracked.job.name, plan.secret.as_ref(), open);
    }
}

impl Tracked {
    fn answer(self, outcome: &Outcome) {
        for waiting in self.waiting {
            // Whoever asked may be gone.
            let _ = waiting.reply.send(outcome.clone());
        }
    }
}

fn no_job(name: &str) -> String {
    format!("there is no job {name}")
}

fn unsettled(error: kube::Error) -> Unsettled {
    let status = status_of(error);
    if status.code == 404 {
        return Unsettled::Gone;
    }
    if !is_passing(&status) && status.code != 409 {
        warn!("a job's status cannot be written: {}", status.message);
    }
    Unsettled::Passing(status.message.clone())
}
