//! The embedded control plane by itself: writes, lists, watches, new kinds, memory, disk, start, scheduling.

mod crds;
mod http;
mod lists;
mod schedule;
mod start;
mod storm;
mod watches;
mod writes;

use std::time::Duration;

use anyhow::Result;
use e2e::{Stack, StackOptions};
use tokio::time::sleep;

use crate::Measure;

pub(crate) use schedule::run as schedule;

/// How long a process may settle before its memory is looked at.
const SETTLE: Duration = Duration::from_secs(70);
/// Objects of a large cluster.
const OBJECTS: usize = 10_000;

/// New kinds, and watchers in a storm of changes.
pub(crate) async fn storm() -> Result<Vec<Measure>> {
    let stack = Stack::start(StackOptions::default()).await?;
    stack.token().await?;
    let mut measures = vec![crds::run(&stack).await?];
    measures.extend(storm::run(&stack).await?);
    Ok(measures)
}

pub(crate) async fn run() -> Result<Vec<Measure>> {
    let mut measures = Vec::new();
    let mut stack = Stack::start(StackOptions::default()).await?;
    stack.token().await?;
    sleep(SETTLE).await;
    let idle = stack.cloud.resident_bytes()?;
    measures.push(Measure::bytes(
        "plane.rss-idle",
        idle,
        "VmRSS of cloudcore 70 s after its start, empty cluster",
    ));
    measures.push(start::empty(&mut stack).await?);
    measures.extend(writes::run(&stack).await?);
    drop(stack);

    let stack = Stack::start(StackOptions::default()).await?;
    measures.extend(watches::run(&stack).await?);
    drop(stack);

    let mut stack = Stack::start(StackOptions::default()).await?;
    stack.token().await?;
    let before = start::disk(&mut stack).await?;
    lists::fill(&stack, OBJECTS).await?;
    sleep(SETTLE).await;
    let full = stack.cloud.resident_bytes()?;
    measures.push(Measure::bytes(
        "plane.rss-objects",
        full,
        format!("VmRSS of cloudcore 70 s after {OBJECTS} pods were created, in the same process"),
    ));
    measures.extend(lists::run(&stack).await?);
    let after = start::disk(&mut stack).await?;
    measures.push(Measure::bytes(
        "plane.disk",
        after.saturating_sub(before) / OBJECTS as u64,
        format!("growth of controlplane.db by {OBJECTS} pods, for each"),
    ));
    measures.push(start::full(&mut stack).await?);
    measures.extend(start::cost(&mut stack).await?);
    Ok(measures)
}
