//! What a budget's status says. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;

use crate::cache::is_going;
use crate::pods::is_ready;

/// After an eviction, a pod is expected to go within this time.
const DELETION: SignedDuration = SignedDuration::from_mins(2);
const CONDITION: &str = "DisruptionAllowed";

/// How many pods the owners want together.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Scale(pub(super) i32);

pub(super) struct Counted {
    pub(super) status: PodDisruptionBudgetStatus,
    /// When the count may change by itself.
    pub(super) recheck: Option<Duration>,
    /// Pods that were to go and did not.
    pub(super) not_deleted: Vec<Arc<Pod>>,
}

/// Whether the count depends on what the pods' owners want.
pub(super) fn needs_scale(budget: &PodDisruptionBudget) -> bool {
    let Some(spec) = &budget.spec else { return false };
    spec.max_unavailable.is_some() || matches!(spec.min_available, Some(IntOrString::String(_)))
}

/// The status of a budget over `pods`; the error is what is wrong with its numbers.
pub(super) fn count(
    budget: &PodDisruptionBudget,
    pods: &[Arc<Pod>],
    scale: Scale,
    now: Timestamp,
) -> Result<Counted, String> {
    let spec = budget.spec.clone().unwrap_or_default();
    let (expected, desired) = match (&spec.max_unavailable, &spec.min_available) {
        (Some(most), _) => (scale.0, (scale.0 - scaled(most, scale.0)?).max(0)),
        (None, Some(IntOrString::Int(least))) => (i32::try_from(pods.len()).unwrap_or(i32::MAX), *least),
        (None, Some(least)) => (scale.0, scaled(least, scale.0)?),
        (None, None) => (0, 0),
    };
    let asked = budget.status.as_ref().and_then(|status| status.disrupted_pods.clone()).unwrap_or_default();
    let (mut disrupted, mut not_deleted, mut recheck) = (BTreeMap::new(), Vec::new(), None::<SignedDuration>);
    let mut healthy = 0;
    for pod in pods.iter().filter(|pod| !is_going(&***pod)) {
        let name = pod.name_any();
        if let Some(since) = asked.get(&name) {
            let left = DELETION - now.duration_since(since.0);
            if left > SignedDuration::ZERO {
                recheck = Some(recheck.map_or(left, |recheck| recheck.min(left)));
                disrupted.insert(name, since.clone());
                continue;
            }
            not_deleted.push(Arc::clone(pod));
        }
        healthy += i32::from(is_ready(pod));
    }
    let allowed = if expected <= 0 { 0 } else { (healthy - desired).max(0) };
    let (status, reason) =
        if allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    let generation = budget.metadata.generation;
    let status = PodDisruptionBudgetStatus {
        current_healthy: Some(healthy),
        desired_healthy: Some(desired),
        expected_pods: Some(expected),
        disruptions_allowed: Some(allowed),
        disrupted_pods: (!disrupted.is_empty()).then_some(disrupted),
        observed_generation: generation,
        conditions: Some(conditions(budget, status, reason, "", generation, now)),
    };
    let recheck = recheck.and_then(|left| Duration::try_from(left).ok());
    Ok(Counted { status, recheck, not_deleted })
}

/// The status of a budget that cannot be counted: nothing may be evicted.
pub(super) fn failed(budget: &PodDisruptionBudget, why: &str, now: Timestamp) -> PodDisruptionBudgetStatus {
    let before = budget.status.clone().unwrap_or_default();
    PodDisruptionBudgetStatus {
        disruptions_allowed: Some(0),
        conditions: Some(conditions(budget, "False", "SyncFailed", why, before.observed_generation, now)),
        ..before
    }
}

fn conditions(
    budget: &PodDisruptionBudget,
    status: &str,
    reason: &str,
    message: &str,
    observed_generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    let mut all = budget.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    let before = all.iter().find(|condition| condition.type_ == CONDITION && condition.status == status);
    let now = Time(Timestamp::from_second(now.as_second()).unwrap_or(now));
    let since = before.map_or(now, |before| before.last_transition_time.clone());
    all.retain(|condition| condition.type_ != CONDITION);
    all.push(Condition {
        type_: CONDITION.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        observed_generation,
        last_transition_time: since,
    });
    all
}

