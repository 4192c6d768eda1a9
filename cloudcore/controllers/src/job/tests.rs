//! Jobs played through without an API: the plan is carried out as far as chance lets it, over and over.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::plan::{News, Plan, plan};
use super::view::{holds, is_tracked};
use super::*;

/// What an API holds: one job and its pods.
struct World {
    job: Job,
    pods: Vec<Arc<Pod>>,
    made: usize,
    now: Timestamp,
    news: Vec<News>,
}

impl World {
    fn new(spec: Value) -> Self {
        let mut spec = spec;
        spec["template"] = json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "main"}]}});
        let job = json!({"metadata": {"name": "j", "namespace": "n", "uid": "job"}, "spec": spec});
        Self {
            job: serde_json::from_value(job).unwrap(),
            pods: Vec::new(),
            made: 0,
            now: Timestamp::from_second(1_000_000).unwrap(),
            news: Vec::new(),
        }
    }

    fn plan(&self) -> Option<Plan> {
        plan(&self.job, &self.pods, self.now)
    }

    /// Carries out the next plan, of whose effects only the first `steps` happen before the controller dies.
    fn look(&mut self, mut steps: usize) {
        let Some(plan) = self.plan() else { return };
        let mut step = || {
            let go = steps > 0;
            steps = steps.saturating_sub(1);
            go
        };
        if !step() {
            return;
        }
        self.job.status = Some(plan.status);
        self.news.extend(plan.news);
        for pod in plan.release.iter().chain(&plan.remove).filter(|pod| is_tracked(pod)) {
            if step() {
                self.change(&pod.name_any(), |pod| pod.finalizers_mut().clear());
            }
        }
        for pod in plan.remove.iter().chain(&plan.kill) {
            if step() {
                let now = self.now;
                self.change(&pod.name_any(), |pod| pod.metadata.deletion_timestamp = Some(Time(now)));
            }
        }
        for new in plan.create {
            if step() {
                let mut pod = pod::make(&self.job, new).unwrap();
                pod.metadata.name = Some(format!("p{}", self.made));
                pod.metadata.uid = Some(format!("uid{}", self.made));
                pod.metadata.creation_timestamp = Some(Time(self.now));
                self.made += 1;
                self.pods.push(Arc::new(pod));
            }
        }
    }

    fn change(&mut self, name: &str, change: impl FnOnce(&mut Pod)) {
        let pod = self.pods.iter_mut().find(|pod| pod.name_any() == name).unwrap();
        change(Arc::make_mut(pod));
    }

    /// The agents: pod number `which` of those that run ends so.
    fn end(&mut self, which: usize, phase: &str) -> bool {
        let now = self.now;
        let active: Vec<_> =
            self.pods.iter().filter(|pod| crate::pods::is_active(pod)).map(|pod| pod.name_any()).collect();
        let Some(name) = (!active.is_empty()).then(|| active[which % active.len()].clone()) else {
            return false;
        };
        self.change(&name, |pod| {
            let status = pod.status.get_or_insert_default();
            status.phase = Some(phase.to_owned());
            let code = i32::from(phase == "Failed");
            let state = json!([{"name": "main", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "state": {"terminated": {"exitCode": code, "finishedAt": now.to_string()}}}]);
            status.container_statuses = serde_json::from_value(state).unwrap();
        });
        true
    }

    /// The agents finish deletions of pods that nothing holds.
    fn sweep(&mut self) {
        self.pods.retain(|pod| pod.metadata.deletion_timestamp.is_none() || is_tracked(pod));
    }

    fn pass(&mut self, seconds: i64) {
        self.now = Timestamp::from_second(self.now.as_second() + seconds).unwrap();
    }

    fn status(&self) -> Value {
        serde_json::to_value(self.job.status.clone().unwrap_or_default()).unwrap()
    }

    fn conditions(&self) -> Vec<String> {
        let status = self.status();
        let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
        let text =
            |one: &Value| format!("{}={} {}", one["type"], one["status"], one["reason"]).replace('"', "");
        conditions.iter().map(text).collect()
    }

    fn settle(&mut self) {
        for _ in 0..12 {
            self.look(usize::MAX);
            self.sweep();
        }
    }
}

#[test]
fn two_completions_are_made_one_by_one_counted_and_told() {
    let mut world = World::new(json!({"parallelism": 1, "completions": 2, "backoffLimit": 6}));
    world.settle();
    assert_eq!((world.pods.len(), &world.status()["active"]), (1, &json!(1)));
    assert!(world.status()["startTime"].is_string());
    assert!(world.end(0, "Succeeded"));
    world.settle();
    assert_eq!((world.pods.len(), &world.status()["succeeded"]), (2, &json!(1)));
    assert!(world.end(0, "Succeeded"));
    world.settle();
    let status = world.status();
    assert_eq!((&status["succeeded"], &status["uncountedTerminatedPods"]), (&json!(2), &json!({})));
    assert_eq!(
        world.conditions(),
        ["SuccessCriteriaMet=True CompletionsReached", "Complete=True CompletionsReached"]
    );
    assert_eq!(world.news, [News::Completed]);
    assert!(!world.pods.iter().any(|pod| is_tracked(pod)));
}

