//! One look at a cron job: what became of its jobs, and whether another is due.
//!
//! Source: Kubernetes v1.36 `pkg/controller/cronjob/cronjob_controllerv2.go` and `utils.go`.

use std::sync::Arc;

use jiff::Timestamp;
use jiff::fmt::rfc2822;
use k8s_openapi::api::batch::v1::{CronJob, CronJobSpec, CronJobStatus, Job};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use crate::cache::uid_of;
use schedules::{MANY, Schedule, Unreadable};

/// An event about the cron job.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct News {
    pub(super) warning: bool,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// A job to be made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Start {
    pub(super) at: Timestamp,
    pub(super) name: String,
    /// The time as the schedule's zone writes it.
    pub(super) written: String,
}

#[derive(Debug, Default)]
pub(super) struct Plan {
    /// As it is before a job is made.
    pub(super) status: CronJobStatus,
    pub(super) news: Vec<News>,
    /// Jobs that make room for the one that is due.
    pub(super) replace: Vec<Arc<Job>>,
    pub(super) start: Option<Start>,
    /// Finished jobs that are too many.
    pub(super) prune: Vec<Arc<Job>>,
    /// When the next is due.
    pub(super) next: Option<Timestamp>,
}

/// Decides about a cron job with all jobs that it controls.
pub(super) fn plan(cron_job: &CronJob, jobs: &[Arc<Job>], now: Timestamp) -> Plan {
    let mut plan = Plan { status: cron_job.status.clone().unwrap_or_default(), ..Plan::default() };
    let spec = &cron_job.spec;
    plan.follow(jobs);
    if cron_job.metadata.deletion_timestamp.is_some() {
        return plan;
    }
    plan.prune = pruned(spec, jobs);
    if spec.suspend == Some(true) {
        return plan;
    }
    match Schedule::parse(&spec.schedule, spec.time_zone.as_deref()) {
        Ok(schedule) => plan.time(cron_job, spec, &schedule, jobs, now),
        Err(Unreadable::Zone(zone)) => {
            plan.tell(
                true,
                "UnknownTimeZone",
                format!("invalid timeZone: {zone:?}: unknown time zone {zone}"),
            );
        }
        Err(Unreadable::Schedule(why)) => {
            plan.tell(
                true,
                "UnparseableSchedule",
                format!("unparseable schedule: {:?} : {why}", spec.schedule),
            );
        }
    }
    plan
}

/// The job of a cron job for one time.
pub(super) fn name_at(cron_job: &CronJob, at: Timestamp) -> String {
    format!("{}-{}", cron_job.name_any(), at.as_second() / 60)
}

/// How a job ended; nothing if it has not.
pub(super) fn end(job: &Job) -> Option<&str> {
    let conditions = job.status.as_ref()?.conditions.as_deref()?;
    let last = conditions
        .iter()
        .find(|one| matches!(one.type_.as_str(), "Complete" | "Failed") && one.status == "True");
    last.map(|condition| condition.type_.as_str())
}

impl Plan {
    fn tell(&mut self, warning: bool, reason: &'static str, message: String) {
        self.news.push(News { warning, reason, message });
    }

    /// Keeps `active` and the time of the last success.
    fn follow(&mut self, jobs: &[Arc<Job>]) {
        let mut active = self.status.active.take().unwrap_or_default();
        for job in jobs {
            let (name, uid) = (job.name_any(), uid_of(&**job));
            let listed = active.iter().position(|one| one.uid.as_deref() == Some(uid.as_str()));
            match (listed, end(job)) {
                (Some(place), Some(condition)) => {
                    active.remove(place);
                    let message = format!("Saw completed job: {name}, condition: {condition}");
                    self.tell(false, "SawCompletedJob", message);
                }
                (None, None) => {
                    let message = format!("Saw a job that the controller did not create or forgot: {name}");
                    self.tell(true, "UnexpectedJob", message);
                }
                _ => {}
            }
            let done = job.status.as_ref().filter(|_| end(job) == Some("Complete"));
            if let Some(time) = done.and_then(|status| status.completion_time.as_ref())
                && self.status.last_successful_time.as_ref().is_none_or(|last| last < time)
            {
                self.status.last_successful_time = Some(time.clone());
            }
        }
        let (there, gone): (Vec<_>, _) =
            active.into_iter().partition(|one| jobs.iter().any(|job| one.uid == job.uid()));
        for one in gone {
            let message = format!("Active job went missing: {}", one.name.unwrap_or_default());
            self.tell(false, "MissingJob", message);
        }
        self.status.active = Some(there).filter(|active| !active.is_empty());
    }

