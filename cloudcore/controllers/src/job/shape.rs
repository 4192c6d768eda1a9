//! How many pods a job should have now, and which of them go or come.
//!
//! Source: Kubernetes v1.36 `pkg/controller/job/job_controller.go` (`manageJob`) and `indexed_job_utils.go`.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use super::backoff;
use super::tally::{Tally, failures};
use super::view::{View, is_terminating};
use crate::pods::control::BURST;
use crate::pods::is_active;
use crate::pods::rank::first_to_go;

/// A pod to be made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct NewPod {
    pub(super) index: Option<i32>,
    /// How often its index has failed; only where the job limits that.
    pub(super) failures: Option<i32>,
}

/// What brings the job's pods to the wanted number.
#[derive(Debug, Default)]
pub(super) struct Shape {
    pub(super) create: Vec<NewPod>,
    /// Surplus: deleted without counting.
    pub(super) remove: Vec<Arc<Pod>>,
    /// When a pause after failures ends.
    pub(super) again: Option<Duration>,
}

pub(super) fn shape(job: &View<'_>, tally: &Tally, pods: &[Arc<Pod>], now: Timestamp) -> Shape {
    let active: Vec<_> = pods.iter().filter(|pod| is_active(pod)).cloned().collect();
    let wanted = if job.is_suspended() { 0 } else { wanted(job, tally, active.len()) };
    let remove = surplus(job, tally, active.clone(), wanted, now);
    if !remove.is_empty() || job.is_suspended() {
        return Shape { remove, ..Shape::default() };
    }
    let terminating = pods.iter().filter(|pod| is_terminating(pod)).count();
    let terminating = if job.replaces_only_failed() { terminating } else { 0 };
    let missing = wanted.saturating_sub(terminating + active.len()).min(BURST);
    if missing == 0 {
        return Shape::default();
    }
    if job.spec.backoff_limit_per_index.is_none()
        && let Some(again) = backoff::remaining(job, pods.iter(), now)
    {
        return Shape { again: Some(again), ..Shape::default() };
    }
    match job.indexed() {
        None => Shape { create: vec![NewPod { index: None, failures: None }; missing], ..Shape::default() },
        Some(completions) => indexes(job, tally, pods, completions, missing, now),
    }
}

fn wanted(job: &View<'_>, tally: &Tally, active: usize) -> usize {
    let parallelism = job.parallelism();
    let wanted = match job.spec.completions {
        // A work queue: the first that succeeds says that the queue is empty, and no more are started.
        None if tally.all_succeeded() > 0 => return active,
        None => parallelism,
        Some(completions) => (completions - tally.all_succeeded()).min(parallelism),
    };
    usize::try_from(wanted).unwrap_or(0)
}

/// Of the active pods, those that are too many: first those whose index another has or nobody wants, then the least useful.
fn surplus(
    job: &View<'_>,
    tally: &Tally,
    mut active: Vec<Arc<Pod>>,
    wanted: usize,
    now: Timestamp,
) -> Vec<Arc<Pod>> {
    active = first_to_go(&active, &HashMap::new(), now);
    let mut remove = Vec::new();
    if job.indexed().is_some() && !job.is_suspended() {
        let mut taken = HashSet::new();
        // The most useful pod of an index stays.
        active.reverse();
        let (mut keep, mut twice) = (Vec::new(), Vec::new());
        for pod in active {
            let fits = job.index(&pod).is_some_and(|index| {
                !tally.completed.contains(index)
                    && !tally.failed_indexes.contains(index)
                    && taken.insert(index)
            });
            if fits { keep.push(pod) } else { twice.push(pod) }
        }
        keep.reverse();
        active = keep;
        remove = twice;
    }
    let too_many = active.len().saturating_sub(wanted);
    remove.extend(active.into_iter().take(too_many));
    remove.truncate(BURST);
    remove
}

/// The lowest indexes that nobody works on and that are worth another attempt now.
fn indexes(
    job: &View<'_>,
    tally: &Tally,
    pods: &[Arc<Pod>],
    completions: i32,
    missing: usize,
    now: Timestamp,
) -> Shape {
    let busy = |pod: &&Arc<Pod>| is_active(pod) || (job.replaces_only_failed() && is_terminating(pod));
    let busy: HashSet<i32> = pods.iter().filter(busy).filter_map(|pod| job.index(pod)).collect();
    let open = (0..completions).filter(|index| {
        !busy.contains(index) && !tally.completed.contains(*index) && !tally.failed_indexes.contains(*index)
    });
    let mut shape = Shape::default();
    for index in open {
        if shape.create.len() == missing {
            break;
        }
        if job.spec.backoff_limit_per_index.is_none() {
            shape.create.push(NewPod { index: Some(index), failures: None });
            continue;
        }
        let tried = || pods.iter().filter(|pod| job.index(pod) == Some(index));
        if let Some(left) = backoff::remaining(job, tried(), now) {
            shape.again = Some(shape.again.map_or(left, |other| other.min(left)));
            continue;
        }
        let failed = tried().filter(|pod| job.has_failed(pod)).map(|pod| failures(job, pod)).max();
        shape.create.push(NewPod { index: Some(index), failures: Some(failed.unwrap_or(0)) });
    }
    shape
}
