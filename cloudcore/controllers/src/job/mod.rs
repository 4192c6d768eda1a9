//! Jobs: pods that run to their end, as often as wanted, and are counted exactly once.
//!
//! Owns: the pods of Jobs, their conditions and counters, and jobs that are over for longer than they wished to be kept. One look
//! is [`plan::plan`], which is pure; here its parts are carried out in an order that may end anywhere. May call: the
//! API, caches, `pods::control`. Called by: the crate's `start`. Source: Kubernetes v1.36 `pkg/controller/job`.

mod backoff;
mod finalizer;
mod indexes;
mod outcome;
mod plan;
mod pod;
mod policy;
mod shape;
mod tally;
#[cfg(test)]
mod tests;
mod view;

use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use kube::api::PropagationPolicy;
use kube::runtime::Controller;
use kube::runtime::controller::Action;
use kube::{Api, ResourceExt};
use tasks::TaskSet;

use self::plan::{News, plan};
use self::view::View;
use crate::claim::claim_from;
use crate::context::Context;
use crate::error::Error;
use crate::events::Recorder;
use crate::pods::control::{PodControl, is_namespace_going, this_one};
use crate::run::run;
use crate::status;
use crate::writes::{Writes, newest};

/// Jobs that somebody else looks after name that in `spec.managedBy`.
const MANAGER: &str = "kubernetes.io/job-controller";
#[derive(Clone)]
struct Shell {
    context: Context,
    recorder: Recorder,
    pods: PodControl,
    statuses: Arc<Writes>,
}

/// Looks after all jobs, on `tasks`.
pub(crate) fn start(context: &Context, tasks: &TaskSet) {
    let recorder = context.recorder("job-controller");
    let pods = PodControl::new(context.client.clone(), recorder.clone());
    let shell = Shell { context: context.clone(), recorder, pods, statuses: Arc::default() };
    let caches = Arc::clone(&context.caches);
    let controller = move || {
        Controller::for_shared_stream(caches.jobs.changes(), caches.jobs.store())
            .owns_shared_stream(caches.pods.changes_of_owned::<Job>())
    };
    run("jobs", tasks, controller, move |job| reconcile(shell.clone(), job));
    finalizer::start(context, tasks);
}

async fn reconcile(shell: Shell, job: Arc<Job>) -> Result<Action, Error> {
    let caches = &shell.context.caches;
    caches.pods.ready().await;
    let all_seen = shell.pods.is_seen(&*job, &caches.pods) && shell.statuses.are_seen(&*job, &caches.jobs);
    let job = match newest(&*job, &caches.jobs, all_seen) {
        Ok(job) => job,
        Err(action) => return Ok(action),
    };
    let Some(spec) = job.spec.as_ref() else { return Ok(Action::await_change()) };
    if spec.managed_by.as_deref().is_some_and(|manager| manager != MANAGER) {
        return Ok(Action::await_change());
    }
    if View::of(&job, &JobStatus::default()).is_some_and(|view| view.is_finished()) {
        return shell.expire(&job).await;
    }
    let pods = claim_from(&shell.context.client, &*job, spec.selector.as_ref(), &caches.pods).await?;
    let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap_or(Timestamp::UNIX_EPOCH);
    match plan(&job, &pods, now) {
        Some(plan) => shell.carry_out(&job, plan).await,
        None => Ok(Action::await_change()),
    }
}

impl Shell {
    async fn carry_out(&self, job: &Job, plan: plan::Plan) -> Result<Action, Error> {
        let client = &self.context.client;
        if let Some(written) = status::write(client, job, &job.status, &plan.status).await? {
            self.statuses.wrote(job, &written);
        }
        plan.news.into_iter().for_each(|news| self.tell(job, news));
        self.release(job, &plan.release).await?;
        self.release(job, &plan.remove).await?;
        self.pods.delete(job, &plan.remove).await?;
        self.pods.delete(job, &plan.kill).await?;
        let pods = plan.create.into_iter().filter_map(|new| pod::make(job, new)).collect();
        match self.pods.create(job, pods).await.error {
            Some(Error::Api { source, .. }) if is_namespace_going(&source) => Ok(Action::await_change()),
            Some(error) => Err(error),
            None => Ok(plan.again.map_or(Action::await_change(), Action::requeue)),
        }
    }

    async fn release(&self, job: &Job, pods: &[Arc<Pod>]) -> Result<(), Error> {
        let tracked = pods.iter().filter(|pod| view::is_tracked(pod));
        let released = try_join_all(tracked.map(|pod| finalizer::release(&self.context.client, pod))).await?;
        released.iter().flatten().for_each(|pod| self.pods.wrote(job, pod));
        Ok(())
    }

    fn tell(&self, job: &Job, news: News) {
        match news {
            News::Suspended => self.recorder.normal(job, "Suspended", "Job suspended".to_owned()),
            News::Resumed => self.recorder.normal(job, "Resumed", "Job resumed".to_owned()),
            News::Completed => self.recorder.normal(job, "Completed", "Job completed".to_owned()),
            News::Failed { reason, message } => self.recorder.warning(job, failure(&reason), message),
        }
    }

    /// Deletes a job that is over, once it is as old as it wished to become.
    async fn expire(&self, job: &Job) -> Result<Action, Error> {
        let wish = job.spec.as_ref().and_then(|spec| spec.ttl_seconds_after_finished);
        let (Some(wish), Some(end)) = (wish, ended_at(job)) else { return Ok(Action::await_change()) };
        let left = end.as_second().saturating_add(wish.into()) - Timestamp::now().as_second();
        if let Ok(left) = u64::try_from(left)
            && left > 0
        {
            return Ok(Action::requeue(Duration::from_secs(left)));
        }
        let api = Api::<Job>::namespaced(self.context.client.clone(), &job.namespace().unwrap_or_default());
        let mut how = this_one(job);
        how.propagation_policy = Some(PropagationPolicy::Background);
        match api.delete(&job.name_any(), &how).await {
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
            result => drop(result.map_err(Error::api("delete a job that is over"))?),
        }
        Ok(Action::await_change())
    }
}

/// When a job came to its end; nothing if it has not.
fn ended_at(job: &Job) -> Option<Timestamp> {
    let conditions = job.status.as_ref()?.conditions.as_deref()?;
    let last = |one: &&k8s_openapi::api::batch::v1::JobCondition| {
        matches!(one.type_.as_str(), "Complete" | "Failed") && one.status == "True"
    };
    conditions.iter().find(last)?.last_transition_time.as_ref().map(|time| time.0)
}

/// Events take their reasons from a fixed set.
fn failure(reason: &str) -> &'static str {
    const KNOWN: &[&str] = &[
        "BackoffLimitExceeded",
        "DeadlineExceeded",
        "FailedIndexes",
        "MaxFailedIndexesExceeded",
        "PodFailurePolicy",
    ];
    KNOWN.iter().find(|known| **known == reason).unwrap_or(&"Failed")
}
