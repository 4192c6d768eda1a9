//! A job's wishes with their defaults, and what its pods are to it.

use k8s_openapi::api::batch::v1::{Job, JobSpec, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use super::indexes::Indexes;
use super::policy;
use crate::pods::{is_finished, phase};

/// Keeps a pod from vanishing before it is counted.
pub(super) const TRACKING: &str = "batch.kubernetes.io/job-tracking";
/// A pod's index, as annotation and as label.
pub(super) const INDEX: &str = "batch.kubernetes.io/job-completion-index";
/// How often its index had failed before the pod was made.
pub(super) const FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";

/// A job to be looked at.
#[derive(Clone, Copy)]
pub(super) struct View<'j> {
    pub(super) job: &'j Job,
    pub(super) spec: &'j JobSpec,
    pub(super) status: &'j JobStatus,
}

impl<'j> View<'j> {
    /// Nothing where the job has no spec, which the API does not let happen.
    pub(super) fn of(job: &'j Job, empty: &'j JobStatus) -> Option<Self> {
        Some(Self { job, spec: job.spec.as_ref()?, status: job.status.as_ref().unwrap_or(empty) })
    }

    pub(super) fn parallelism(&self) -> i32 {
        self.spec.parallelism.unwrap_or(1)
    }

    pub(super) fn is_suspended(&self) -> bool {
        self.spec.suspend == Some(true)
    }

    pub(super) fn backoff_limit(&self) -> i32 {
        self.spec.backoff_limit.unwrap_or(6)
    }

    /// How many indexes there are; nothing for jobs without.
    pub(super) fn indexed(&self) -> Option<i32> {
        let indexed = self.spec.completion_mode.as_deref() == Some("Indexed");
        indexed.then(|| self.spec.completions.unwrap_or_default())
    }

    /// The index of one of its pods, if that is one that the job has.
    pub(super) fn index(&self, pod: &Pod) -> Option<i32> {
        let index = pod.annotations().get(INDEX)?.parse().ok()?;
        self.indexed().filter(|completions| (0..*completions).contains(&index)).map(|_| index)
    }

    pub(super) fn completed_indexes(&self) -> Indexes {
        self.read(self.status.completed_indexes.as_deref())
    }

    pub(super) fn failed_indexes(&self) -> Indexes {
        self.read(self.status.failed_indexes.as_deref())
    }

    fn read(&self, text: Option<&str>) -> Indexes {
        Indexes::parse(text.unwrap_or_default(), self.indexed().unwrap_or_default())
    }

    /// Whether a pod has to have failed before another takes its place; else being deleted is enough.
    pub(super) fn replaces_only_failed(&self) -> bool {
        self.spec.pod_replacement_policy.as_deref() == Some("Failed")
            || self.spec.pod_failure_policy.is_some()
    }

    /// Whether a pod counts as failed. One that is deleted while it runs does, because it may never get to say so itself.
    pub(super) fn has_failed(&self, pod: &Pod) -> bool {
        match phase(pod) {
            "Failed" => true,
            "Succeeded" => false,
            _ => pod.metadata.deletion_timestamp.is_some() && !self.replaces_only_failed(),
        }
    }

    /// What the failure of a pod means.
    pub(super) fn action(&self, pod: &Pod) -> policy::Action {
        policy::action(self.job, pod)
    }

    /// Whether a condition holds.
    pub(super) fn holds(&self, kind: &str) -> bool {
        holds(self.status, kind)
    }

    /// Whether it came to its end.
    pub(super) fn is_finished(&self) -> bool {
        self.holds("Complete") || self.holds("Failed")
    }
}

/// Whether a condition holds in a status.
pub(super) fn holds(status: &JobStatus, kind: &str) -> bool {
    let conditions = status.conditions.as_deref().unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == kind && condition.status == "True")
}

/// Whether a pod still waits to be counted.
pub(super) fn is_tracked(pod: &Pod) -> bool {
    pod.finalizers().iter().any(|finalizer| finalizer == TRACKING)
}

/// Whether it is deleted and has not ended yet.
pub(super) fn is_terminating(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some() && !is_finished(pod)
}
