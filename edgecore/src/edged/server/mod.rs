//! Owns what a kubelet answers on its read-only port: which pods there are, what their containers log, what they use.
//! Paths, queries and words are the kubelet's (Kubernetes v1.36 `pkg/kubelet/server`).
//!
//! May call: the store, the runtime, cgroups. Called by the binary, which serves it on loopback beside `/healthz`.

mod logs;
mod metrics;
mod pods;
mod stats;
mod summary;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

use self::pods::Pods;
use self::stats::Rates;
use super::context::Context;
use super::static_pods::StaticPods;

/// A loop that has not come round for this long hangs: it comes round every ten seconds, and no call to a runtime may take
/// longer than two minutes by default.
const HANGS_AFTER: Duration = Duration::from_secs(300);

/// What the handlers share.
#[derive(Clone)]
struct Shared {
    ctx: Arc<Context>,
    static_pods: watch::Receiver<StaticPods>,
    rates: Arc<Mutex<Rates>>,
}

impl Shared {
    fn pods(&self) -> Pods<'_> {
        Pods { ctx: &self.ctx, static_pods: &self.static_pods }
    }
}

/// The routes, to be served.
pub(super) fn routes(ctx: &Arc<Context>, static_pods: watch::Receiver<StaticPods>) -> Router {
    let shared = Shared { ctx: Arc::clone(ctx), static_pods, rates: Arc::default() };
    Router::new()
        .route("/pods", get(pods::list))
        .route("/pods/", get(pods::list))
        .route("/runningpods", get(pods::running))
        .route("/runningpods/", get(pods::running))
        .route("/containerLogs/{namespace}/{pod}/{container}", get(logs::get))
        .route("/stats/summary", get(summary::get).post(summary::get))
        .route("/metrics", get(metrics::own))
        .route("/metrics/resource", get(metrics::resource))
        .with_state(shared)
}

/// When the loop that keeps the pods came round last.
#[derive(Clone, Debug)]
pub struct Pulse(watch::Receiver<Instant>);

impl Pulse {
    pub(super) fn new(beats: watch::Receiver<Instant>) -> Self {
        Self(beats)
    }

    /// Whether the loop comes round.
    pub fn is_alive(&self) -> bool {
        self.0.borrow().elapsed() < HANGS_AFTER
    }
}
