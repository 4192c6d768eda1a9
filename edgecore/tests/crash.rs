//! Killed at any moment, the store has everything that it said it has.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use edgecore::edgehub::{self, Outbox};
use edgecore::metamanager::{self, Handle, Settings};
use k8s_openapi::api::core::v1::{Event, PodStatus};
use proto::message::{Content, Group, Message, Operation, Route, Source};
use proto::resource::{ObjectKey, ResourceKind};
use proto::session::Outcome;
use serde_json::json;
use tasks::TaskSet;

/// Where the child works; set only for the child.
const DIRECTORY: &str = "CRASH_TEST_DIRECTORY";
const FROM: &str = "CRASH_TEST_FROM";
const OBJECTS: u64 = 7;

async fn open(directory: &Path, tasks: &TaskSet) -> Handle {
    let (hub, _) = edgehub::channel();
    metamanager::open(Settings::new(directory.join("edgecore.db"), "edge1"), hub, tasks).await.unwrap()
}

fn push(version: u64) -> Message {
    let name = format!("c{}", version % OBJECTS);
    let route = Route::new(
        Source::EdgeController,
        Group::Resource,
        Operation::Update,
        format!("default/configmap/{name}").as_str().into(),
    );
    // Some span pages, so that a kill can fall between the pages of one commit.
    let data = "x".repeat(usize::try_from(version % 5).unwrap() * 3000);
    let object = json!({"metadata": {"name": name, "uid": name, "resourceVersion": version.to_string()}, "data": {"k": data}});
    Message::new(route, Content::json(&object).unwrap())
}

/// One that is written down together with the status of that version.
fn event(version: u64) -> Event {
    let event = json!({
        "metadata": {"namespace": "default", "name": "web.1"}, "involvedObject": {}, "message": version.to_string(),
    });
    serde_json::from_value(event).unwrap()
}

/// The child: says each version once the store has it, and never stops by itself.
#[tokio::test]
async fn child_that_is_killed() {
    let (Ok(directory), Ok(from)) = (std::env::var(DIRECTORY), std::env::var(FROM)) else { return };
    let tasks = TaskSet::new("child");
    let handle = open(Path::new(&directory), &tasks).await;
    for version in from.parse::<u64>().unwrap().. {
        let outcomes = handle.accept(vec![push(version)]).await;
        assert_eq!(outcomes, [Outcome::Done]);
        println!("held {version}");
        let status = PodStatus { message: Some(version.to_string()), ..PodStatus::default() };
        handle.report_pod_status_telling("default", "web", "u1", status, &event(version)).await.unwrap();
        println!("told {version}");
    }
}

#[tokio::test]
async fn what_the_store_said_it_has_is_there_after_kill_9_at_any_moment() {
    let directory = tempfile::tempdir().unwrap();
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut held, mut told) = (0, 0);
    for _ in 0..12 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_is_killed", "--nocapture"])
            .env(DIRECTORY, directory.path())
            .env(FROM, (held.max(told) + 1).to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = random.u32(1..60);
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut read = 0;
        while read < lines {
            let line = said.next().expect("the child ended by itself");
            read += u32::from(hear(&line, &mut held, &mut told));
        }
        tokio::time::sleep(Duration::from_micros(random.u64(0..3000))).await;
        child.kill().unwrap();
        // What it said before it died counts, too.
        for line in said {
            hear(&line, &mut held, &mut told);
        }
        child.wait().unwrap();
        check(directory.path(), held, told).await;
    }
}

fn hear(line: &str, held: &mut u64, told: &mut u64) -> bool {
    let number = |what: &str| line.split(what).nth(1)?.trim().parse().ok();
    if let Some(version) = number("held ") {
        *held = version;
        return true;
    }
    if let Some(version) = number("told ") {
        *told = version;
        return true;
    }
    false
}

async fn check(directory: &Path, held: u64, told: u64) {
    let tasks = TaskSet::new("check");
    let handle = open(directory, &tasks).await;
    for version in held.saturating_sub(OBJECTS - 1).max(1)..=held {
        let key =
            ObjectKey::namespaced("default", ResourceKind::ConfigMap, format!("c{}", version % OBJECTS));
        let found = handle.get(&key).await.unwrap().expect("an acknowledged object is missing");
        let found: u64 = found.resource_version.parse().unwrap();
        assert!(found >= version, "{key} is at {found}, {version} was acknowledged");
    }
    if told > 0 {
        let status =
            handle.pod_status("default", "web", "u1").await.unwrap().expect("a reported status is missing");
        let found: u64 = status.message.unwrap().parse().unwrap();
        assert!(found >= told, "the status is of {found}, {told} was reported");
        let rows = handle.ahead(10, &HashSet::new()).await.unwrap();
        assert_eq!(rows.len(), 2);
        let event = rows.iter().find(|row| row.row.0.starts_with("event/")).expect("the event is missing");
        let event: Event = event.message.content.parse().unwrap();
        assert_eq!(event.message, Some(found.to_string()), "the event is of another version than the status");
    }
    assert!(tasks.shutdown(Duration::from_secs(5)).await.is_clean());
}
