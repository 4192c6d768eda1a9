//! Cron jobs with the clock in the test's hand.

use kube::ResourceExt;
use serde_json::{Value, json};

use super::*;

const NOW: &str = "2026-03-04T10:00:30Z";

fn cron_job(spec: Value, status: Value) -> CronJob {
    let mut object = json!({
        "metadata": {"name": "c", "namespace": "n", "uid": "c", "creationTimestamp": "2026-03-04T09:00:00Z"},
        "spec": {"schedule": "*/10 * * * *", "jobTemplate": {}, "successfulJobsHistoryLimit": 3, "failedJobsHistoryLimit": 1},
        "status": status,
    });
    for (key, value) in spec.as_object().unwrap() {
        object["spec"][key] = value.clone();
    }
    serde_json::from_value(object).unwrap()
}

fn job(name: &str, condition: Option<&str>, start: &str) -> Arc<Job> {
    let conditions = condition.map(|kind| json!([{"type": kind, "status": "True"}]));
    let object = json!({
        "metadata": {"name": name, "namespace": "n", "uid": name},
        "status": {"conditions": conditions, "startTime": start, "completionTime": condition.map(|_| start)},
    });
    Arc::new(serde_json::from_value(object).unwrap())
}

fn active(names: &[&str]) -> Value {
    json!({"active": names.iter().map(|name| json!({"name": name, "uid": name})).collect::<Vec<_>>(),
        "lastScheduleTime": "2026-03-04T09:50:00Z"})
}

fn look(spec: Value, status: Value, jobs: &[Arc<Job>], now: &str) -> Plan {
    plan(&cron_job(spec, status), jobs, now.parse().unwrap())
}

fn news(plan: &Plan) -> Vec<String> {
    plan.news.iter().map(|one| format!("{}: {}", one.reason, one.message)).collect()
}

#[test]
fn a_job_is_named_after_its_minute_and_the_next_look_is_when_the_next_is_due() {
    let plan = look(json!({"timeZone": "Europe/Berlin"}), json!({}), &[], NOW);
    let start = plan.start.unwrap();
    assert_eq!((start.name.as_str(), start.written.as_str()), ("c-29543640", "2026-03-04T11:00:00+01:00"));
    assert_eq!(plan.next, Some("2026-03-04T10:10:00Z".parse().unwrap()));
    assert!(look(json!({}), json!({"lastScheduleTime": "2026-03-04T10:00:00Z"}), &[], NOW).start.is_none());
    assert!(look(json!({"suspend": true}), json!({}), &[], NOW).start.is_none());
}

#[test]
fn forbid_waits_replace_deletes_and_allow_starts_another() {
    let jobs = [job("c-1", None, "2026-03-04T09:50:00Z")];
    let with = |policy: &str| look(json!({"concurrencyPolicy": policy}), active(&["c-1"]), &jobs, NOW);
    let forbid = with("Forbid");
    assert!(forbid.start.is_none() && forbid.replace.is_empty());
    assert_eq!(
        news(&forbid),
        [
            "JobAlreadyActive: Not starting job because prior execution is running and concurrency policy is Forbid"
        ]
    );
    let replace = with("Replace");
    assert_eq!((replace.replace.len(), replace.status.active, replace.start.is_some()), (1, None, true));
    let allow = with("Allow");
    assert_eq!(
        (allow.replace.len(), allow.status.active.unwrap().len(), allow.start.is_some()),
        (0, 1, true)
    );
}

#[test]
fn a_start_that_is_too_late_is_left_out_and_told() {
    let late = look(json!({"startingDeadlineSeconds": 20}), json!({}), &[], NOW);
    assert!(late.start.is_none());
    assert_eq!(
        news(&late),
        ["MissSchedule: Missed scheduled time to start a job: Wed, 4 Mar 2026 10:00:00 +0000"]
    );
    assert!(look(json!({"startingDeadlineSeconds": 40}), json!({}), &[], NOW).start.is_some());
    let many =
        look(json!({"schedule": "* * * * *"}), json!({"lastScheduleTime": "2026-03-03T10:00:00Z"}), &[], NOW);
    assert_eq!(many.news[0].reason, "TooManyMissedTimes");
    assert!(many.start.is_some());
}

#[test]
fn jobs_are_followed_until_they_end_and_history_is_kept_short() {
    let jobs: Vec<_> = (1..=5)
        .map(|number| job(&format!("c-{number}"), Some("Complete"), &format!("2026-03-04T09:1{number}:00Z")))
        .chain([
            job("c-6", Some("Failed"), "2026-03-04T09:20:00Z"),
            job("c-7", Some("Failed"), "2026-03-04T09:21:00Z"),
        ])
        .collect();
    let plan = look(json!({"suspend": true}), active(&["c-5", "c-7", "c-9"]), &jobs, NOW);
    assert_eq!(
        news(&plan),
        [
            "SawCompletedJob: Saw completed job: c-5, condition: Complete",
            "SawCompletedJob: Saw completed job: c-7, condition: Failed",
            "MissingJob: Active job went missing: c-9",
        ]
    );
    let pruned: Vec<_> = plan.prune.iter().map(|job| job.name_any()).collect();
    assert_eq!(pruned, ["c-1", "c-2", "c-6"]);
    assert_eq!(plan.status.active, None);
    assert_eq!(plan.status.last_successful_time.unwrap().0, "2026-03-04T09:15:00Z".parse().unwrap());
}

#[test]
fn a_job_made_before_a_crash_is_recognised_and_a_strangers_is_told() {
    let due = job("c-29543640", None, NOW);
    let plan = look(json!({}), json!({}), &[due], NOW);
    assert_eq!((news(&plan), plan.start.unwrap().name.as_str()), (vec![], "c-29543640"));
    let manual = look(json!({"suspend": true}), json!({}), &[job("byhand", None, NOW)], NOW);
    assert_eq!(
        news(&manual),
        ["UnexpectedJob: Saw a job that the controller did not create or forgot: byhand"]
    );
}

#[test]
fn schedules_and_zones_that_cannot_be_read_are_told() {
    let plan = look(json!({"schedule": "61 * * * *"}), json!({}), &[], NOW);
    assert_eq!((plan.news[0].reason, plan.next), ("UnparseableSchedule", None));
    let plan = look(json!({"timeZone": "Mars/Base"}), json!({}), &[], NOW);
    assert_eq!(
        news(&plan),
        ["UnknownTimeZone: invalid timeZone: \"Mars/Base\": unknown time zone Mars/Base"]
    );
}
