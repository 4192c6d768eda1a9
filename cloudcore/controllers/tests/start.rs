//! The controllers as a whole: they start, end, and start again beside a running API.

mod support;

use std::time::Duration;

use controllers::Settings;
use support::Managed;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn controllers_end_cleanly_and_start_again() {
    let mut managed = Managed::start().await;
    managed.restart_controllers(Settings::default()).await;
    let report = managed.tasks.shutdown(Duration::from_secs(10)).await;
    assert!(report.is_clean(), "{report:?}");
}
