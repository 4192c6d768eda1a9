//! CPU, memory and out-of-memory order of a container, in the kernel's units.

use std::collections::{BTreeMap, HashMap};

use k8s_cri::v1::LinuxContainerResources;
use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::policy;
use super::status::QosClass;
use crate::edged::config::Settings;
use proto::quantity::{self, QuantityError};

const MIN_SHARES: i64 = 2;
const MAX_SHARES: i64 = 262_144;
/// The kernel refuses smaller quotas.
const MIN_QUOTA: i64 = 1_000;

/// Limits and weights of a container; `memory_total` is the node's.
pub fn of(
    pod: &Pod,
    container: &Container,
    settings: &Settings,
    memory_total: i64,
    unified: bool,
) -> Result<LinuxContainerResources, QuantityError> {
    let resources = container.resources.clone().unwrap_or_default();
    let (limits, requests) = (resources.limits.unwrap_or_default(), resources.requests.unwrap_or_default());
    let cpu_limit = amount(&limits, "cpu", quantity::milli)?;
    let cpu_request = amount(&requests, "cpu", quantity::milli)?.or(cpu_limit);
    let memory_limit = amount(&limits, "memory", quantity::whole)?;
    let memory_request = amount(&requests, "memory", quantity::whole)?.or(memory_limit);
    let period = i64::try_from(settings.cpu_cfs_period.as_micros()).unwrap_or(100_000);
    let quota = match cpu_limit {
        Some(milli) if settings.cpu_cfs_quota && milli > 0 => cpu_quota(milli, period),
        _ => 0,
    };
    let mut files = HashMap::new();
    if unified && memory_limit.is_some() {
        // One process of a container that runs out takes the whole container with it, as the kubelet has it.
        files.insert("memory.oom.group".to_owned(), "1".to_owned());
    }
    Ok(LinuxContainerResources {
        cpu_period: period,
        cpu_quota: quota,
        cpu_shares: cpu_shares(cpu_request.unwrap_or(0)),
        memory_limit_in_bytes: memory_limit.unwrap_or(0),
        // Swap beyond the limit would hide a leak and wear out flash.
        memory_swap_limit_in_bytes: memory_limit.unwrap_or(0),
        oom_score_adj: oom_score(QosClass::of(pod), memory_request.unwrap_or(0), memory_total),
        unified: files,
        ..LinuxContainerResources::default()
    })
}

/// Memory in bytes that the pod as a whole cannot exceed; `None` when a container of it has no limit.
pub fn memory_limit(pod: &Pod) -> Option<i64> {
    limit(pod, "memory", quantity::whole)
}

/// Thousandths of a CPU that the pod as a whole cannot exceed; `None` when a container of it has no limit.
pub fn cpu_limit(pod: &Pod) -> Option<i64> {
    limit(pod, "cpu", quantity::milli)
}

fn limit(pod: &Pod, name: &str, unit: fn(&str) -> Result<i64, QuantityError>) -> Option<i64> {
    let limit = |container: &Container| {
        let limits = container.resources.as_ref()?.limits.as_ref()?;
        amount(limits, name, unit).ok().flatten().filter(|amount| *amount > 0)
    };
    let (sidecars, inits): (Vec<&Container>, Vec<&Container>) =
        policy::inits(pod).iter().partition(|init| policy::is_sidecar(init));
    let together = policy::spec(pod).containers.iter().chain(sidecars).map(limit).sum::<Option<i64>>()?;
    inits.into_iter().map(limit).try_fold(together, |most, init| Some(most.max(init?)))
}

/// The weight of so many thousandths of a CPU.
pub fn cpu_shares(milli: i64) -> i64 {
    (milli.saturating_mul(1024) / 1000).clamp(MIN_SHARES, MAX_SHARES)
}

/// The time that so many thousandths of a CPU have in each period, in microseconds.
pub fn cpu_quota(milli: i64, period: i64) -> i64 {
    (milli.saturating_mul(period) / 1000).max(MIN_QUOTA)
}

fn amount(
    map: &BTreeMap<String, Quantity>,
    name: &str,
    unit: fn(&str) -> Result<i64, QuantityError>,
) -> Result<Option<i64>, QuantityError> {
    map.get(name).map(|quantity| unit(&quantity.0)).transpose()
}

/// Who dies first when memory runs out. The runtime may not be allowed to go below its own score; it restricts it then.
fn oom_score(class: QosClass, request: i64, total: i64) -> i64 {
    match class {
        QosClass::Guaranteed => -997,
        QosClass::BestEffort => 1000,
        QosClass::Burstable if total > 0 => (1000 - request.saturating_mul(1000) / total).clamp(3, 999),
        QosClass::Burstable => 999,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn resources(spec: serde_json::Value) -> LinuxContainerResources {
        let pod: Pod = serde_json::from_value(json!({ "spec": { "containers": [
            { "name": "c", "resources": spec }] } }))
        .expect("a pod");
        let settings = Settings::new("n", [127, 0, 0, 1].into(), "/r".into(), "/l".into());
        let container = pod.spec.as_ref().expect("a spec").containers[0].clone();
        of(&pod, &container, &settings, 1 << 30, false).expect("resources")
    }

    #[test]
    fn limits_become_quota_and_bytes() {
        let made = resources(json!({ "limits": { "cpu": "250m", "memory": "64Mi" } }));
        assert_eq!((made.cpu_quota, made.cpu_shares, made.memory_limit_in_bytes), (25_000, 256, 64 << 20));
        assert_eq!(made.oom_score_adj, -997, "limits alone make a guaranteed pod");
    }

    #[test]
    fn a_container_that_asks_for_nothing_is_first_to_die_and_gets_the_least_weight() {
        let made = resources(json!({}));
        assert_eq!((made.cpu_quota, made.cpu_shares, made.oom_score_adj), (0, 2, 1000));
    }

    #[test]
    fn a_burstable_container_dies_earlier_the_less_memory_it_asked_for() {
        assert_eq!(resources(json!({ "requests": { "memory": "512Mi" } })).oom_score_adj, 500);
        assert_eq!(resources(json!({ "requests": { "cpu": "1" } })).oom_score_adj, 999);
    }
}
