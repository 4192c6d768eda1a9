//! What the edge's store promises to the cloud and to this node.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use edgecore::edgehub::{self, Outbox, RowKey};
use edgecore::metamanager::{self, FetchError, Handle, Settings};
use k8s_openapi::api::core::v1::{Event, PodStatus};
use proto::message::{Content, Group, Message, Operation, Route, Source};
use proto::resource::{ObjectKey, ResourceKind};
use proto::session::Outcome;
use serde_json::{Value, json};
use tasks::TaskSet;

async fn open(directory: &Path, tasks: &TaskSet) -> Handle {
    let (hub, _) = edgehub::channel();
    metamanager::open(Settings::new(directory.join("edgecore.db"), "edge1"), hub, tasks).await.unwrap()
}

async fn close(tasks: TaskSet) {
    assert!(tasks.shutdown(Duration::from_secs(5)).await.is_clean());
}

fn pod(uid: &str, version: &str, image: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "web", "namespace": "default", "uid": uid, "resourceVersion": version},
        "spec": {"containers": [{"name": "c", "image": image}]}})
}

fn push(operation: Operation, resource: &str, content: &Value) -> Message {
    let route = Route::new(Source::EdgeController, Group::Resource, operation, resource.into());
    Message::new(route, Content::json(content).unwrap())
}

fn web() -> ObjectKey {
    ObjectKey::namespaced("default", ResourceKind::Pod, "web")
}

async fn image(handle: &Handle) -> Option<String> {
    let held = handle.get(&web()).await.unwrap()?;
    Some(held.object["spec"]["containers"][0]["image"].as_str().unwrap().to_owned())
}

fn phase(phase: &str) -> PodStatus {
    PodStatus { phase: Some(phase.into()), ..PodStatus::default() }
}

async fn rows(handle: &Handle) -> Vec<String> {
    handle.ahead(100, &HashSet::new()).await.unwrap().into_iter().map(|report| report.row.0).collect()
}

#[tokio::test]
async fn a_pushed_object_is_there_after_a_restart_and_an_older_version_never_replaces_it() {
    let directory = tempfile::tempdir().unwrap();
    let tasks = TaskSet::new("test");
    let handle = open(directory.path(), &tasks).await;
    let mut changes = handle.changes(ResourceKind::Pod);
    let outcomes = handle
        .accept(vec![
            push(Operation::Insert, "default/pod/web", &pod("u1", "5", "a")),
            push(Operation::Update, "default/pod/web", &pod("u1", "7", "b")),
            push(Operation::Update, "default/pod/web", &pod("u1", "6", "late")),
        ])
        .await;
    assert_eq!(outcomes, vec![Outcome::Done; 3]);
    assert!(changes.has_changed().unwrap());
    changes.mark_unchanged();
    assert_eq!(image(&handle).await.unwrap(), "b");
    close(tasks).await;

    let tasks = TaskSet::new("test");
    let handle = open(directory.path(), &tasks).await;
    assert_eq!(image(&handle).await.unwrap(), "b");
    let held = handle.inventory().await.unwrap();
    assert_eq!((held[0].uid.as_str(), held[0].resource_version.as_str()), ("u1", "7"));
    assert_eq!(handle.list(&ResourceKind::Pod).await.unwrap().len(), 1);
    close(tasks).await;
}

#[tokio::test]
async fn a_removal_takes_only_its_own_incarnation_and_an_overtaken_push_does_not_bring_it_back() {
    let directory = tempfile::tempdir().unwrap();
    let tasks = TaskSet::new("test");
    let handle = open(directory.path(), &tasks).await;
    handle.accept(vec![push(Operation::Insert, "default/pod/web", &pod("u2", "9", "new"))]).await;
    let gone = json!({"metadata": {"name": "web", "namespace": "default", "uid": "u1"}});
    assert_eq!(handle.accept(vec![push(Operation::Delete, "default/pod/web", &gone)]).await, [Outcome::Done]);
    assert_eq!(image(&handle).await.unwrap(), "new");

    let gone = json!({"metadata": {"name": "web", "namespace": "default", "uid": "u2"}});
    let late = push(Operation::Update, "default/pod/web", &pod("u2", "10", "zombie"));
    let outcomes = handle.accept(vec![push(Operation::Delete, "default/pod/web", &gone), late.clone()]).await;
    assert_eq!(outcomes, vec![Outcome::Done; 2]);
    assert_eq!(handle.accept(vec![late]).await, [Outcome::Done]);
    assert_eq!(image(&handle).await, None);
    close(tasks).await;
}

