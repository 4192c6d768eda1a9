//! A Deployment's wishes with their defaults, in numbers.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, ReplicaSet};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// Kubernetes writes "no deadline" as the largest number.
const NO_DEADLINE: i32 = i32::MAX;

/// A deployment and what its fields mean.
#[derive(Clone, Copy)]
pub(super) struct View<'d> {
    pub(super) deployment: &'d Deployment,
    pub(super) spec: &'d DeploymentSpec,
}

/// A ReplicaSet as it is known after the writes of this look.
pub(super) type Set = Arc<ReplicaSet>;

/// How many pods a set should have.
pub(super) fn size(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

/// How many pods of a set are available.
pub(super) fn available(set: &ReplicaSet) -> i32 {
    set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0)
}

/// How many pods of a set there are.
pub(super) fn actual(set: &ReplicaSet) -> i32 {
    set.status.as_ref().map_or(0, |status| status.replicas)
}

// === impl View ===

impl<'d> View<'d> {
    pub(super) fn of(deployment: &'d Deployment) -> Option<Self> {
        Some(Self { deployment, spec: deployment.spec.as_ref()? })
    }

    pub(super) fn replicas(&self) -> i32 {
        self.spec.replicas.unwrap_or(1)
    }

    pub(super) fn is_paused(&self) -> bool {
        self.spec.paused == Some(true)
    }

    pub(super) fn recreates(&self) -> bool {
        self.spec.strategy.as_ref().and_then(|strategy| strategy.type_.as_deref()) == Some("Recreate")
    }

    /// How many seconds a rollout may take without progress.
    pub(super) fn deadline(&self) -> Option<i64> {
        self.spec.progress_deadline_seconds.filter(|seconds| *seconds != NO_DEADLINE).map(i64::from)
    }

    /// How many pods there may be beyond those wanted.
    pub(super) fn max_surge(&self) -> i32 {
        if self.recreates() { 0 } else { self.fenceposts().0 }
    }

    /// How many of the wanted pods may be missing.
    pub(super) fn max_unavailable(&self) -> i32 {
        if self.recreates() { 0 } else { self.fenceposts().1.min(self.replicas()) }
    }

    fn fenceposts(&self) -> (i32, i32) {
        let rolling = self.spec.strategy.as_ref().and_then(|strategy| strategy.rolling_update.as_ref());
        let replicas = self.replicas();
        let surge = resolve(rolling.and_then(|rolling| rolling.max_surge.as_ref()), replicas, true);
        let missing = resolve(rolling.and_then(|rolling| rolling.max_unavailable.as_ref()), replicas, false);
        // With neither, nothing could ever move.
        if surge == 0 && missing == 0 { (0, 1) } else { (surge, missing) }
    }
}

/// A number, or a part of `of` (the API's default: a quarter).
fn resolve(value: Option<&IntOrString>, of: i32, up: bool) -> i32 {
    let percent = match value {
        Some(IntOrString::Int(number)) => return (*number).max(0),
        Some(IntOrString::String(text)) => text.trim_end_matches('%').parse().unwrap_or(0_i64),
        None => 25,
    };
    let hundredths = i64::from(of.max(0)) * percent.max(0);
    let whole = if up { hundredths.saturating_add(99) / 100 } else { hundredths / 100 };
    i32::try_from(whole).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn limits(replicas: i32, surge: serde_json::Value, missing: serde_json::Value) -> (i32, i32) {
        let deployment = json!({"spec": {
            "replicas": replicas, "selector": {}, "template": {},
            "strategy": {"rollingUpdate": {"maxSurge": surge, "maxUnavailable": missing}},
        }});
        let deployment: Deployment = serde_json::from_value(deployment).unwrap();
        let view = View::of(&deployment).unwrap();
        (view.max_surge(), view.max_unavailable())
    }

    #[test]
    fn parts_are_rounded_so_that_surge_is_never_too_small_and_something_can_always_move() {
        assert_eq!(limits(2, json!("25%"), json!("25%")), (1, 0));
        assert_eq!(limits(10, json!("25%"), json!("25%")), (3, 2));
        assert_eq!(limits(3, json!(0), json!("10%")), (0, 1));
        assert_eq!(limits(1, json!(0), json!(5)), (0, 1));
        assert_eq!(limits(4, json!("100%"), json!(0)), (4, 0));
    }
}
