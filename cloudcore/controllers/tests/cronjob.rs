//! Cron jobs through the real control plane and the real kubectl. No test waits for the next minute: a run that was missed is due now.

mod support;

use controllers::Settings;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use support::Managed;

const CRON_JOBS: &str = "/apis/batch/v1/namespaces/default/cronjobs";
const JOBS: &str = "/apis/batch/v1/namespaces/default/jobs";

fn manifest(name: &str, extra: &str, exit: Option<&str>) -> String {
    let exit =
        exit.map(|code| format!("metadata: {{annotations: {{agent/exit: \"{code}\"}}}}")).unwrap_or_default();
    format!(
        "apiVersion: batch/v1
kind: CronJob
metadata: {{name: {name}}}
spec:
  schedule: \"0 0 1 1 *\"
{extra}
  jobTemplate:
    metadata: {{labels: {{from: {name}}}}}
    spec:
      template:
        {exit}
        spec:
          restartPolicy: Never
          containers: [{{name: main, image: busybox}}]
"
    )
}

async fn apply(managed: &Managed, name: &str, extra: &str, exit: Option<&str>) {
    let file = managed.cluster.manifest(&format!("{name}.yaml"), &manifest(name, extra, exit));
    managed.cluster.must(&["apply", "-f", &file]).await;
}

