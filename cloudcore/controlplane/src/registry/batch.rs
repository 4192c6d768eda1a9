//! The group `batch`: jobs and cron jobs.

use k8s_openapi::api::batch::v1::{CronJob, Job};
use schedules::Schedule;
use serde_json::{Value, json};

use super::checks;
use super::core::pod;
use super::descriptor::{Dependents, Descriptor, STATUS};
use crate::schema::{Errors, Json, Path};
use crate::table;

/// The kinds of `batch/v1`, by name.
pub(super) const KINDS: &[Descriptor] = &[
    Descriptor {
        short_names: &["cj"],
        categories: &["all"],
        subresources: &[STATUS],
        generations: true,
        default: default_cron_job,
        validate: validate_cron_job,
        printer: table::CRON_JOB,
        ..Descriptor::of::<CronJob>()
    },
    Descriptor {
        categories: &["all"],
        subresources: &[STATUS],
        generations: true,
        dependents: Dependents::Orphan,
        default: |job| default_job_spec(job.child("spec")),
        prepare_create: prepare_job,
        validate: validate_job,
        validate_update: validate_job_update,
        printer: table::JOB,
        ..Descriptor::of::<Job>()
    },
];

/// Names of jobs have 63 characters, 11 of them for a dash and the minute.
const LONGEST_NAME: usize = 52;
const JOB_RESTART: &[&str] = &["OnFailure", "Never"];

fn default_job_spec(spec: Option<&mut Value>) {
    let Some(spec) = spec else { return };
    if !spec.has("/completions") && !spec.has("/parallelism") {
        spec.default_to("completions", 1);
    }
    spec.default_to("parallelism", 1);
    // With a limit for each index there is none for the whole.
    let per_index = spec.has("/backoffLimitPerIndex");
    spec.default_to("backoffLimit", if per_index { i32::MAX } else { 6 });
    spec.default_to("completionMode", "NonIndexed");
    spec.default_to("suspend", false);
    spec.default_to("podReplacementPolicy", "TerminatingOrFailed");
    spec.default_to("manualSelector", false);
    if let Some(template) = spec.child("template") {
        pod::default_template(template);
    }
}

