//! Jobs through the real control plane and the real kubectl.

mod support;

use std::collections::HashSet;

use controllers::Settings;
use serde_json::{Value, json};
use support::Managed;

fn job(name: &str, spec: &str, exit: Option<&str>) -> String {
    let exit =
        exit.map(|code| format!("\n      annotations: {{agent/exit: \"{code}\"}}")).unwrap_or_default();
    format!(
        "apiVersion: batch/v1
kind: Job
metadata: {{name: {name}}}
spec:
{spec}
  template:
    metadata:
      labels: {{app: {name}}}{exit}
    spec:
      restartPolicy: Never
      containers: [{{name: main, image: busybox}}]
"
    )
}

async fn apply(managed: &Managed, name: &str, spec: &str, exit: Option<&str>) {
    let file = managed.cluster.manifest(&format!("{name}.yaml"), &job(name, spec, exit));
    managed.cluster.must(&["apply", "-f", &file]).await;
}

const JOBS: &str = "/apis/batch/v1/namespaces/default/jobs";
const PODS: &str = "/api/v1/namespaces/default/pods";

fn conditions(job: &Value) -> Vec<String> {
    let conditions = job["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let text = |one: &Value| format!("{}={} {}", one["type"], one["status"], one["reason"]).replace('"', "");
    conditions.iter().map(text).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_with_two_completions_runs_two_pods_and_is_described_as_kubectl_users_know_it() {
    let managed = Managed::start().await;
    let _node = managed.ready_node("edge-1").await;
    apply(&managed, "j1", "  completions: 2", Some("0")).await;
    let waited = managed.cluster.must(&["wait", "--for=condition=complete", "job/j1", "--timeout=25s"]).await;
    assert_eq!(waited, "job.batch/j1 condition met\n");
    let job = managed
        .until(&format!("{JOBS}/j1"), "complete", |job| job["status"]["completionTime"].is_string())
        .await;
    assert_eq!(
        conditions(&job),
        ["SuccessCriteriaMet=True CompletionsReached", "Complete=True CompletionsReached"]
    );
    assert_eq!(job["status"]["uncountedTerminatedPods"], json!({}));
    let table = managed.cluster.must(&["get", "job", "j1", "--no-headers"]).await;
    assert_eq!(table.split_whitespace().take(3).collect::<Vec<_>>(), ["j1", "Complete", "2/2"]);
    let pods = managed.cluster.json(&["get", "pods", "-l", "job-name=j1"]).await;
    let pods = pods["items"].as_array().unwrap();
    assert_eq!(pods.len(), 2);
    for pod in pods {
        assert!(pod["metadata"]["name"].as_str().unwrap().starts_with("j1-"), "{pod}");
        assert!(pod["metadata"]["finalizers"].is_null(), "{pod}");
        assert_eq!(pod["metadata"]["ownerReferences"][0]["kind"], "Job");
    }
    let described = managed
        .until_kubectl(&["describe", "job", "j1"], "described with its events", |text| {
            text.contains("Job completed")
        })
        .await;
    for line in [
        "Parallelism:      1",
        "Completions:      2",
        "Completion Mode:  NonIndexed",
        "Suspend:          false",
        "Backoff Limit:    6",
        "Pods Statuses:    0 Active (0 Ready) / 2 Succeeded / 0 Failed",
    ] {
        assert!(described.lines().any(|found| found == line), "no {line:?} in {described}");
    }
    for field in ["Start Time:", "Completed At:", "Duration:"] {
        let line = described.lines().find(|line| line.starts_with(field)).unwrap();
        assert_ne!(line.trim_start_matches(field).trim(), "", "{described}");
    }
    assert_eq!(described.matches("SuccessfulCreate").count(), 2, "{described}");
    assert!(described.contains("job-controller  Created pod: j1-"), "{described}");
    assert!(described.contains("Normal  Completed         "), "{described}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_job_gives_up_at_its_limit_and_says_why() {
    let managed = Managed::start().await;
    let _node = managed.ready_node("edge-1").await;
    apply(&managed, "bad", "  backoffLimit: 1", Some("3")).await;
    let waited = managed.cluster.must(&["wait", "--for=condition=failed", "job/bad", "--timeout=29s"]).await;
    assert_eq!(waited, "job.batch/bad condition met\n");
    let job = managed.cluster.json(&["get", "job", "bad"]).await;
    assert_eq!(
        conditions(&job),
        ["FailureTarget=True BackoffLimitExceeded", "Failed=True BackoffLimitExceeded"]
    );
    assert_eq!(job["status"]["conditions"][1]["message"], "Job has reached the specified backoff limit");
    assert_eq!((&job["status"]["failed"], &job["status"]["completionTime"]), (&json!(2), &Value::Null));
    managed
        .until_kubectl(&["describe", "job", "bad"], "described with the reason", |text| {
            text.contains("Warning  BackoffLimitExceeded")
                && text.contains("job-controller  Job has reached the specified backoff limit")
                && text.contains("0 Active (0 Ready) / 0 Succeeded / 2 Failed")
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn suspending_takes_the_pods_away_and_resuming_brings_new_ones() {
    let managed = Managed::start().await;
    let _node = managed.ready_node("edge-1").await;
    apply(&managed, "s1", "  parallelism: 2\n  completions: 2", None).await;
    managed.until(&format!("{JOBS}/s1"), "running two pods", |job| job["status"]["ready"] == 2).await;
    let suspend = |value| json!({"spec": {"suspend": value}}).to_string();
    managed.cluster.must(&["patch", "job", "s1", "-p", &suspend(true)]).await;
    managed.until(PODS, "without pods", |pods| pods["items"].as_array().unwrap().is_empty()).await;
    let job = managed.until(&format!("{JOBS}/s1"), "idle", |job| job["status"]["active"].is_null()).await;
    assert_eq!(conditions(&job), ["Suspended=True JobSuspended"]);
    assert_eq!(job["status"]["failed"], Value::Null);
    let table = managed.cluster.must(&["get", "job", "s1", "--no-headers"]).await;
    assert_eq!(table.split_whitespace().take(3).collect::<Vec<_>>(), ["s1", "Suspended", "0/2"]);
    managed.cluster.must(&["patch", "job", "s1", "-p", &suspend(false)]).await;
    let job = managed.until(&format!("{JOBS}/s1"), "running again", |job| job["status"]["ready"] == 2).await;
    assert_eq!(conditions(&job), ["Suspended=False JobResumed"]);
    managed
        .until_kubectl(&["describe", "job", "s1"], "told", |text| {
            text.contains("Job suspended") && text.contains("Job resumed")
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_pod_is_counted_once_though_the_controllers_are_killed_again_and_again() {
    let mut managed = Managed::start().await;
    let _nodes = [managed.ready_node("edge-1").await, managed.ready_node("edge-2").await];
    apply(&managed, "many", "  parallelism: 5\n  completions: 30", Some("0")).await;
    let mut done = 0;
    while done < 30 {
        let next = done + 4;
        let further = |job: &Value| job["status"]["succeeded"].as_i64().unwrap_or(0) >= next.min(30);
        let job = managed.until(&format!("{JOBS}/many"), "further", further).await;
        done = job["status"]["succeeded"].as_i64().unwrap();
        managed.kill_controllers(Settings::default());
    }
    let job = managed
        .until(&format!("{JOBS}/many"), "complete", |job| job["status"]["completionTime"].is_string())
        .await;
    assert_eq!((&job["status"]["succeeded"], &job["status"]["failed"]), (&json!(30), &Value::Null));
    let pods = managed.cluster.json(&["get", "pods", "-l", "job-name=many"]).await;
    let pods = pods["items"].as_array().unwrap();
    assert_eq!(pods.len(), 30);
    assert!(
        pods.iter()
            .all(|pod| pod["status"]["phase"] == "Succeeded" && pod["metadata"]["finalizers"].is_null())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_indexed_job_gives_each_index_a_pod_of_its_own() {
    let managed = Managed::start().await;
    let _node = managed.ready_node("edge-1").await;
    apply(&managed, "ix", "  completionMode: Indexed\n  parallelism: 2\n  completions: 3", Some("0")).await;
    let job = managed
        .until(&format!("{JOBS}/ix"), "complete", |job| job["status"]["completionTime"].is_string())
        .await;
    assert_eq!((&job["status"]["completedIndexes"], &job["status"]["succeeded"]), (&json!("0-2"), &json!(3)));
    let pods = managed.cluster.json(&["get", "pods", "-l", "job-name=ix"]).await;
    let index =
        |pod: &Value| pod["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"].to_string();
    let pods = pods["items"].as_array().unwrap();
    assert_eq!(pods.iter().map(index).collect::<HashSet<_>>().len(), 3);
    for pod in pods {
        let index =
            pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"].as_str().unwrap();
        assert!(pod["metadata"]["name"].as_str().unwrap().starts_with(&format!("ix-{index}-")));
        assert_eq!(pod["spec"]["hostname"], format!("ix-{index}"));
        assert_eq!(pod["spec"]["containers"][0]["env"][0]["name"], "JOB_COMPLETION_INDEX");
    }
    managed
        .until_kubectl(&["describe", "job", "ix"], "described", |text| {
            text.contains("Completed Indexes:  0-2") && text.contains("Completion Mode:    Indexed")
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_deadline_ends_a_job_and_its_time_to_live_removes_it_with_its_pods() {
    let managed = Managed::start().await;
    let _node = managed.ready_node("edge-1").await;
    apply(&managed, "late", "  activeDeadlineSeconds: 1\n  ttlSecondsAfterFinished: 3", None).await;
    managed.cluster.must(&["wait", "--for=condition=failed", "job/late", "--timeout=25s"]).await;
    let job = managed.cluster.json(&["get", "job", "late"]).await;
    assert_eq!(conditions(&job), ["FailureTarget=True DeadlineExceeded", "Failed=True DeadlineExceeded"]);
    managed.cluster.must(&["wait", "--for=delete", "job/late", "--timeout=25s"]).await;
    // One that succeeded goes the same way, and takes its pods along.
    apply(&managed, "done", "  ttlSecondsAfterFinished: 2\n  completions: 2\n  parallelism: 2", Some("0"))
        .await;
    managed.cluster.must(&["wait", "--for=condition=complete", "job/done", "--timeout=25s"]).await;
    let pods = format!("{PODS}?labelSelector=job-name%3Ddone");
    let (_, list) = managed.cluster.call("GET", &pods, Value::Null).await;
    assert_eq!(list["items"].as_array().unwrap().len(), 2, "a job that is over keeps its pods: {list:#}");
    managed.cluster.must(&["wait", "--for=delete", "job/done", "--timeout=25s"]).await;
    managed.until(&pods, "gone with their job", |list| list["items"] == json!([])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_creates_jobs_and_a_pod_whose_job_is_gone_can_go() {
    let managed = Managed::start().await;
    let _node = managed.ready_node("edge-1").await;
    managed.cluster.must(&["create", "job", "quick", "--image=busybox", "--", "sleep", "1"]).await;
    managed.until(&format!("{JOBS}/quick"), "running", |job| job["status"]["ready"] == 1).await;
    managed.cluster.must(&["delete", "job", "quick", "--cascade=orphan"]).await;
    managed.until(PODS, "free", |pods| pods["items"][0]["metadata"]["finalizers"].is_null()).await;
    managed.cluster.must(&["delete", "pods", "-l", "job-name=quick", "--timeout=25s"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_template_without_metadata_makes_one_pod_and_not_pods_without_end() {
    let managed = Managed::start().await;
    let job = serde_json::json!({
        "metadata": {"name": "bare"},
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox"}]}}},
    });
    let (code, made) = managed.cluster.call("POST", "/apis/batch/v1/namespaces/default/jobs", job).await;
    assert_eq!(code, 201, "{made:#}");
    let labels = &made["spec"]["template"]["metadata"]["labels"];
    assert_eq!(labels["batch.kubernetes.io/controller-uid"], made["metadata"]["uid"]);
    let active = |job: &serde_json::Value| job["status"]["active"] == 1;
    managed.until("/apis/batch/v1/namespaces/default/jobs/bare", "active", active).await;
    let (_, pods) =
        managed.cluster.call("GET", "/api/v1/namespaces/default/pods", serde_json::Value::Null).await;
    assert_eq!(pods["items"].as_array().unwrap().len(), 1, "{pods:#}");
    assert!(!pods["items"][0]["metadata"]["ownerReferences"].is_null(), "{pods:#}");
}
