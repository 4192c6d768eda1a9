//! Quality-of-service class, which decides cgroup and out-of-memory order.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::super::policy;
use proto::quantity;

/// How firmly a pod's resources are promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QosClass {
    /// All containers have equal requests and limits for CPU and memory.
    Guaranteed,
    /// At least one container asks for something.
    Burstable,
    /// Nobody asks for anything.
    BestEffort,
}

impl QosClass {
    /// The class of a pod.
    pub fn of(pod: &Pod) -> Self {
        let all: Vec<&Container> = policy::inits(pod).iter().chain(&policy::spec(pod).containers).collect();
        let mut asks = false;
        let mut guaranteed = !all.is_empty();
        for container in all {
            let empty = BTreeMap::new();
            let resources = container.resources.as_ref();
            let limits = resources.and_then(|resources| resources.limits.as_ref()).unwrap_or(&empty);
            let requests = resources.and_then(|resources| resources.requests.as_ref()).unwrap_or(&empty);
            for name in ["cpu", "memory"] {
                let (limit, request) = (amount(limits, name), amount(requests, name));
                asks |= limit > 0 || request > 0;
                // The API server fills requests from limits; do the same for pods that did not pass one.
                guaranteed &= limit > 0 && (request == limit || !requests.contains_key(name));
            }
        }
        match (guaranteed, asks) {
            (true, _) => Self::Guaranteed,
            (false, true) => Self::Burstable,
            (false, false) => Self::BestEffort,
        }
    }
}

fn amount(map: &BTreeMap<String, Quantity>, name: &str) -> i128 {
    map.get(name).and_then(|quantity| quantity::nano(&quantity.0).ok()).unwrap_or(0)
}

impl fmt::Display for QosClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Guaranteed => "Guaranteed",
            Self::Burstable => "Burstable",
            Self::BestEffort => "BestEffort",
        })
    }
}
