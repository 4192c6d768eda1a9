//! Owns what keeps a node alive for years: log files that are turned over, images that nobody uses, pods that have to go
//! before the machine runs out of memory or disk, the limits of all pods together,
//! and helpers and networks of the runtime that were lost.
//!
//! May call: the runtime, the store (which pods there are), the recorder. Called by edged, once. Numbers, order and words are the
//! kubelet's (Kubernetes v1.32 `pkg/kubelet/{logs,images,eviction}`).

mod eviction;
mod images;
mod inventory;
mod limits;
mod logs;
mod networks;
mod pressure;
mod shims;
mod storage;
mod thresholds;
mod usage;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tasks::{Restart, TaskSet};
use tokio::time::{MissedTickBehavior, interval};

pub use eviction::Eviction;
pub use eviction::Evictions;
pub(super) use eviction::is_critical;
pub(super) use logs::remove as remove_log;
pub use pressure::{Pressure, Signal};
pub use thresholds::Threshold;
pub(super) use usage::bytes as bytes_below;

use super::context::Context;

/// Starts all of it on `tasks`.
pub(super) fn start(ctx: &Arc<Context>, tasks: &TaskSet) {
    let housekeeping = &ctx.settings.housekeeping;
    let (look, collect) = (housekeeping.look_every, housekeeping.collect_every);
    let of = Arc::clone(ctx);
    tasks.spawn("logs", Restart::on_failure(), move |token| {
        let ctx = Arc::clone(&of);
        async move {
            token.run_until_cancelled(logs::run(&ctx, look)).await;
            Ok::<(), Infallible>(())
        }
    });
    let of = Arc::clone(ctx);
    tasks.spawn("limits", Restart::on_failure(), move |token| {
        let ctx = Arc::clone(&of);
        async move {
            token.run_until_cancelled(limits::run(&ctx)).await;
            Ok::<(), Infallible>(())
        }
    });
    let of = Arc::clone(ctx);
    tasks.spawn("shims", Restart::on_failure(), move |token| {
        let ctx = Arc::clone(&of);
        async move {
            token.run_until_cancelled(shims::run(&ctx)).await;
            Ok::<(), Infallible>(())
        }
    });
    let of = Arc::clone(ctx);
    tasks.spawn("networks", Restart::on_failure(), move |token| {
        let ctx = Arc::clone(&of);
        async move {
            token.run_until_cancelled(networks::run(&ctx)).await;
            Ok::<(), Infallible>(())
        }
    });
    let of = Arc::clone(ctx);
    tasks.spawn("images", Restart::on_failure(), move |token| {
        let mut collector = images::Collector::new(Arc::clone(&of));
        async move {
            token.run_until_cancelled(collector.run(collect)).await;
            Ok::<(), Infallible>(())
        }
    });
    let of = Arc::clone(ctx);
    tasks.spawn("evictions", Restart::on_failure(), move |token| {
        let mut evictor = eviction::Evictor::new(Arc::clone(&of));
        async move {
            token.run_until_cancelled(evictor.run(look)).await;
            Ok::<(), Infallible>(())
        }
    });
}

/// Ticks that do not pile up when a round takes long.
fn every(period: Duration) -> tokio::time::Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
