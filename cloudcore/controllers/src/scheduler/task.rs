//! The scheduler's task: takes changes from the caches and lets the worker decide.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use tasks::{Restart, TaskSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::feed::Feed;
use super::worker::Worker;
use super::{FAILED, SCHEDULER};
use crate::context::{Caches, Context};

/// How long requests may take to end when the scheduler does.
const FAREWELL: Duration = Duration::from_secs(5);

/// Starts the scheduler on `tasks`.
pub(crate) fn start(context: &Context, tasks: &TaskSet) {
    let context = context.clone();
    tasks.spawn("scheduler", Restart::on_failure(), move |token| {
        let context = context.clone();
        async move {
            run(context, token).await;
            Ok::<_, Infallible>(())
        }
    });
}

async fn run(context: Context, token: CancellationToken) {
    let caches = Arc::clone(&context.caches);
    tokio::select! {
        () = token.cancelled() => return,
        () = listed(&caches) => {}
    }
    tokio::select! {
        () = token.cancelled() => return,
        () = recall(&context) => {}
    }
    let mut feed = Feed::new(&caches);
    let mut worker = Worker::new(context);
    while !token.is_cancelled() {
        while let Some(change) = feed.ready() {
            worker.see(&change);
        }
        worker.decide_some();
        let due = worker.due();
        tokio::select! {
            () = token.cancelled() => {}
            Some(change) = feed.next() => worker.see(&change),
            Some(outcome) = worker.requests.next() => worker.hear(outcome),
            () = until(due) => {}
        }
    }
    // A binding that is cut off may take effect after the next scheduler has looked, which would then count wrong.
    let farewell = async {
        while let Some(outcome) = worker.requests.next().await {
            worker.hear(outcome);
        }
    };
    if tokio::time::timeout(FAREWELL, farewell).await.is_err() {
        tracing::warn!("the scheduler ended with bindings under way");
    }
}

/// Learns what the scheduler before this one told of pods without a node.
async fn recall(context: &Context) {
    if let Err(error) = context.reporter(SCHEDULER).recall(&context.client, FAILED).await {
        tracing::warn!(%error, "cannot read what was told of pods without a node: it is told again");
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// Waits until every cache that decisions look at has its first list.
async fn listed(caches: &Caches) {
    caches.nodes.ready().await;
    caches.namespaces.ready().await;
    caches.persistent_volume_claims.ready().await;
    caches.persistent_volumes.ready().await;
    caches.storage_classes.ready().await;
    caches.services.ready().await;
    caches.replica_sets.ready().await;
    caches.replication_controllers.ready().await;
    caches.stateful_sets.ready().await;
    caches.pod_disruption_budgets.ready().await;
    caches.pods.ready().await;
}
