//! Cron jobs: a Job whenever the schedule says so.
//!
//! Owns: the Jobs that a CronJob controls, their number, and the cron job's status. One look is [`plan::plan`], which is pure and is
//! handed the time. The name of a job holds its time, so one that was made before a crash is recognised after it. May
//! call: the API and caches. Called by: the crate's `start`. Source: Kubernetes v1.36 `pkg/controller/cronjob`.

mod plan;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{PostParams, PropagationPolicy};
use kube::runtime::Controller;
use kube::runtime::controller::Action;
use kube::{Api, Resource, ResourceExt};
use tasks::TaskSet;

use self::plan::{Plan, Start, end, plan};
use crate::claim::{is_controlled_by, reference};
use crate::context::Context;
use crate::error::Error;
use crate::events::Recorder;
use crate::pods::control::{is_namespace_going, said, this_one};
use crate::run::run;
use crate::status;
use crate::writes::{Writes, newest};

const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";
/// So that the time has surely come (Kubernetes: `nextScheduleDelta`).
const AFTER: Duration = Duration::from_millis(100);

#[derive(Clone)]
struct Shell {
    context: Context,
    recorder: Recorder,
    jobs: Arc<Writes>,
    statuses: Arc<Writes>,
}

/// Looks after all cron jobs, on `tasks`.
pub(crate) fn start(context: &Context, tasks: &TaskSet) {
    let shell = Shell {
        context: context.clone(),
        recorder: context.recorder("cronjob-controller"),
        jobs: Arc::default(),
        statuses: Arc::default(),
    };
    let caches = Arc::clone(&context.caches);
    let controller = move || {
        Controller::for_shared_stream(caches.cron_jobs.changes(), caches.cron_jobs.store())
            .owns_shared_stream(caches.jobs.changes())
    };
    run("cron jobs", tasks, controller, move |cron_job| reconcile(shell.clone(), cron_job));
}

async fn reconcile(shell: Shell, cron_job: Arc<CronJob>) -> Result<Action, Error> {
    let caches = &shell.context.caches;
    caches.jobs.ready().await;
    let all_seen = shell.jobs.are_seen(&*cron_job, &caches.jobs)
        && shell.statuses.are_seen(&*cron_job, &caches.cron_jobs);
    let cron_job = match newest(&*cron_job, &caches.cron_jobs, all_seen) {
        Ok(cron_job) => cron_job,
        Err(action) => return Ok(action),
    };
    let mut jobs = caches.jobs.controlled_by(&*cron_job);
    jobs.sort_by_key(|job| job.name_any());
    let plan = plan(&cron_job, &jobs, Timestamp::now());
    shell.carry_out(&cron_job, plan).await
}

impl Shell {
    async fn carry_out(&self, cron_job: &CronJob, mut plan: Plan) -> Result<Action, Error> {
        for job in &plan.replace {
            self.delete(cron_job, job).await?;
        }
        if let Some(start) = &plan.start {
            match self.create(cron_job, start).await {
                Ok(job) => {
                    plan.status.last_schedule_time = Some(Time(start.at));
                    if let Some(job) = job.filter(|job| end(job).is_none()) {
                        plan.status.active.get_or_insert_default().push(job.object_ref(&()));
                    }
                }
                Err(Error::Api { source, .. }) if is_namespace_going(&source) => {
                    return Ok(Action::await_change());
                }
                Err(error) => return Err(error),
            }
        }
        let client = &self.context.client;
        if let Some(written) = status::write(client, cron_job, &cron_job.status, &plan.status).await? {
            self.statuses.wrote(cron_job, &written);
        }
        for news in plan.news {
            match news.warning {
                true => self.recorder.warning(cron_job, news.reason, news.message),
                false => self.recorder.normal(cron_job, news.reason, news.message),
            }
        }
        for job in &plan.prune {
            self.delete(cron_job, job).await?;
        }
        let wait = plan
            .next
            .map(|next| Duration::try_from(next.duration_since(Timestamp::now())).unwrap_or_default());
        Ok(wait.map_or(Action::await_change(), |wait| Action::requeue(wait + AFTER)))
    }

    /// Makes a job; nothing if somebody else's has its name.
    async fn create(&self, cron_job: &CronJob, start: &Start) -> Result<Option<Job>, Error> {
        let namespace = cron_job.namespace().unwrap_or_default();
        let api = Api::<Job>::namespaced(self.context.client.clone(), &namespace);
        match api.create(&PostParams::default(), &made(cron_job, start)).await {
            Ok(job) => {
                self.jobs.wrote(cron_job, &job);
                self.recorder.normal(cron_job, "SuccessfulCreate", format!("Created job {}", start.name));
                Ok(Some(job))
            }
            Err(kube::Error::Api(status)) if status.code == 409 => {
                let job = api.get_opt(&start.name).await.map_err(Error::api("look at a job"))?;
                Ok(job.filter(|job| is_controlled_by(job, cron_job)))
            }
            Err(error) => {
                if !is_namespace_going(&error) {
                    let message = format!("Error creating job: {}", said(&error));
                    self.recorder.warning(cron_job, "FailedCreate", message);
                }
                Err(Error::api("create a job")(error))
            }
        }
    }

    async fn delete(&self, cron_job: &CronJob, job: &Job) -> Result<(), Error> {
        let namespace = cron_job.namespace().unwrap_or_default();
        let api = Api::<Job>::namespaced(self.context.client.clone(), &namespace);
        let mut how = this_one(job);
        how.propagation_policy = Some(PropagationPolicy::Background);
        let name = job.name_any();
        match api.delete(&name, &how).await {
            Ok(_) => self.recorder.normal(cron_job, "SuccessfulDelete", format!("Deleted job {name}")),
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
            Err(error) => {
                let message = format!("Deleted job: {}", said(&error));
                self.recorder.warning(cron_job, "FailedDelete", message);
                return Err(Error::api("delete a job")(error));
            }
        }
        Ok(())
    }
}

/// The job of the template for one time.
fn made(cron_job: &CronJob, start: &Start) -> Job {
    let template = cron_job.spec.job_template.clone();
    let meta = template.metadata.unwrap_or_default();
    let mut job = Job { spec: template.spec, ..Job::default() };
    job.metadata.name = Some(start.name.clone());
    job.metadata.namespace = cron_job.namespace();
    job.metadata.labels = meta.labels;
    job.metadata.annotations = meta.annotations;
    job.annotations_mut().insert(SCHEDULED.to_owned(), start.written.clone());
    job.metadata.owner_references = Some(vec![reference(cron_job)]);
    job
}
