//! Whether a job has reached its end, and why.
//!
//! The end comes in two steps: `FailureTarget` or `SuccessCriteriaMet` says that it is decided, and `Failed` or `Complete` that no pod
//! is left and all are counted. Source: Kubernetes v1.36 `pkg/controller/job/job_controller.go`, `success_policy.go`.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use super::policy::Action;
use super::tally::Tally;
use super::view::View;
use crate::pods::{is_active, phase};

/// How it ends.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Ending {
    pub(super) success: bool,
    pub(super) reason: String,
    pub(super) message: String,
}

impl Ending {
    fn failure(reason: &str, message: &str) -> Option<Self> {
        Some(Self { success: false, reason: reason.to_owned(), message: message.to_owned() })
    }

    fn success(reason: &str, message: String) -> Option<Self> {
        Some(Self { success: true, reason: reason.to_owned(), message })
    }

    /// The condition that says that it is decided.
    pub(super) fn target(&self) -> &'static str {
        if self.success { "SuccessCriteriaMet" } else { "FailureTarget" }
    }

    /// The condition that says that it is over.
    pub(super) fn last(&self) -> &'static str {
        if self.success { "Complete" } else { "Failed" }
    }
}

/// What was decided before, as the job's status tells.
pub(super) fn decided(job: &View<'_>) -> Option<Ending> {
    let conditions = job.status.conditions.as_deref().unwrap_or_default();
    let decided = |kind: &str| conditions.iter().find(|one| one.type_ == kind && one.status == "True");
    let (condition, success) = decided("FailureTarget")
        .map(|one| (one, false))
        .or(decided("SuccessCriteriaMet").map(|one| (one, true)))?;
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    Some(Ending { success, reason: text(&condition.reason), message: text(&condition.message) })
}

/// What is to be decided now.
pub(super) fn decide(job: &View<'_>, tally: &Tally, pods: &[Arc<Pod>], now: Timestamp) -> Option<Ending> {
    failed(job, tally, pods, now).or_else(|| succeeded(job, tally, pods))
}

/// Seconds until the job has been active for too long; nothing if it may be for ever.
pub(super) fn deadline(job: &View<'_>, now: Timestamp) -> Option<i64> {
    // The clock starts anew when a job is resumed.
    let runs = !job.is_suspended() && !job.holds("Suspended");
    let start = job.status.start_time.as_ref().filter(|_| runs)?;
    Some(start.0.as_second().saturating_add(job.spec.active_deadline_seconds?) - now.as_second())
}

fn failed(job: &View<'_>, tally: &Tally, pods: &[Arc<Pod>], now: Timestamp) -> Option<Ending> {
    if job.spec.pod_failure_policy.is_some() {
        let words = pods.iter().filter(|pod| job.has_failed(pod)).map(|pod| job.action(pod));
        let why =
            words.into_iter().find_map(|word| if let Action::FailJob(why) = word { Some(why) } else { None });
        if let Some(why) = why {
            return Ending::failure("PodFailurePolicy", &why);
        }
    }
    if tally.all_failed() > job.backoff_limit() || restarted_too_often(job, pods) {
        return Ending::failure("BackoffLimitExceeded", "Job has reached the specified backoff limit");
    }
    if deadline(job, now).is_some_and(|left| left <= 0) {
        return Ending::failure("DeadlineExceeded", "Job was active longer than specified deadline");
    }
    let failed_indexes = tally.failed_indexes.len();
    if job.spec.max_failed_indexes.is_some_and(|most| failed_indexes > most) {
        let message = "Job has exceeded the specified maximal number of failed indexes";
        return Ending::failure("MaxFailedIndexesExceeded", message);
    }
    let all_tried = job.indexed().is_some_and(|all| failed_indexes + tally.completed.len() >= all);
    if failed_indexes > 0 && all_tried {
        return Ending::failure("FailedIndexes", "Job has failed indexes");
    }
    None
}

/// Pods that are restarted in place count by their restarts.
fn restarted_too_often(job: &View<'_>, pods: &[Arc<Pod>]) -> bool {
    let template = job.spec.template.spec.as_ref();
    if template.and_then(|spec| spec.restart_policy.as_deref()) != Some("OnFailure") {
        return false;
    }
    let running = pods.iter().filter(|pod| matches!(phase(pod), "Running" | "Pending"));
    let restarts: i32 = running
        .filter_map(|pod| pod.status.as_ref())
        .flat_map(|status| status.init_container_statuses.iter().chain(&status.container_statuses).flatten())
        .map(|container| container.restart_count)
        .fold(0, i32::saturating_add);
    let limit = job.backoff_limit();
    if limit == 0 { restarts > 0 } else { restarts >= limit }
}

fn succeeded(job: &View<'_>, tally: &Tally, pods: &[Arc<Pod>]) -> Option<Ending> {
    if let Some(rule) = success_rule(job, tally) {
        return Ending::success("SuccessPolicy", format!("Matched rules at index {rule}"));
    }
    let enough = match job.spec.completions {
        None => tally.all_succeeded() > 0 && !pods.iter().any(|pod| is_active(pod)),
        Some(completions) => tally.all_succeeded() >= completions,
    };
    enough.then(|| {
        Ending::success("CompletionsReached", "Reached expected number of succeeded pods".to_owned())
    })?
}

/// The first rule of the success policy that holds.
fn success_rule(job: &View<'_>, tally: &Tally) -> Option<usize> {
    let completions = job.indexed()?;
    job.spec.success_policy.as_ref()?.rules.iter().position(|rule| match &rule.succeeded_indexes {
        None => rule.succeeded_count.is_some_and(|count| tally.completed.len() >= count),
        Some(text) => {
            let wanted = super::indexes::Indexes::parse(text, completions);
            let missing = wanted.without(&tally.completed).len();
            wanted.len() - missing >= rule.succeeded_count.unwrap_or(wanted.len())
        }
    })
}
