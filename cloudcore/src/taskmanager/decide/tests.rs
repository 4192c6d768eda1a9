use k8s_openapi::api::core::v1::Node;
use kube::api::DynamicObject;
use proto::operations::Action;
use serde_json::{Value, json};

use super::super::begin::begin;
use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn node(name: &str, labels: Value) -> Node {
    serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}})).unwrap()
}

fn edges(names: &[&str]) -> Vec<Node> {
    names.iter().map(|name| node(name, json!({"node-role.kubernetes.io/edge": ""}))).collect()
}

fn job(template: Value) -> Job {
    let object: DynamicObject = serde_json::from_value(json!({
        "apiVersion": "operations.kubeedge.io/v1alpha2", "kind": "ImagePrePullJob",
        "metadata": {"name": "warm", "uid": "u", "resourceVersion": "1", "creationTimestamp": at(0).to_string()},
        "spec": {"imagePrePullTemplate": template},
    }))
    .unwrap();
    Job::read(&object).unwrap()
}

/// A job for these nodes, at its first status.
fn begun(names: &[&str], more: Value) -> Job {
    let mut template = json!({"images": ["a", "b"], "nodeNames": names});
    for (key, value) in more.as_object().unwrap() {
        template[key] = value.clone();
    }
    let mut job = job(template);
    job.status = begin(&job, &edges(names), at(0));
    job
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn report(node: &str, action: Action, succ: bool, reason: &str) -> (String, ActionReport) {
    let report = ActionReport {
        action,
        succ,
        finish_time: at(1).to_string(),
        reason: reason.into(),
        extend: String::new(),
    };
    (node.to_owned(), report)
}

/// Takes a turn and keeps the status.
fn turn(
    job: &mut Job,
    connected: &[&str],
    told: &[&str],
    reports: &[(String, ActionReport)],
    second: i64,
) -> Decision {
    let (connected, told) = (set(connected), set(told));
    let decision = decide(job, &Seen { connected: &connected, told: &told, reports, now: at(second) });
    if let Some(status) = &decision.status {
        job.status = status.clone();
    }
    decision
}

fn phases(job: &Job) -> Vec<NodePhase> {
    job.status.node_status.iter().map(|node| node.phase).collect()
}

#[test]
fn no_more_nodes_than_allowed_are_busy_and_each_that_ends_makes_room() {
    let mut job = begun(&["a", "b", "c"], json!({"concurrency": 2}));
    let all = ["a", "b", "c"];
    assert_eq!(turn(&mut job, &all, &[], &[], 1).tell, ["a", "b"]);
    assert_eq!((job.status.phase, job.status.progress.as_str()), (JobPhase::InProgress, "0/3"));
    assert!(turn(&mut job, &all, &["a", "b"], &[], 2).tell.is_empty());
    let reports = [report("a", Action::Check, true, ""), report("a", Action::Pull, true, "")];
    assert_eq!(turn(&mut job, &all, &["a", "b"], &reports, 3).tell, ["c"]);
    assert_eq!(phases(&job), [NodePhase::Successful, NodePhase::InProgress, NodePhase::InProgress]);
    let reports = [report("b", Action::Pull, true, ""), report("c", Action::Pull, true, "")];
    turn(&mut job, &all, &all, &reports, 4);
    assert_eq!((job.status.phase, job.status.progress.as_str()), (JobPhase::Completed, "3/3"));
}

#[test]
fn after_a_restart_only_those_who_are_not_done_are_told_again_when_they_connect() {
    let mut job = begun(&["a", "b"], json!({"concurrency": 2}));
    turn(&mut job, &["a", "b"], &[], &[], 1);
    turn(&mut job, &["a", "b"], &["a", "b"], &[report("a", Action::Pull, true, "")], 2);
    assert!(turn(&mut job, &[], &[], &[], 3).tell.is_empty());
    let again = turn(&mut job, &["a", "b"], &[], &[], 4);
    assert_eq!((again.tell, again.status), (vec!["b".to_owned()], None));
}

#[test]
fn a_node_that_is_away_leaves_its_turn_to_others_and_is_told_when_it_comes() {
    let mut job = begun(&["a", "b"], json!({}));
    assert_eq!(turn(&mut job, &["b"], &[], &[], 1).tell, ["b"]);
    assert!(job.status.node_status[0].reason.contains("not connected"), "{:?}", job.status);
    assert_eq!(job.status.reason, "1 of 2 nodes are not connected");
    turn(&mut job, &["b"], &["b"], &[report("b", Action::Pull, true, "")], 2);
    assert_eq!(turn(&mut job, &["a", "b"], &["b"], &[], 3).tell, ["a"]);
}

#[test]
fn a_silent_node_counts_as_failed_and_what_it_says_later_still_counts() {
    let mut job = begun(&["a"], json!({"timeoutSeconds": 60}));
    turn(&mut job, &["a"], &[], &[], 1);
    turn(&mut job, &[], &[], &[], 60);
    assert_eq!(phases(&job), [NodePhase::InProgress]);
    turn(&mut job, &[], &[], &[], 61);
    assert_eq!(phases(&job), [NodePhase::Unknown]);
    assert_eq!(job.status.reason, "1 of 1 nodes failed; a: The node task has timed out");
    turn(
        &mut job,
        &["a"],
        &[],
        &[report("a", Action::Check, true, ""), report("a", Action::Pull, true, "")],
        90,
    );
    assert_eq!((phases(&job), job.status.phase), (vec![NodePhase::Successful], JobPhase::Completed));
}

#[test]
fn a_node_that_waits_for_its_turn_does_not_time_out() {
    let mut job = begun(&["a", "b"], json!({"timeoutSeconds": 60}));
    turn(&mut job, &["a", "b"], &[], &[], 1);
    turn(&mut job, &["a", "b"], &["a"], &[report("a", Action::Check, true, "")], 55);
    turn(&mut job, &["a", "b"], &["a"], &[], 100);
    assert_eq!(phases(&job), [NodePhase::InProgress, NodePhase::Pending]);
    turn(&mut job, &["a"], &["a"], &[], 200);
    assert_eq!(phases(&job), [NodePhase::Unknown, NodePhase::Unknown]);
}

#[test]
fn failures_are_weighed_against_what_is_tolerated() {
    for (tolerated, phase) in [("0.4", JobPhase::Failure), ("0.5", JobPhase::Completed)] {
        let mut job = begun(&["a", "b"], json!({"concurrency": 2, "failureTolerate": tolerated}));
        turn(&mut job, &["a", "b"], &[], &[], 1);
        let reports =
            [report("a", Action::Pull, true, ""), report("b", Action::Pull, false, "no such image")];
        turn(&mut job, &["a", "b"], &["a", "b"], &reports, 2);
        assert_eq!(job.status.phase, phase);
        assert!(job.status.reason.contains("b: no such image"), "{}", job.status.reason);
    }
}

#[test]
fn steps_that_arrive_out_of_order_or_twice_end_the_same() {
    let mut job = begun(&["a"], json!({}));
    turn(&mut job, &["a"], &[], &[], 1);
    let (check, pull) = (report("a", Action::Check, true, ""), report("a", Action::Pull, true, ""));
    turn(&mut job, &["a"], &["a"], &[pull.clone(), check.clone(), pull], 2);
    let flow: Vec<_> =
        job.status.node_status[0].action_flow.iter().map(|step| step.action.as_str()).collect();
    assert_eq!((flow, phases(&job)), (vec!["Check", "Pull"], vec![NodePhase::Successful]));
    assert_eq!(turn(&mut job, &["a"], &["a"], &[check], 3).status, None);
}

#[test]
fn nodes_that_cannot_do_it_are_named_from_the_beginning() {
    let mut nodes = edges(&["a"]);
    nodes.push(node("c", json!({})));
    let mut named = job(json!({"images": ["x"], "nodeNames": ["a", "b", "c", "a"]}));
    named.status = begin(&named, &nodes, at(0));
    let reasons: Vec<_> = named.status.node_status.iter().map(|node| node.reason.as_str()).collect();
    assert_eq!(reasons.len(), 3);
    assert!(reasons[0].is_empty() && reasons[1].contains("not found") && reasons[2].contains("no edge node"));

    let selector = json!({"images": ["x"], "labelSelector": {"matchLabels": {"site": "north"}}});
    let mut nobody = job(selector);
    nobody.status = begin(&nobody, &nodes, at(0));
    assert_eq!(turn(&mut nobody, &["a"], &[], &[], 1), Decision::default());
    assert_eq!(nobody.status.phase, JobPhase::Failure);
    assert!(nobody.status.reason.contains("no edge node has the labels"), "{}", nobody.status.reason);
}
