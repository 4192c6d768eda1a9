//! What users see of a pod, case by case.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::*;
use crate::edged::pod::observed::Observed;
use crate::edged::pod::plan::{Memory, Trouble};
use crate::edged::probes::Healths;

fn pod(spec: Value) -> Pod {
    serde_json::from_value(
        json!({ "metadata": { "name": "p", "namespace": "default", "uid": "u" }, "spec": spec }),
    )
    .expect("a pod")
}

fn status(pod: &Pod, memory: &Memory, prior: Option<&PodStatus>, second: i64) -> PodStatus {
    let seen = Observed::default();
    let now = Timestamp::from_second(second).expect("a time");
    let node = NodeFacts { address: [192, 0, 2, 1].into(), runtime: "containerd".into() };
    let healths = Healths::default();
    build(View { pod, goal: Goal::Run, seen: &seen, prior, memory, healths: &healths, now, wall: now }, &node)
}

fn condition<'a>(status: &'a PodStatus, kind: &str) -> &'a k8s_openapi::api::core::v1::PodCondition {
    status.conditions.iter().flatten().find(|condition| condition.type_ == kind).expect("the condition")
}

#[test]
fn a_pod_that_was_just_taken_on_is_pending_and_says_for_what() {
    let plain = pod(json!({ "containers": [{ "name": "a", "image": "i" }, { "name": "b", "image": "i" }] }));
    let first = status(&plain, &Memory::default(), None, 1_000);
    assert_eq!(first.phase.as_deref(), Some("Pending"));
    assert_eq!(first.start_time.as_ref().map(|time| time.0.as_second()), Some(1_000));
    let ready = condition(&first, "Ready");
    assert_eq!((ready.status.as_str(), ready.reason.as_deref()), ("False", Some("ContainersNotReady")));
    assert_eq!(ready.message.as_deref(), Some("containers with unready status: [a b]"));
    assert_eq!(condition(&first, "PodScheduled").status, "True");
    assert_eq!(condition(&first, "Initialized").status, "True");
    assert_eq!(condition(&first, "PodReadyToStartContainers").status, "False");
    let waiting = first.container_statuses.as_ref().and_then(|list| list[0].state.clone()?.waiting);
    assert_eq!(waiting.and_then(|waiting| waiting.reason).as_deref(), Some("ContainerCreating"));

    let with_init = pod(json!({
        "initContainers": [{ "name": "i", "image": "i" }], "containers": [{ "name": "a", "image": "i" }] }));
    let second = status(&with_init, &Memory::default(), None, 1_000);
    assert_eq!(condition(&second, "Initialized").reason.as_deref(), Some("ContainersNotInitialized"));
}

#[test]
fn saying_the_same_again_is_no_change_and_times_stand_still() {
    let pod = pod(json!({ "containers": [{ "name": "a", "image": "i" }] }));
    let first = status(&pod, &Memory::default(), None, 1_000);
    let second = status(&pod, &Memory::default(), Some(&first), 2_000);
    assert!(!differs(Some(&first), &second));
}

#[test]
fn a_trouble_is_shown_with_its_reason_and_words() {
    let pod = pod(json!({ "containers": [{ "name": "a", "image": "i" }] }));
    let now = Timestamp::from_second(1_000).expect("a time");
    let (reason, message) = ("ErrImagePull".to_owned(), "connection refused".to_owned());
    let mut memory = Memory::default();
    memory.containers.insert("a".into(), Trouble { reason, message, since: now, until: now, failures: 0 });
    let status = status(&pod, &memory, None, 1_000);
    let waiting =
        status.container_statuses.and_then(|list| list[0].state.clone()?.waiting).expect("it waits");
    assert_eq!(
        (waiting.reason.as_deref(), waiting.message.as_deref()),
        (Some("ErrImagePull"), Some("connection refused"))
    );
}

#[test]
fn a_readiness_gate_that_nobody_opened_keeps_the_pod_unready_by_name() {
    let pod = pod(json!({ "containers": [], "readinessGates": [{ "conditionType": "example.com/in" }] }));
    let status = status(&pod, &Memory::default(), None, 1_000);
    assert_eq!(condition(&status, "ContainersReady").status, "True");
    let ready = condition(&status, "Ready");
    assert_eq!(ready.reason.as_deref(), Some("ReadinessGatesNotReady"));
    assert!(ready.message.as_deref().is_some_and(|words| words.contains("example.com/in")));
}

#[test]
fn quality_of_service_follows_requests_and_limits() {
    let class = |resources: Value| {
        QosClass::of(&pod(json!({ "containers": [{ "name": "a", "resources": resources }] }))).to_string()
    };
    assert_eq!(class(json!({})), "BestEffort");
    assert_eq!(class(json!({ "requests": { "cpu": "1m" } })), "Burstable");
    assert_eq!(class(json!({ "limits": { "cpu": "1", "memory": "1Mi" } })), "Guaranteed");
    assert_eq!(
        class(
            json!({ "limits": { "cpu": "1", "memory": "1Mi" }, "requests": { "cpu": "1", "memory": "1Ki" } })
        ),
        "Burstable"
    );
}