#[tokio::test]
async fn what_is_no_object_is_rejected_alone_and_its_neighbours_are_stored() {
    let directory = tempfile::tempdir().unwrap();
    let tasks = TaskSet::new("test");
    let handle = open(directory.path(), &tasks).await;
    let outcomes = handle
        .accept(vec![
            push(Operation::Update, "default/pod/other", &json!({"ErrStatus": {"code": 404}})),
            push(Operation::Insert, "default/pod/web", &pod("u1", "5", "a")),
        ])
        .await;
    assert!(
        matches!(&outcomes[0], Outcome::Rejected(reason) if reason.contains("metadata.uid")),
        "{outcomes:?}"
    );
    assert_eq!(outcomes[1], Outcome::Done);
    assert_eq!(handle.list(&ResourceKind::Pod).await.unwrap().len(), 1);
    close(tasks).await;
}

#[tokio::test]
async fn integers_beyond_two_to_the_53_survive() {
    let directory = tempfile::tempdir().unwrap();
    let tasks = TaskSet::new("test");
    let handle = open(directory.path(), &tasks).await;
    let object = json!({"metadata": {"name": "web", "uid": "u1", "resourceVersion": "1"}, "big": 9_007_199_254_740_993_u64});
    handle.accept(vec![push(Operation::Insert, "default/configmap/web", &object)]).await;
    let held =
        handle.get(&ObjectKey::namespaced("default", ResourceKind::ConfigMap, "web")).await.unwrap().unwrap();
    assert_eq!(held.object["big"], json!(9_007_199_254_740_993_u64));
    close(tasks).await;
}

#[tokio::test]
async fn only_the_newest_status_of_a_pod_is_told_and_it_stays_known_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let tasks = TaskSet::new("test");
    let handle = open(directory.path(), &tasks).await;
    for phase_now in ["Pending", "Running"] {
        handle.report_pod_status("default", "web", "u1", phase(phase_now)).await.unwrap();
    }
    let reports = handle.ahead(10, &HashSet::new()).await.unwrap();
    assert_eq!(reports.len(), 1);
    assert!(reports[0].message.content.as_str().unwrap().contains("Running"));
    let (row, version) = (reports[0].row.clone(), reports[0].version);

    // A newer status arrives before the confirmation of the older one.
    handle.report_pod_status("default", "web", "u1", phase("Succeeded")).await.unwrap();
    handle.confirm(&row, version).await.unwrap();
    assert_eq!(rows(&handle).await, std::slice::from_ref(&row.0));
    let version = handle.ahead(10, &HashSet::new()).await.unwrap()[0].version;
    assert!(handle.ahead(10, &HashSet::from([row.clone()])).await.unwrap().is_empty());
    handle.confirm(&row, version).await.unwrap();
    assert!(rows(&handle).await.is_empty());
    close(tasks).await;

    let tasks = TaskSet::new("test");
    let handle = open(directory.path(), &tasks).await;
    assert!(rows(&handle).await.is_empty(), "the confirmation was not kept");
    let status = handle.pod_status("default", "web", "u1").await.unwrap().unwrap();
    assert_eq!(status.phase.unwrap(), "Succeeded");
    assert!(handle.pod_status("default", "web", "another").await.unwrap().is_none());
    close(tasks).await;
}

#[tokio::test]
async fn the_removal_of_a_pod_is_told_after_its_last_status_and_then_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    let tasks = TaskSet::new("test");
    let handle = open(directory.path(), &tasks).await;
    handle.report_pod_status("default", "web", "u1", phase("Succeeded")).await.unwrap();
    handle.report_pod_gone("default", "web", "u1").await.unwrap();
    assert_eq!(rows(&handle).await, ["pod/default/web/u1"]);
    let mut changed = handle.changed();
    changed.mark_unchanged();
    handle.confirm(&RowKey("pod/default/web/u1".into()), 1).await.unwrap();
    assert!(changed.has_changed().unwrap(), "edgehub must look again");
    assert_eq!(rows(&handle).await, ["gone/default/web/u1"]);
    handle.confirm(&RowKey("gone/default/web/u1".into()), 2).await.unwrap();
    assert!(rows(&handle).await.is_empty());
    close(tasks).await;

    let tasks = TaskSet::new("test");
    let handle = open(directory.path(), &tasks).await;
    assert!(handle.pod_status("default", "web", "u1").await.unwrap().is_none());
    close(tasks).await;
}

#[tokio::test]
async fn a_rejected_report_is_not_told_again_until_it_changes() {
    let directory = tempfile::tempdir().unwrap();
    let tasks = TaskSet::new("test");
    let handle = open(directory.path(), &tasks).await;
    handle.report_pod_status("default", "web", "u1", phase("Running")).await.unwrap();
    handle.reject(&RowKey("pod/default/web/u1".into()), 1, "no such pod").await.unwrap();
    assert!(rows(&handle).await.is_empty());
    handle.report_pod_status("default", "web", "u1", phase("Failed")).await.unwrap();
    assert_eq!(rows(&handle).await.len(), 1);
    close(tasks).await;
}