    fn time(
        &mut self,
        cron_job: &CronJob,
        spec: &CronJobSpec,
        schedule: &Schedule,
        jobs: &[Arc<Job>],
        now: Timestamp,
    ) {
        let made = cron_job.metadata.creation_timestamp.as_ref().map_or(now, |time| time.0);
        let mut since = self.status.last_schedule_time.as_ref().map_or(made, |time| time.0);
        let mut deadline = None;
        if let Some(seconds) = spec.starting_deadline_seconds {
            let second = now.as_second().saturating_sub(seconds);
            deadline = Timestamp::from_second(second).ok();
        }
        let all = schedule.timing(since, now);
        self.next = all.next;
        let Some(newest) = all.due else { return };
        since = since.max(deadline.unwrap_or(since));
        let timing = schedule.timing(since, now);
        let Some(due) = timing.due else {
            return self.tell(
                true,
                "MissSchedule",
                format!("Missed scheduled time to start a job: {}", spoken(newest)),
            );
        };
        if timing.missed > MANY {
            let message = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
            self.tell(true, "TooManyMissedTimes", message.to_owned());
        }
        let name = name_at(cron_job, due);
        let active = self.status.active.clone().unwrap_or_default();
        if active.iter().any(|one| one.name.as_ref() == Some(&name)) {
            self.status.last_schedule_time = Some(Time(due));
            return;
        }
        // A job that was made before a crash is taken for what it is.
        self.news
            .retain(|news| news.reason != "UnexpectedJob" || !news.message.ends_with(&format!(": {name}")));
        match spec.concurrency_policy.as_deref() {
            Some("Forbid") if !active.is_empty() => {
                let message =
                    "Not starting job because prior execution is running and concurrency policy is Forbid";
                return self.tell(false, "JobAlreadyActive", message.to_owned());
            }
            Some("Replace") => {
                let listed = |job: &&Arc<Job>| active.iter().any(|one| one.uid == job.uid());
                self.replace = jobs.iter().filter(listed).cloned().collect();
                self.status.active = None;
            }
            _ => {}
        }
        self.start = Some(Start { at: due, name, written: schedule.written(due) });
    }
}

/// The oldest finished jobs beyond the limits of history.
fn pruned(spec: &CronJobSpec, jobs: &[Arc<Job>]) -> Vec<Arc<Job>> {
    let too_many = |condition: &str, limit: Option<i32>| {
        let Some(limit) = limit.and_then(|limit| usize::try_from(limit).ok()) else { return Vec::new() };
        let mut ended: Vec<_> = jobs.iter().filter(|job| end(job) == Some(condition)).cloned().collect();
        ended.sort_by_key(|job| {
            let started =
                job.status.as_ref().and_then(|status| status.start_time.as_ref()).map(|time| time.0);
            (started.or(job.metadata.creation_timestamp.as_ref().map(|time| time.0)), job.name_any())
        });
        let surplus = ended.len().saturating_sub(limit);
        ended.truncate(surplus);
        ended
    };
    let mut pruned = too_many("Complete", spec.successful_jobs_history_limit);
    pruned.extend(too_many("Failed", spec.failed_jobs_history_limit));
    pruned
}

/// A time as Go's RFC1123Z has it.
fn spoken(time: Timestamp) -> String {
    rfc2822::to_string(&time.to_zoned(jiff::tz::TimeZone::UTC)).unwrap_or_else(|_| time.to_string())
}