#[test]
fn failures_wait_longer_each_time_and_too_many_are_the_end() {
    let mut world = World::new(json!({"parallelism": 1, "completions": 1, "backoffLimit": 2}));
    world.settle();
    for pause in [10, 20] {
        assert!(world.end(0, "Failed"));
        world.settle();
        assert_eq!(world.plan().unwrap().again, Some(Duration::from_secs(pause)));
        world.pass(i64::try_from(pause).unwrap() - 1);
        world.settle();
        assert!(world.plan().unwrap().create.is_empty());
        world.pass(1);
        world.settle();
    }
    assert!(world.end(0, "Failed"));
    world.settle();
    assert_eq!((world.made, &world.status()["failed"]), (3, &json!(3)));
    assert_eq!(
        world.conditions(),
        ["FailureTarget=True BackoffLimitExceeded", "Failed=True BackoffLimitExceeded"]
    );
    assert!(world.status()["completionTime"].is_null());
}

#[test]
fn the_deadline_kills_what_runs_and_counts_it_as_failed() {
    let mut world = World::new(
        json!({"parallelism": 3, "completions": 3, "backoffLimit": 6, "activeDeadlineSeconds": 30}),
    );
    world.settle();
    assert_eq!(world.plan().unwrap().again, Some(Duration::from_secs(30)));
    world.pass(30);
    world.settle();
    assert_eq!((&world.status()["failed"], world.pods.len()), (&json!(3), 0));
    assert_eq!(world.conditions(), ["FailureTarget=True DeadlineExceeded", "Failed=True DeadlineExceeded"]);
}

#[test]
fn a_suspended_job_has_no_pods_and_its_clock_starts_anew() {
    let mut world = World::new(json!({"parallelism": 2, "completions": 2, "activeDeadlineSeconds": 30}));
    world.settle();
    world.job.spec.as_mut().unwrap().suspend = Some(true);
    world.pass(20);
    world.settle();
    assert_eq!((world.pods.len(), world.conditions()), (0, vec!["Suspended=True JobSuspended".to_owned()]));
    assert!(world.status()["failed"].is_null(), "{}", world.status());
    world.job.spec.as_mut().unwrap().suspend = Some(false);
    world.pass(1000);
    world.settle();
    assert_eq!((world.pods.len(), world.conditions()), (2, vec!["Suspended=False JobResumed".to_owned()]));
    assert_eq!(world.status()["startTime"], json!(world.now.to_string()));
    assert_eq!(world.news, [News::Suspended, News::Resumed]);
}

#[test]
fn each_index_has_its_pod_its_name_and_its_variable() {
    let mut world = World::new(json!({"parallelism": 2, "completions": 3, "completionMode": "Indexed"}));
    world.settle();
    let pod = serde_json::to_value(&*world.pods[1]).unwrap();
    assert_eq!(pod["metadata"]["generateName"], "j-1-");
    assert_eq!(pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"], "1");
    assert_eq!(pod["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"], "1");
    assert_eq!(pod["spec"]["hostname"], "j-1");
    assert_eq!(pod["spec"]["containers"][0]["env"][0]["name"], "JOB_COMPLETION_INDEX");
    while world.end(0, "Succeeded") {
        world.settle();
    }
    assert_eq!((&world.status()["completedIndexes"], world.made), (&json!("0-2"), 3));
}

#[test]
fn an_index_that_fails_too_often_fails_alone_and_the_job_after_all_others() {
    let spec = json!({"parallelism": 3, "completions": 3, "completionMode": "Indexed", "backoffLimit": i32::MAX, "backoffLimitPerIndex": 1});
    let mut world = World::new(spec);
    world.settle();
    assert!(world.end(1, "Failed"));
    world.pass(10);
    world.settle();
    let second = world.pods.last().unwrap();
    assert_eq!(second.annotations()["batch.kubernetes.io/job-index-failure-count"], "1");
    assert!(world.end(2, "Failed"));
    world.settle();
    assert_eq!((&world.status()["failedIndexes"], world.conditions()), (&json!("1"), vec![]));
    while world.end(0, "Succeeded") {
        world.settle();
    }
    assert_eq!(world.conditions(), ["FailureTarget=True FailedIndexes", "Failed=True FailedIndexes"]);
    assert_eq!((&world.status()["completedIndexes"], world.made), (&json!("0,2"), 4));
}

#[test]
fn a_success_policy_ends_the_job_early_and_deletes_the_rest_uncounted() {
    let spec = json!({"parallelism": 3, "completions": 3, "completionMode": "Indexed",
        "successPolicy": {"rules": [{"succeededIndexes": "0-1", "succeededCount": 1}]}});
    let mut world = World::new(spec);
    world.settle();
    assert!(world.end(1, "Succeeded"));
    world.settle();
    assert_eq!(world.conditions(), ["SuccessCriteriaMet=True SuccessPolicy", "Complete=True SuccessPolicy"]);
    assert_eq!(
        (&world.status()["succeeded"], &world.status()["failed"], world.pods.len()),
        (&json!(1), &Value::Null, 1)
    );
}

#[test]
fn with_replacement_by_failed_only_a_terminating_pod_keeps_its_place() {
    let replacements = |policy: &str| {
        let mut world = World::new(
            json!({"parallelism": 1, "completions": 1, "backoffLimit": 6, "podReplacementPolicy": policy}),
        );
        world.settle();
        world.change("p0", |pod| pod.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH)));
        (0..4).for_each(|_| world.look(usize::MAX));
        (world.made, world.status()["terminating"].clone(), world.status()["failed"].clone())
    };
    assert_eq!(replacements("TerminatingOrFailed"), (2, json!(1), json!(1)));
    assert_eq!(replacements("Failed"), (1, json!(1), Value::Null));
}

