//! One job's part on this node, as a file holds it. Pure.

use proto::message::{Content, Group, Message, Operation, Route, Source};
use proto::operations::{Action, ActionReport, JobType, Next};
use proto::resource::Resource;
use serde::{Deserialize, Serialize};

/// Reports of one task are numbered below this; a task that is given anew starts above.
const REPORTS: u64 = 16;

/// Which task.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct TaskId {
    /// The segment of its kind.
    pub job_type: String,
    /// The job's name.
    pub job: String,
}

/// A task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Task {
    pub id: TaskId,
    /// When it was given, in milliseconds: tells it from one of the same name.
    pub given: u64,
    /// The job's spec, as text.
    pub spec: String,
    /// What is to be done next; `None` when all is done.
    pub next: Option<Action>,
    /// What was done.
    pub reports: Vec<ActionReport>,
    /// So many reports has the cloud confirmed.
    #[serde(default)]
    pub confirmed: usize,
}

// === impl Task ===

impl Task {
    pub(super) fn new(id: TaskId, kind: JobType, spec: String, given: u64) -> Self {
        Self { id, given, spec, next: Some(kind.flow().first()), reports: Vec::new(), confirmed: 0 }
    }

    pub(super) fn kind(&self) -> Option<JobType> {
        JobType::parse(&self.id.job_type)
    }

    /// Takes a step's result in, and goes on to what follows it.
    pub(super) fn record(&mut self, report: ActionReport) {
        let next = self.kind().map(|kind| kind.flow().after(report.action, report.succ));
        self.next = match next {
            Some(Next::Then(action)) => Some(action),
            Some(Next::End { .. }) | None => None,
        };
        self.reports.push(report);
    }

    /// Whether nothing is left to do or to tell.
    pub(super) fn is_over(&self) -> bool {
        self.next.is_none() && self.confirmed >= self.reports.len()
    }

    /// The next report that the cloud has not confirmed, and its version.
    pub(super) fn untold(&self, node: &str) -> Option<(u64, Message)> {
        let report = self.reports.get(self.confirmed)?;
        let resource = Resource::Task {
            job_type: self.id.job_type.clone(),
            job: self.id.job.clone(),
            node: node.to_owned(),
        };
        let route = Route::new(Source::Websocket, Group::Hub, Operation::UpdateNodeActionStatus, resource);
        let content = Content::json(report).ok()?;
        Some((self.version(self.confirmed), Message::new(route, content)))
    }

    /// The cloud has the report of this version. Whether that was news.
    pub(super) fn confirm(&mut self, version: u64) -> bool {
        let news = self.confirmed < self.reports.len() && version == self.version(self.confirmed);
        self.confirmed += usize::from(news);
        news
    }

    /// Whether the version is of this task's reports, not of one of the same name before it.
    pub(super) fn has(&self, version: u64) -> bool {
        version / REPORTS == self.given
    }

    fn version(&self, report: usize) -> u64 {
        self.given.saturating_mul(REPORTS).saturating_add(u64::try_from(report).unwrap_or(0).min(REPORTS - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(action: Action, succ: bool) -> ActionReport {
        ActionReport { action, succ, finish_time: "t".into(), reason: String::new(), extend: String::new() }
    }

    fn task(given: u64) -> Task {
        let id = TaskId { job_type: "imageprepulljob".into(), job: "warm".into() };
        Task::new(id, JobType::ImagePrePull, "{}".into(), given)
    }

    #[test]
    fn reports_are_told_one_after_the_other_and_a_task_is_over_when_all_are_confirmed() {
        let mut task = task(7);
        assert!(task.untold("n").is_none() && !task.is_over());
        task.record(report(Action::Check, true));
        assert_eq!(task.next, Some(Action::Pull));
        task.record(report(Action::Pull, true));
        let (version, message) = task.untold("n").unwrap();
        assert_eq!(
            message.route.resource.to_string(),
            "operations.kubeedge.io/v1alpha2/imageprepulljob/warm/node/n"
        );
        assert!(message.content.get().starts_with(r#"{"action":"Check","succ":true,"finishTime":"t""#));
        assert!(task.confirm(version) && !task.confirm(version) && !task.is_over());
        let (version, _) = task.untold("n").unwrap();
        assert!(task.confirm(version) && task.is_over());
    }

    #[test]
    fn a_failed_check_ends_it() {
        let mut task = task(7);
        task.record(report(Action::Check, false));
        assert_eq!(task.next, None);
    }

    #[test]
    fn an_answer_to_an_older_namesake_is_not_taken_for_its_own() {
        let mut old = task(7);
        old.record(report(Action::Check, true));
        let (version, _) = old.untold("n").unwrap();
        let mut new = task(8);
        new.record(report(Action::Check, true));
        assert!(old.has(version) && !new.has(version) && !new.confirm(version));
    }
}