/// Makes one run of a yearly schedule due: the last one was two years ago.
async fn miss_a_run(managed: &Managed, name: &str) {
    let last = Timestamp::now().checked_sub(SignedDuration::from_hours(2 * 366 * 24)).unwrap();
    let last = Timestamp::from_second(last.as_second()).unwrap().to_string();
    let path = format!("{CRON_JOBS}/{name}/status");
    let (code, body) =
        managed.cluster.patch("merge-patch+json", &path, json!({"status": {"lastScheduleTime": last}})).await;
    assert_eq!(code, 200, "{body}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_due_becomes_a_job_named_after_its_time_and_is_followed_to_its_end() {
    let managed = Managed::start().await;
    let _node = managed.ready_node("edge-1").await;
    apply(&managed, "cj1", "", Some("0")).await;
    miss_a_run(&managed, "cj1").await;
    let path = format!("{CRON_JOBS}/cj1");
    let cron_job = managed.until(&path, "run", |one| one["status"]["lastSuccessfulTime"].is_string()).await;
    let jobs = managed.cluster.json(&["get", "jobs", "-l", "from=cj1"]).await;
    let [job] = &jobs["items"].as_array().unwrap()[..] else { panic!("{jobs:#}") };
    let scheduled = cron_job["status"]["lastScheduleTime"].as_str().unwrap();
    let minutes = scheduled.parse::<Timestamp>().unwrap().as_second() / 60;
    assert_eq!(job["metadata"]["name"], format!("cj1-{minutes}"));
    assert_eq!(job["metadata"]["annotations"]["batch.kubernetes.io/cronjob-scheduled-timestamp"], scheduled);
    assert_eq!(job["metadata"]["ownerReferences"][0]["kind"], "CronJob");
    let cron_job = managed.until(&path, "idle", |one| one["status"]["active"].is_null()).await;
    assert_eq!(cron_job["status"]["lastSuccessfulTime"], job["status"]["completionTime"]);
    let described = managed
        .until_kubectl(&["describe", "cronjob", "cj1"], "told", |text| text.contains("SawCompletedJob"))
        .await;
    for line in [
        "Schedule:                      0 0 1 1 *",
        "Concurrency Policy:            Allow",
        "Suspend:                       False",
        "Successful Job History Limit:  3",
        "Failed Job History Limit:      1",
        "Active Jobs:         <none>",
    ] {
        assert!(described.lines().any(|found| found == line), "no {line:?} in {described}");
    }
    assert!(described.contains(&format!("cronjob-controller  Created job cj1-{minutes}")), "{described}");
    let seen = format!("cronjob-controller  Saw completed job: cj1-{minutes}, condition: Complete");
    assert!(described.contains(&seen), "{described}");
    let table = managed.cluster.must(&["get", "cronjob", "cj1", "--no-headers"]).await;
    assert!(table.starts_with("cj1   0 0 1 1 *   <none>   False   0 "), "{table}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forbid_leaves_a_run_out_while_one_is_active_and_replace_deletes_it() {
    let mut managed = Managed::start().await;
    let _node = managed.ready_node("edge-1").await;
    for policy in ["Forbid", "Replace"] {
        let name = policy.to_lowercase();
        apply(&managed, &name, &format!("  concurrencyPolicy: {policy}"), None).await;
        miss_a_run(&managed, &name).await;
        let active = |one: &Value| one["status"]["active"].as_array().is_some_and(|active| active.len() == 1);
        managed.until(&format!("{CRON_JOBS}/{name}"), "running", active).await;
        managed.kill_controllers(Settings::default());
        // Another time is due, which the job's name tells apart from the first.
        let change = json!({"spec": {"schedule": "30 12 1 1 *"}}).to_string();
        managed.cluster.must(&["patch", "cronjob", &name, "-p", &change]).await;
        miss_a_run(&managed, &name).await;
    }
    managed
        .until_kubectl(&["describe", "cronjob", "forbid"], "told", |text| text.contains("JobAlreadyActive"))
        .await;
    let first = managed.cluster.json(&["get", "jobs", "-l", "from=forbid"]).await;
    assert_eq!(first["items"].as_array().unwrap().len(), 1);
    let described = managed
        .until_kubectl(&["describe", "cronjob", "replace"], "told", |text| {
            text.matches("SuccessfulCreate").count() == 2 && text.contains("SuccessfulDelete")
        })
        .await;
    assert!(described.contains("Deleted job replace-"), "{described}");
    managed
        .until(&format!("{JOBS}?labelSelector=from%3Dreplace"), "only the second job", |jobs| {
            jobs["items"].as_array().is_some_and(|jobs| jobs.len() == 1)
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspended_cron_job_starts_nothing_by_itself_but_kubectl_may() {
    let managed = Managed::start().await;
    let _node = managed.ready_node("edge-1").await;
    apply(&managed, "idle", "  suspend: true", Some("0")).await;
    miss_a_run(&managed, "idle").await;
    managed.cluster.must(&["create", "job", "--from=cronjob/idle", "byhand"]).await;
    managed.cluster.must(&["wait", "--for=condition=complete", "job/byhand", "--timeout=25s"]).await;
    let path = format!("{CRON_JOBS}/idle");
    managed.until(&path, "aware of it", |one| one["status"]["lastSuccessfulTime"].is_string()).await;
    let jobs = managed.cluster.json(&["get", "jobs"]).await;
    assert_eq!(jobs["items"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_that_cannot_be_read_is_refused_when_it_is_written() {
    let managed = Managed::start().await;
    for (schedule, why) in [
        ("99 * * * *", "end of range (99) above maximum (59): 99"),
        ("TZ=UTC 0 0 * * *", "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"),
    ] {
        let text = manifest("odd", "", None).replace("0 0 1 1 *", schedule);
        let said =
            managed.cluster.kubectl(&["apply", "-f", &managed.cluster.manifest("odd.yaml", &text)]).await;
        let expected =
            format!("The CronJob \"odd\" is invalid: spec.schedule: Invalid value: \"{schedule}\": {why}");
        assert!(!said.ok && said.err.contains(&expected), "{said:?}");
    }
    apply(&managed, "odd", "", None).await;
    let patch = json!({"spec": {"schedule": "* * * * sunday"}}).to_string();
    let said = managed.cluster.kubectl(&["patch", "cronjob", "odd", "-p", &patch]).await;
    assert!(said.err.contains("strconv.Atoi: parsing \"sunday\": invalid syntax"), "{said:?}");
}
