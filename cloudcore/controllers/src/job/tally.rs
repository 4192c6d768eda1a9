//! Counting pods that ended, each once, whatever dies when.
//!
//! A pod keeps a finalizer until it is counted. First its uid is written into the job's `uncountedTerminatedPods` (or its index into
//! `completedIndexes`), then the finalizer goes, and when that is seen the uid becomes one more in the counter. A look
//! at the job after any of these steps goes on with the next. Source: Kubernetes v1.36 `pkg/controller/job/job_controller.go`
//! (`trackJobStatusAndRemoveFinalizers`).

use std::collections::HashSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use super::indexes::Indexes;
use super::policy::Action;
use super::view::{FAILURES, View, is_tracked};
use crate::cache::uid_of;
use crate::pods::phase;

/// How many pods may be between the first and the last step at once (Kubernetes: `MaxUncountedPods`).
const MOST_UNCOUNTED: usize = 500;

/// What is to be written before anything else is done.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) succeeded: i32,
    pub(super) failed: i32,
    pub(super) uncounted_succeeded: Vec<String>,
    pub(super) uncounted_failed: Vec<String>,
    pub(super) completed: Indexes,
    pub(super) failed_indexes: Indexes,
    /// Pods that may go once this tally is written.
    pub(super) release: Vec<Arc<Pod>>,
}

impl Tally {
    pub(super) fn all_succeeded(&self) -> i32 {
        self.succeeded + count(&self.uncounted_succeeded)
    }

    pub(super) fn all_failed(&self) -> i32 {
        self.failed + count(&self.uncounted_failed)
    }

    /// Whether every pod that ended is in a counter.
    pub(super) fn is_settled(&self) -> bool {
        self.uncounted_succeeded.is_empty() && self.uncounted_failed.is_empty() && self.release.is_empty()
    }
}

fn count(uids: &[String]) -> i32 {
    i32::try_from(uids.len()).unwrap_or(i32::MAX)
}

/// Counts on from the job's status.
pub(super) fn tally(job: &View<'_>, pods: &[Arc<Pod>]) -> Tally {
    let tracked: HashSet<String> =
        pods.iter().filter(|pod| is_tracked(pod)).map(|pod| uid_of(&**pod)).collect();
    let uncounted = job.status.uncounted_terminated_pods.clone().unwrap_or_default();
    let mut tally = Tally {
        succeeded: job.status.succeeded.unwrap_or_default(),
        failed: job.status.failed.unwrap_or_default(),
        uncounted_succeeded: uncounted.succeeded.unwrap_or_default(),
        uncounted_failed: uncounted.failed.unwrap_or_default(),
        completed: job.completed_indexes(),
        failed_indexes: job.failed_indexes(),
        release: Vec::new(),
    };
    tally.succeeded += settle(&mut tally.uncounted_succeeded, &tracked);
    tally.failed += settle(&mut tally.uncounted_failed, &tracked);
    for pod in pods.iter().filter(|pod| is_tracked(pod)) {
        let waiting = tally.uncounted_succeeded.len() + tally.uncounted_failed.len();
        if waiting.max(tally.release.len()) >= MOST_UNCOUNTED {
            break;
        }
        if tally.take(job, pod) {
            tally.release.push(Arc::clone(pod));
        }
    }
    if job.indexed().is_some() {
        tally.succeeded = tally.completed.len();
        if let Some(limit) = job.spec.backoff_limit_per_index {
            tally.failed_indexes.extend(pods.iter().filter_map(|pod| given_up(job, pod, limit)));
            tally.failed_indexes = tally.failed_indexes.without(&tally.completed);
        }
    }
    tally
}

/// Moves those whose pod is free into the counter.
fn settle(uids: &mut Vec<String>, tracked: &HashSet<String>) -> i32 {
    let before = count(uids);
    uids.retain(|uid| tracked.contains(uid));
    before - count(uids)
}

impl Tally {
    /// Writes a tracked pod down, if it ended; whether it may be set free then.
    fn take(&mut self, job: &View<'_>, pod: &Pod) -> bool {
        let uid = uid_of(pod);
        if self.uncounted_succeeded.contains(&uid) || self.uncounted_failed.contains(&uid) {
            return true;
        }
        if phase(pod) == "Succeeded" {
            match (job.indexed(), job.index(pod)) {
                (None, _) => self.uncounted_succeeded.push(uid),
                (Some(_), Some(index)) => self.completed.extend([index]),
                (Some(_), None) => {}
            }
            return true;
        }
        if job.has_failed(pod) || job.holds("FailureTarget") {
            let counts = job.indexed().is_none() || job.index(pod).is_some();
            if counts && !is_ignored(job, pod) {
                self.uncounted_failed.push(uid);
            }
            return true;
        }
        // What still runs of a job that has what it wanted, or that is about to go, counts no more.
        job.holds("SuccessCriteriaMet") || job.job.metadata.deletion_timestamp.is_some()
    }
}

fn is_ignored(job: &View<'_>, pod: &Pod) -> bool {
    phase(pod) == "Failed" && job.action(pod) == Action::Ignore
}

/// The index of a failed pod that is not to be tried again.
fn given_up(job: &View<'_>, pod: &Pod, limit: i32) -> Option<i32> {
    if !job.has_failed(pod) {
        return None;
    }
    let index = job.index(pod)?;
    (job.action(pod) == Action::FailIndex || failures(job, pod) > limit).then_some(index)
}

/// How often the index of a failed pod has failed, this time included.
pub(super) fn failures(job: &View<'_>, pod: &Pod) -> i32 {
    let before = pod.annotations().get(FAILURES).and_then(|text| text.parse().ok()).unwrap_or(0_i32);
    before.saturating_add(i32::from(!is_ignored(job, pod)))
}