/// A number, or a percentage of `total`, rounded up.
fn scaled(value: &IntOrString, total: i32) -> Result<i32, String> {
    match value {
        IntOrString::Int(number) => Ok(*number),
        IntOrString::String(text) => {
            let percent = text.strip_suffix('%').and_then(|percent| percent.parse::<i64>().ok());
            let percent = percent.ok_or_else(|| {
                format!("invalid value for IntOrString: invalid type: string is not a percentage ({text})")
            })?;
            i32::try_from((percent * i64::from(total) + 99).div_euclid(100))
                .map_err(|error| error.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn budget(spec: Value, disrupted: Value) -> PodDisruptionBudget {
        serde_json::from_value(json!({
            "metadata": {"name": "b", "generation": 3}, "spec": spec,
            "status": {"currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0, "disruptedPods": disrupted},
        }))
        .unwrap()
    }

    fn pods(ready: usize, others: usize) -> Vec<Arc<Pod>> {
        let pod = |number: usize| {
            let status = if number < ready { "True" } else { "False" };
            let conditions = json!([{"type": "Ready", "status": status}]);
            Arc::new(
                serde_json::from_value(json!({
                    "metadata": {"name": format!("p{number}")}, "status": {"conditions": conditions},
                }))
                .unwrap(),
            )
        };
        (0..ready + others).map(pod).collect()
    }

    fn numbers(spec: Value, ready: usize, others: usize, scale: i32) -> (i32, i32, i32, i32) {
        let counted =
            count(&budget(spec, json!({})), &pods(ready, others), Scale(scale), Timestamp::UNIX_EPOCH);
        let status = counted.unwrap().status;
        let all = [
            status.expected_pods,
            status.desired_healthy,
            status.current_healthy,
            status.disruptions_allowed,
        ];
        let [expected, desired, healthy, allowed] = all.map(Option::unwrap);
        (expected, desired, healthy, allowed)
    }

    #[test]
    fn numbers_and_percentages_of_either_kind() {
        assert_eq!(numbers(json!({"minAvailable": 2}), 3, 0, 0), (3, 2, 3, 1));
        assert_eq!(numbers(json!({"minAvailable": 5}), 3, 0, 0), (3, 5, 3, 0));
        assert_eq!(numbers(json!({"minAvailable": "50%"}), 3, 0, 3), (3, 2, 3, 1));
        assert_eq!(numbers(json!({"maxUnavailable": 1}), 2, 1, 3), (3, 2, 2, 0));
        assert_eq!(numbers(json!({"maxUnavailable": "30%"}), 10, 0, 10), (10, 7, 10, 3));
        assert_eq!(numbers(json!({"maxUnavailable": "100%"}), 4, 0, 4), (4, 0, 4, 4));
        assert_eq!(numbers(json!({"maxUnavailable": 1}), 0, 0, 0), (0, 0, 0, 0));
        assert!(
            count(&budget(json!({"minAvailable": "many"}), json!({})), &[], Scale(1), Timestamp::UNIX_EPOCH)
                .is_err()
        );
    }

    #[test]
    fn a_pod_that_was_just_evicted_does_not_count_and_one_that_stayed_does_again() {
        let asked = budget(
            json!({"minAvailable": 1}),
            json!({"p0": "1970-01-01T00:00:00Z", "gone": "1970-01-01T00:00:00Z"}),
        );
        let at =
            |second| count(&asked, &pods(2, 0), Scale(0), Timestamp::from_second(second).unwrap()).unwrap();
        let soon = at(20);
        assert_eq!((soon.status.current_healthy, soon.status.disruptions_allowed), (Some(1), Some(0)));
        assert_eq!(soon.status.disrupted_pods.unwrap().len(), 1);
        assert_eq!(soon.recheck, Some(Duration::from_secs(100)));
        let late = at(120);
        assert_eq!((late.status.current_healthy, late.not_deleted.len(), late.recheck), (Some(2), 1, None));
        assert_eq!(late.status.conditions.unwrap()[0].reason, "SufficientPods");
    }

    #[test]
    fn what_cannot_be_counted_may_not_be_disrupted() {
        let status =
            failed(&budget(json!({"maxUnavailable": 1}), json!({})), "no owner", Timestamp::UNIX_EPOCH);
        let condition = &status.conditions.unwrap()[0];
        assert_eq!((status.disruptions_allowed, condition.reason.as_str()), (Some(0), "SyncFailed"));
    }
}
