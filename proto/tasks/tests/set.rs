//! What the owner of a task set can rely on.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tasks::{Backoff, Report, Restart, TaskSet};

const SOON: Duration = Duration::from_secs(5);

fn quick() -> Backoff {
    Backoff::new(Duration::from_millis(1), Duration::from_millis(4))
}

#[tokio::test(start_paused = true)]
async fn a_task_that_panics_or_fails_is_started_again_and_counted() {
    let set = TaskSet::new("test");
    let runs = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&runs);
    set.spawn("flaky", Restart::OnFailure(quick()), move |_| {
        let run = seen.fetch_add(1, Ordering::SeqCst);
        async move {
            match run {
                0 => panic!("first run"),
                1 => Err("second run"),
                _ => Ok(()),
            }
        }
    });
    while set.running() > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(runs.load(Ordering::SeqCst), 3);
    assert_eq!(set.restarts(), 2);
}

#[tokio::test(start_paused = true)]
async fn shutdown_is_clean_when_tasks_heed_the_token_children_included() {
    let set = TaskSet::new("parent");
    let child = set.child("child");
    for (owner, name) in [(&set, "a"), (&child, "b")] {
        owner.spawn(name, Restart::on_failure(), |token| async move {
            token.cancelled().await;
            Ok::<_, Infallible>(())
        });
    }
    assert_eq!(set.running(), 2);
    assert_eq!(set.shutdown(SOON).await, Report::default());
    assert_eq!(child.running(), 0);
}

#[tokio::test(start_paused = true)]
async fn shutdown_names_the_task_that_ignores_the_token() {
    let set = TaskSet::new("parent");
    let child = set.child("conn");
    child.spawn_once("deaf", |_| std::future::pending());
    let report = set.shutdown(Duration::from_millis(20)).await;
    assert_eq!(report.aborted, ["parent/conn/deaf"]);
    assert!(report.stuck.is_empty());
}

#[tokio::test(start_paused = true)]
async fn dropping_a_child_ends_its_tasks_and_leaves_the_parents_alone() {
    let set = TaskSet::new("parent");
    let child = set.child("conn");
    child.spawn_once("reader", |_| std::future::pending());
    set.spawn_once("keeper", |token| async move { token.cancelled().await });
    drop(child);
    while set.running() > 1 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(set.shutdown(SOON).await.is_clean());
}

#[tokio::test(start_paused = true)]
async fn a_task_in_its_back_off_ends_at_once() {
    let set = TaskSet::new("test");
    let slow = Backoff::new(Duration::from_secs(3600), Duration::from_secs(3600));
    set.spawn("failing", Restart::OnFailure(slow), |_| async { Err("always") });
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert!(set.shutdown(SOON).await.is_clean());
}