#[test]
fn restarts_in_place_count_towards_the_limit_where_pods_are_restarted() {
    let mut world = World::new(json!({"parallelism": 1, "completions": 1, "backoffLimit": 3}));
    world.job.spec.as_mut().unwrap().template.spec.as_mut().unwrap().restart_policy =
        Some("OnFailure".to_owned());
    world.settle();
    let restarted = |world: &mut World, times: i32| {
        let state = json!({"phase": "Running", "containerStatuses": [
            {"name": "main", "image": "", "imageID": "", "ready": true, "restartCount": times}]});
        world.change("p0", |pod| pod.status = serde_json::from_value(state).unwrap());
        world.settle();
    };
    restarted(&mut world, 2);
    assert_eq!(world.conditions(), [""; 0]);
    restarted(&mut world, 3);
    assert_eq!(
        world.conditions(),
        ["FailureTarget=True BackoffLimitExceeded", "Failed=True BackoffLimitExceeded"]
    );
    assert_eq!(world.pods.len(), 0);
}

#[test]
fn a_failure_policy_may_end_the_job_or_forgive() {
    let rules = json!({"rules": [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [1]}},
    ]});
    let mut world =
        World::new(json!({"parallelism": 1, "completions": 1, "backoffLimit": 0, "podFailurePolicy": rules}));
    world.settle();
    let disrupted =
        json!({"phase": "Failed", "conditions": [{"type": "DisruptionTarget", "status": "True"}]});
    world.change("p0", |pod| pod.status = serde_json::from_value(disrupted).unwrap());
    world.pass(10);
    world.settle();
    assert_eq!((world.made, world.status()["failed"].clone(), world.conditions()), (2, Value::Null, vec![]));
    assert!(world.end(0, "Failed"));
    world.settle();
    assert_eq!(world.conditions(), ["FailureTarget=True PodFailurePolicy", "Failed=True PodFailurePolicy"]);
    let message = "Container main for pod n/p1 failed with exit code 1 matching FailJob rule at index 1";
    assert_eq!(
        world.news,
        [News::Failed { reason: "PodFailurePolicy".to_owned(), message: message.to_owned() }]
    );
}

#[derive(Clone, Debug)]
enum Step {
    Look(usize),
    End(usize, bool),
    Sweep,
    Pass(i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..6_usize).prop_map(Step::Look),
        2 => (0..5_usize, prop::bool::weighted(0.8)).prop_map(|(which, good)| Step::End(which, good)),
        1 => Just(Step::Sweep),
        1 => (1..60_i64).prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 0..60)
}

proptest! {
    #[test]
    fn every_pod_that_ends_is_counted_once_wherever_the_controller_dies(
        steps in steps(), parallelism in 1..5_i32, completions in 1..6_i32, indexed: bool,
    ) {
        let mode = if indexed { "Indexed" } else { "NonIndexed" };
        let mut world = World::new(json!({
            "parallelism": parallelism, "completions": completions, "completionMode": mode, "backoffLimit": 1000,
        }));
        let (mut good, mut bad) = (0, 0);
        for step in steps {
            match step {
                Step::Look(effects) => world.look(effects),
                Step::End(which, true) => good += i32::from(world.end(which, "Succeeded")),
                Step::End(which, false) => bad += i32::from(world.end(which, "Failed")),
                Step::Sweep => world.sweep(),
                Step::Pass(seconds) => world.pass(seconds),
            }
            let status = world.job.status.clone().unwrap_or_default();
            prop_assert!(status.succeeded.unwrap_or(0) <= good && status.failed.unwrap_or(0) <= bad);
            let active = world.pods.iter().filter(|pod| crate::pods::is_active(pod)).count();
            prop_assert!(active <= usize::try_from(parallelism).unwrap());
        }
        for _ in 0..20 {
            world.settle();
            world.pass(600);
            while good < 100 && world.end(0, "Succeeded") {
                good += 1;
            }
        }
        let status = world.job.status.clone().unwrap();
        prop_assert!(holds(&status, "Complete"), "{}", world.status());
        prop_assert_eq!(status.succeeded.unwrap_or(0), good);
        prop_assert_eq!(status.failed.unwrap_or(0), bad);
        prop_assert_eq!(good, completions);
        prop_assert!(!world.pods.iter().any(|pod| is_tracked(pod)));
    }
}
