//! Restart policies and crash back-off, decided from what the runtime holds alone, so they survive a restart of edgecore.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container as Spec, Pod, PodSpec};

use super::observed::Observed;
use crate::edged::runtime::{Container, ContainerState, Exit, labels};

/// Pause after the second crash; the first restart is immediate.
pub const FIRST_BACK_OFF: Duration = Duration::from_secs(10);
/// The longest pause between restarts.
pub const LONGEST_BACK_OFF: Duration = Duration::from_secs(300);
/// A container that ran this long is forgiven its earlier crashes.
pub const FORGIVEN_AFTER: SignedDuration = SignedDuration::from_secs(600);
/// What Kubernetes gives a pod to stop when nobody says otherwise.
pub const DEFAULT_GRACE: Duration = Duration::from_secs(30);

/// When containers that ended are started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartPolicy {
    /// Whatever the exit code.
    Always,
    /// Unless the exit code is 0.
    OnFailure,
    /// Not at all.
    Never,
}

impl RestartPolicy {
    /// The policy of a pod's containers.
    pub fn of(spec: &PodSpec) -> Self {
        match spec.restart_policy.as_deref() {
            Some("Never") => Self::Never,
            Some("OnFailure") => Self::OnFailure,
            _ => Self::Always,
        }
    }

    /// Whether a container that ended like this starts again.
    pub fn restarts(self, exit: &Exit) -> bool {
        match self {
            Self::Always => true,
            Self::OnFailure => exit.code != 0,
            Self::Never => false,
        }
    }
}

/// Whether this init container is a sidecar: started in order, then kept running beside the others.
pub fn is_sidecar(init: &Spec) -> bool {
    init.restart_policy.as_deref() == Some("Always")
}

/// The pod's specification; an empty one for a pod known only by its containers.
pub fn spec(pod: &Pod) -> &PodSpec {
    static EMPTY: std::sync::LazyLock<PodSpec> = std::sync::LazyLock::new(PodSpec::default);
    pod.spec.as_ref().unwrap_or(&EMPTY)
}

/// Whether the pod uses the host's network.
pub fn host_network(pod: &Pod) -> bool {
    spec(pod).host_network.unwrap_or(false)
}

/// Init containers of the pod.
pub fn inits(pod: &Pod) -> &[Spec] {
    spec(pod).init_containers.as_deref().unwrap_or_default()
}

/// How long the pod is given to stop.
pub fn grace(pod: &Pod) -> Duration {
    let seconds = pod.metadata.deletion_grace_period_seconds.or(spec(pod).termination_grace_period_seconds);
    seconds.and_then(|seconds| u64::try_from(seconds).ok()).map_or(DEFAULT_GRACE, Duration::from_secs)
}

/// The pause that this container, made with it, demands after its end.
pub fn back_off_of(seen: &Observed, container: &Container, exit: &Exit) -> Duration {
    let ran = match (seen.began.get(&container.id), seen.ended.get(&container.id)) {
        (Some(began), Some(ended)) => ended.duration_since(*began),
        // Nobody looked when it began: what the runtime has written.
        _ if exit.started > Timestamp::UNIX_EPOCH => exit.finished.duration_since(exit.started),
        _ => SignedDuration::ZERO,
    };
    if ran >= FORGIVEN_AFTER {
        return Duration::ZERO;
    }
    match container.annotations.get(labels::BACK_OFF).and_then(|seconds| seconds.parse().ok()) {
        Some(seconds) => Duration::from_secs(seconds).min(LONGEST_BACK_OFF),
        // Made by a kubelet: what it would have come to.
        None => match container.restarts() {
            0 => Duration::ZERO,
            n => FIRST_BACK_OFF.saturating_mul(2_u32.saturating_pow((n - 1).min(16))).min(LONGEST_BACK_OFF),
        },
    }
}

/// The pause to give to the successor of a container that demanded `current`.
pub fn next_back_off(current: Duration) -> Duration {
    if current.is_zero() { FIRST_BACK_OFF } else { current.saturating_mul(2).min(LONGEST_BACK_OFF) }
}

/// When a container that ended may be started again; never further away than its pause, whatever the clock did.
pub fn due(seen: &Observed, container: &Container, exit: &Exit, now: Timestamp) -> Timestamp {
    let pause = SignedDuration::try_from(back_off_of(seen, container, exit)).unwrap_or(SignedDuration::ZERO);
    let ended = seen.ended_at(container).unwrap_or(exit.finished);
    ended.saturating_add(pause).unwrap_or(now).min(now.saturating_add(pause).unwrap_or(now))
}

/// How a pod has ended for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All containers ended with 0.
    Succeeded,
    /// At least one did not.
    Failed,
}

/// Whether, by policy and by what is observed, the pod has ended for good.
pub fn outcome(pod: &Pod, seen: &Observed) -> Option<Outcome> {
    let policy = RestartPolicy::of(spec(pod));
    if policy == RestartPolicy::Never {
        let failed = |init: &Spec| {
            !is_sidecar(init)
                && seen.latest(&init.name).and_then(Container::exit).is_some_and(|exit| exit.code != 0)
        };
        if inits(pod).iter().any(failed) {
            return Some(Outcome::Failed);
        }
    }
    let mut all_well = true;
    let mains = &spec(pod).containers;
    if mains.is_empty() {
        return None;
    }
    for main in mains {
        let container = seen.latest(&main.name)?;
        let exit = match &container.state {
            ContainerState::Exited(exit) => exit,
            _ => return None,
        };
        if seen.restarts(policy, container) {
            return None;
        }
        all_well &= exit.code == 0;
    }
    Some(if all_well { Outcome::Succeeded } else { Outcome::Failed })
}