#[tokio::test]
async fn a_heartbeat_is_told_and_writes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let tasks = TaskSet::new("test");
    let handle = open(directory.path(), &tasks).await;
    let beat = |time: &str| json!({"status": {"conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": time}]}});
    handle.report_node_status(beat("10:00")).await.unwrap();
    handle.confirm(&RowKey("node".into()), 1).await.unwrap();
    // Anything written now brings the confirmation along.
    handle.accept(vec![push(Operation::Insert, "default/pod/web", &pod("u1", "5", "a"))]).await;
    let wal = directory.path().join("edgecore.db-wal");
    let before = std::fs::metadata(&wal).unwrap().len();
    handle.report_node_status(beat("10:05")).await.unwrap();
    let reports = handle.ahead(10, &HashSet::new()).await.unwrap();
    assert!(reports[0].message.content.as_str().unwrap().contains("10:05"));
    assert_eq!(std::fs::metadata(&wal).unwrap().len(), before);
    handle.confirm(&reports[0].row, reports[0].version).await.unwrap();
    assert!(rows(&handle).await.is_empty());
    close(tasks).await;
}

#[tokio::test]
async fn events_are_bounded_by_size_and_the_oldest_go_first() {
    let directory = tempfile::tempdir().unwrap();
    let tasks = TaskSet::new("test");
    let (hub, _) = edgehub::channel();
    let mut settings = Settings::new(directory.path().join("edgecore.db"), "edge1");
    settings.event_bytes = 10_000;
    let handle = metamanager::open(settings, hub, &tasks).await.unwrap();
    for number in 0..128 {
        let event: Event = serde_json::from_value(json!({
            "metadata": {"name": format!("e{number}"), "namespace": "default"}, "involvedObject": {}, "message": "x".repeat(200)
        }))
        .unwrap();
        handle.record_event(event).await.unwrap();
    }
    let rows = rows(&handle).await;
    assert!(rows.len() < 70, "{} events are held", rows.len());
    assert_eq!(rows.last().unwrap(), "event/default/e127");
    assert!(!rows.contains(&"event/default/e0".to_owned()));
    close(tasks).await;
}

#[tokio::test]
async fn no_age_costs_the_cloud_an_event_that_it_has_not_seen() {
    let directory = tempfile::tempdir().unwrap();
    let tasks = TaskSet::new("test");
    let (hub, _) = edgehub::channel();
    let mut settings = Settings::new(directory.path().join("edgecore.db"), "edge1");
    // To a clock that was wrong and is set, all that was noted may be as old as that.
    settings.event_age = Duration::ZERO;
    let handle = metamanager::open(settings, hub, &tasks).await.unwrap();
    for number in 0..64 {
        let event: Event = serde_json::from_value(json!({
            "metadata": {"name": format!("e{number}"), "namespace": "default"}, "involvedObject": {}
        }))
        .unwrap();
        handle.record_event(event).await.unwrap();
    }
    assert_eq!(rows(&handle).await.len(), 64);
    close(tasks).await;
}

#[tokio::test]
async fn an_object_that_is_not_held_cannot_be_had_without_the_cloud() {
    let directory = tempfile::tempdir().unwrap();
    let tasks = TaskSet::new("test");
    let handle = open(directory.path(), &tasks).await;
    let key = ObjectKey::namespaced("default", ResourceKind::ConfigMap, "conf");
    assert!(matches!(handle.fetch(&key).await, Err(FetchError::Disconnected(_))));
    let object =
        json!({"metadata": {"name": "conf", "uid": "u1", "resourceVersion": "1"}, "data": {"k": "v"}});
    handle.accept(vec![push(Operation::Insert, "default/configmap/conf", &object)]).await;
    assert_eq!(handle.fetch(&key).await.unwrap().object["data"]["k"], "v");
    close(tasks).await;
}

#[tokio::test]
async fn a_store_that_is_damaged_while_running_is_replaced_and_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let tasks = TaskSet::new("test");
    let handle = open(directory.path(), &tasks).await;
    for number in 0..300 {
        let key = format!("default/configmap/c{number}");
        let object = json!({"metadata": {"name": format!("c{number}"), "uid": format!("u{number}")}, "data": {"k": "x".repeat(2000)}});
        handle.accept(vec![push(Operation::Insert, &key, &object)]).await;
    }
    close(tasks).await;
    let path = directory.path().join("edgecore.db");
    let tasks = TaskSet::new("test");
    let handle = open(directory.path(), &tasks).await;
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[4096..].fill(0xa5);
    std::fs::write(&path, bytes).unwrap();
    let rebuilds = handle.rebuilds();
    let object = json!({"metadata": {"name": "c7", "uid": "u7"}, "data": {}});
    let mut outcome = Outcome::Done;
    for _ in 0..3 {
        outcome =
            handle.accept(vec![push(Operation::Update, "default/configmap/c7", &object)]).await.remove(0);
        if outcome == Outcome::Done {
            break;
        }
    }
    assert_eq!(outcome, Outcome::Done);
    assert!(rebuilds.has_changed().unwrap());
    assert_eq!(handle.inventory().await.unwrap().len(), 1);
    close(tasks).await;
}
