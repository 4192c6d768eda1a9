//! Lifecycle hooks: what a container wants done right after its start and right before its end.
//!
//! Words and rules are the kubelet's (Kubernetes v1.32 `pkg/kubelet/lifecycle`): what a hook printed may hold secrets, so it goes
//! to the log of the agent and not into an event; the status of an HTTP answer does not matter.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container as Spec, LifecycleHandler};

use super::probes::{Handler, Outcome, Place};
use super::runtime::ContainerRuntime;

/// Runs a hook to its end, for at most this time.
///
/// # Errors
/// What went wrong, for the log.
pub async fn run(
    hook: &LifecycleHandler,
    spec: &Spec,
    place: &Place,
    runtime: &dyn ContainerRuntime,
    limit: Duration,
) -> Result<(), String> {
    if let Some(sleep) = &hook.sleep {
        let wanted = Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or_default());
        tokio::time::sleep(wanted.min(limit)).await;
        return Ok(());
    }
    let what = (hook.exec.as_ref(), hook.http_get.as_ref(), hook.tcp_socket.as_ref(), None);
    match Handler::of(spec, place.address, what)? {
        Handler::Http(target) => target.call(limit).await,
        handler => match handler.ask(runtime, place, limit).await {
            Outcome::Success | Outcome::Warning(_) => Ok(()),
            Outcome::Failure(words) | Outcome::Error(words) => Err(words),
        },
    }
}
