//! Jobs and cron jobs.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::age::{age, human_duration, since};
use super::format::{NONE, joined, name, or, selector};
use super::{AGE, Column, NAME, Printer, int, text, wide};
use crate::schema::Json;

/// Conditions in the order in which they decide the STATUS column.
const STATES: &[&str] =
    &["Complete", "Failed", "Terminating", "Suspended", "FailureTarget", "SuccessCriteriaMet"];

pub(crate) const JOB: Printer = Printer::new(
    &[
        NAME,
        text("Status"),
        text("Completions"),
        text("Duration"),
        AGE,
        wide("Containers"),
        wide("Images"),
        wide("Selector"),
    ],
    job,
);

fn job(job: &Value, now: Timestamp) -> Vec<Value> {
    let holds = |state: &str| {
        job.list("/status/conditions")
            .iter()
            .any(|one| one.text("/type") == state && one.text("/status") == "True")
    };
    let deleting = job.has("/metadata/deletionTimestamp");
    let state = STATES.iter().find(|state| holds(state) || (**state == "Terminating" && deleting));
    let succeeded = job.int("/status/succeeded").unwrap_or_default();
    let completions = match (job.int("/spec/completions"), job.int("/spec/parallelism").unwrap_or_default()) {
        (Some(wanted), _) => format!("{succeeded}/{wanted}"),
        (None, parallel) if parallel > 1 => format!("{succeeded}/1 of {parallel}"),
        (None, _) => format!("{succeeded}/1"),
    };
    let started = job.text("/status/startTime").parse::<Timestamp>();
    let ended = job.text("/status/completionTime").parse::<Timestamp>().unwrap_or(now);
    let duration =
        started.map(|start| human_duration(ended.as_second() - start.as_second())).unwrap_or_default();
    let containers = job.list("/spec/template/spec/containers");
    vec![
        name(job),
        json!(state.unwrap_or(&"Running")),
        json!(completions),
        json!(duration),
        age(job, now),
        joined(containers, "/name"),
        joined(containers, "/image"),
        json!(selector(job.pointer("/spec/selector"))),
    ]
}

pub(crate) const CRON_JOB: Printer = Printer::new(
    &[
        NAME,
        text("Schedule"),
        text("Timezone"),
        Column { name: "Suspend", kind: "boolean", format: "", priority: 0 },
        int("Active"),
        text("Last Schedule"),
        AGE,
        wide("Containers"),
        wide("Images"),
        wide("Selector"),
    ],
    |job, now| {
        let last = job.text("/status/lastScheduleTime");
        let last = if last.is_empty() { NONE.to_owned() } else { since(last, now) };
        let containers = job.list("/spec/jobTemplate/spec/template/spec/containers");
        vec![
            name(job),
            json!(job.text("/spec/schedule")),
            json!(or(job.text("/spec/timeZone"), NONE)),
            json!(if job.flag("/spec/suspend") { "True" } else { "False" }),
            json!(job.list("/status/active").len()),
            json!(last),
            age(job, now),
            joined(containers, "/name"),
            joined(containers, "/image"),
            json!(selector(job.pointer("/spec/jobTemplate/spec/selector"))),
        ]
    },
);
