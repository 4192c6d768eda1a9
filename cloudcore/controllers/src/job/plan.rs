//! One look at a job: its new status, and what is to be done once that is written.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobCondition, JobStatus, UncountedTerminatedPods};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::outcome::{self, Ending};
use super::shape::{NewPod, shape};
use super::tally::{Tally, tally};
use super::view::{View, holds, is_terminating};
use crate::pods::{is_active, is_ready};

/// What the job's events tell.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum News {
    Suspended,
    Resumed,
    Completed,
    Failed { reason: String, message: String },
}

/// In this order: the status is written, pods that it counts are set free, then the rest.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) status: JobStatus,
    /// What to tell once the status is written.
    pub(super) news: Vec<News>,
    /// Pods that are counted: their finalizer goes.
    pub(super) release: Vec<Arc<Pod>>,
    /// Pods that are not wanted: set free without being counted, and deleted.
    pub(super) remove: Vec<Arc<Pod>>,
    /// Pods of a job that is over: deleted.
    pub(super) kill: Vec<Arc<Pod>>,
    pub(super) create: Vec<NewPod>,
    /// When to look again though nothing changes.
    pub(super) again: Option<Duration>,
}

/// What to do about a job that is not over, with all of its pods. Nothing if it is.
pub(super) fn plan(job: &Job, pods: &[Arc<Pod>], now: Timestamp) -> Option<Plan> {
    let empty = JobStatus::default();
    let job = View::of(job, &empty).filter(|job| !job.is_finished())?;
    let tally = tally(&job, pods);
    let mut plan = Plan { status: counted(&job, &tally, pods), ..Plan::default() };
    let decided = outcome::decided(&job);
    let ending = decided.clone().or_else(|| outcome::decide(&job, &tally, pods, now));
    match ending {
        Some(ending) => plan.end(&ending, decided.is_some(), &tally, pods, now),
        None => plan.go_on(&job, &tally, pods, now),
    }
    plan.release = tally.release;
    Some(plan)
}

/// The status with its numbers.
fn counted(job: &View<'_>, tally: &Tally, pods: &[Arc<Pod>]) -> JobStatus {
    let count = |wanted: fn(&Pod) -> bool| {
        i32::try_from(pods.iter().filter(|pod| wanted(pod)).count()).unwrap_or(i32::MAX)
    };
    let some = |number: i32| Some(number).filter(|number| *number > 0);
    let text = |indexes: &super::indexes::Indexes| Some(indexes.text()).filter(|text| !text.is_empty());
    let uids = |uids: &[String]| Some(uids.to_vec()).filter(|uids| !uids.is_empty());
    let mut status = job.status.clone();
    status.active = some(count(is_active));
    status.ready = Some(count(|pod| is_active(pod) && is_ready(pod)));
    status.terminating = Some(count(is_terminating));
    status.succeeded = some(tally.succeeded);
    status.failed = some(tally.failed);
    status.completed_indexes = text(&tally.completed);
    if job.spec.backoff_limit_per_index.is_some() {
        status.failed_indexes = Some(tally.failed_indexes.text());
    }
    status.uncounted_terminated_pods = Some(UncountedTerminatedPods {
        succeeded: uids(&tally.uncounted_succeeded),
        failed: uids(&tally.uncounted_failed),
    });
    status
}

impl Plan {
    fn end(&mut self, ending: &Ending, decided: bool, tally: &Tally, pods: &[Arc<Pod>], now: Timestamp) {
        self.set(ending.target(), "True", &ending.reason, &ending.message, now);
        let left = pods.iter().any(|pod| is_active(pod) || is_terminating(pod));
        if left || !tally.is_settled() {
            // Only what is written counts: a decision that is lost must not have killed anything.
            if decided {
                self.kill = pods.iter().filter(|pod| is_active(pod)).cloned().collect();
            }
            return;
        }
        self.set(ending.last(), "True", &ending.reason, &ending.message, now);
        self.news.push(if ending.success {
            self.status.completion_time = Some(Time(now));
            News::Completed
        } else {
            News::Failed { reason: ending.reason.clone(), message: ending.message.clone() }
        });
    }

    fn go_on(&mut self, job: &View<'_>, tally: &Tally, pods: &[Arc<Pod>], now: Timestamp) {
        if job.job.metadata.deletion_timestamp.is_some() {
            return;
        }
        if job.is_suspended() {
            if !job.holds("Suspended") {
                self.set("Suspended", "True", "JobSuspended", "Job suspended", now);
                self.news.push(News::Suspended);
            }
        } else if job.holds("Suspended") {
            self.set("Suspended", "False", "JobResumed", "Job resumed", now);
            self.news.push(News::Resumed);
            self.status.start_time = Some(Time(now));
        } else if self.status.start_time.is_none() {
            self.status.start_time = Some(Time(now));
        }
        let shape = shape(job, tally, pods, now);
        let deadline = outcome::deadline(job, now).and_then(|left| u64::try_from(left).ok());
        let deadline = deadline.or_else(|| u64::try_from(job.spec.active_deadline_seconds?).ok());
        let deadline = deadline.filter(|_| !job.is_suspended()).map(Duration::from_secs);
        self.again = shape.again.into_iter().chain(deadline).min();
        self.remove = shape.remove;
        self.create = shape.create;
    }

    fn set(&mut self, kind: &str, status: &str, reason: &str, message: &str, now: Timestamp) {
        if status == "True" && holds(&self.status, kind) {
            return;
        }
        let conditions = self.status.conditions.get_or_insert_default();
        conditions.retain(|condition| condition.type_ != kind);
        conditions.push(JobCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_probe_time: Some(Time(now)),
            last_transition_time: Some(Time(now)),
        });
    }
}