/// A job selects its pods by its own uid, unless the user takes that over.
fn prepare_job(job: &mut Value) {
    let (uid, name) = (job.text("/metadata/uid").to_owned(), job.text("/metadata/name").to_owned());
    if job.flag("/spec/manualSelector") || uid.is_empty() {
        return;
    }
    let labels = [
        ("batch.kubernetes.io/controller-uid", &uid),
        ("batch.kubernetes.io/job-name", &name),
        ("controller-uid", &uid),
        ("job-name", &name),
    ];
    let label = |meta: Option<&mut Value>| {
        if let Some(list) = meta.and_then(|meta| meta.child("labels")) {
            for (key, value) in labels {
                list.default_to(key, value.as_str());
            }
        }
    };
    label(job.get_mut("metadata"));
    // A template may come without metadata; pods without the labels would be nobody's.
    label(
        job.get_mut("spec")
            .and_then(|spec| spec.child("template"))
            .and_then(|template| template.child("metadata")),
    );
    if let Some(spec) = job.get_mut("spec") {
        spec.default_to("selector", json!({"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}));
    }
}

fn validate_job(job: &Value, errors: &mut Errors) {
    job_spec(job.get("spec").unwrap_or(&Value::Null), &Path::Root.field("spec"), errors);
}

fn job_spec(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    for field in
        ["parallelism", "completions", "backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished"]
    {
        let number = spec.get(field).and_then(Value::as_i64).unwrap_or_default();
        if number < 0 {
            errors.invalid(&path.field(field), number, "must be greater than or equal to 0");
        }
    }
    if let Some(selector) = spec.get("selector") {
        checks::selector(selector, &path.field("selector"), errors);
    }
    let mode = spec.get("completionMode").and_then(Value::as_str).unwrap_or("NonIndexed");
    match mode {
        "NonIndexed" => {}
        "Indexed" if spec.get("completions").is_none_or(Value::is_null) => {
            errors.required(&path.field("completions"), "when completion mode is Indexed");
        }
        "Indexed" => {}
        other => errors.not_supported(&path.field("completionMode"), other, &["Indexed", "NonIndexed"]),
    }
    let template = path.field("template");
    let body = spec.get("template").unwrap_or(&Value::Null);
    pod::validate_template(body, &template, errors);
    let policy = body.text("/spec/restartPolicy");
    if !JOB_RESTART.contains(&policy) {
        let spec = template.field("spec");
        let here = spec.field("restartPolicy");
        if policy == "Always" || policy.is_empty() {
            errors.push(crate::status::FieldError::required(here, "valid values: \"OnFailure\", \"Never\""));
        } else {
            errors.not_supported(&here, policy, JOB_RESTART);
        }
    }
}

fn validate_job_update(old: &Value, new: &Value, errors: &mut Errors) {
    let root = Path::Root;
    let spec = root.field("spec");
    // An indexed job may grow and shrink if both numbers stay the same.
    let is_elastic = new.text("/spec/completionMode") == "Indexed"
        && new.pointer("/spec/completions") == new.pointer("/spec/parallelism");
    for field in ["selector", "template", "completions", "completionMode"] {
        let pointer = format!("/spec/{field}");
        let value = new.pointer(&pointer);
        if field == "completions" && is_elastic {
            continue;
        }
        if old.pointer(&pointer) != value {
            errors.invalid(&spec.field(field), value.cloned().unwrap_or_default(), "field is immutable");
        }
    }
}

fn default_cron_job(job: &mut Value) {
    let Some(spec) = job.child("spec") else { return };
    spec.default_to("concurrencyPolicy", "Allow");
    spec.default_to("suspend", false);
    spec.default_to("successfulJobsHistoryLimit", 3);
    spec.default_to("failedJobsHistoryLimit", 1);
    // The template's job gets its defaults when it is created; only its pods' are filled in here.
    if let Some(template) = spec.pointer_mut("/jobTemplate/spec/template") {
        pod::default_template(template);
    }
}

/// `Area/City`, without what only means this machine.
fn is_time_zone(name: &str) -> bool {
    !name.eq_ignore_ascii_case("local") && jiff::tz::TimeZone::get(name).is_ok()
}

fn validate_cron_job(job: &Value, errors: &mut Errors) {
    let root = Path::Root;
    let spec = root.field("spec");
    let schedule = job.text("/spec/schedule");
    if schedule.is_empty() {
        errors.required(&spec.field("schedule"), "");
    } else if schedule.contains("TZ") {
        let detail = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
        errors.invalid(&spec.field("schedule"), schedule, detail);
    } else if let Err(error) = Schedule::parse(schedule, None) {
        errors.invalid(&spec.field("schedule"), schedule, &error.to_string());
    }
    let zone = job.text("/spec/timeZone");
    if job.has("/spec/timeZone") && !is_time_zone(zone) {
        errors.invalid(&spec.field("timeZone"), zone, &format!("unknown time zone {zone}"));
    }
    let name = job.text("/metadata/name");
    if name.len() > LONGEST_NAME {
        let detail = format!("must be no more than {LONGEST_NAME} characters");
        errors.invalid(&root.field("metadata").field("name"), name, &detail);
    }
    let counts = ["startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"];
    checks::not_negative(job.get("spec").unwrap_or(&Value::Null), &counts, &spec, errors);
    let policy = job.text("/spec/concurrencyPolicy");
    if !matches!(policy, "Allow" | "Forbid" | "Replace") {
        errors.not_supported(&spec.field("concurrencyPolicy"), policy, &["Allow", "Forbid", "Replace"]);
    }
    let template = spec.field("jobTemplate");
    job_spec(job.pointer("/spec/jobTemplate/spec").unwrap_or(&Value::Null), &template.field("spec"), errors);
}
