//! Amounts of what nodes offer and pods ask for.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use proto::quantity;

/// What a container counts for in scores that asks for nothing (Kubernetes: 100m and 200 MiB).
const TYPICAL_CPU: i64 = 100;
const TYPICAL_MEMORY: i64 = 200 << 20;

/// As in `allocatable` and `requests`.
type List = BTreeMap<String, Quantity>;

/// Amounts by resource; sums stop at the largest number.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Resources {
    /// In thousandths of a core.
    pub(crate) cpu: i64,
    /// In bytes.
    pub(crate) memory: i64,
    /// Ephemeral storage, in bytes.
    pub(crate) storage: i64,
    /// All others, such as `example.com/gpu` and `hugepages-2Mi`, in whole units.
    pub(crate) extended: BTreeMap<String, i64>,
}

/// What a pod asks for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Requests {
    /// What must be free.
    pub(crate) needed: Resources,
    /// What it counts for in scores: `needed`, and something for containers that do not say. Only CPU and memory.
    pub(crate) scored: Resources,
}

impl Resources {
    /// What a node offers. An amount that cannot be read counts as nothing, so that nothing is placed on hope.
    pub(crate) fn offered(list: Option<&List>) -> Self {
        Self::read(list, 0)
    }

    /// What a container asks for. An amount that cannot be read counts as more than any node has.
    fn asked(list: Option<&List>) -> Self {
        Self::read(list, i64::MAX)
    }

    fn read(list: Option<&List>, unreadable: i64) -> Self {
        let mut resources = Self::default();
        for (name, amount) in list.into_iter().flatten() {
            let whole = || quantity::whole(&amount.0).unwrap_or(unreadable);
            match name.as_str() {
                "cpu" => resources.cpu = quantity::milli(&amount.0).unwrap_or(unreadable),
                "memory" => resources.memory = whole(),
                "ephemeral-storage" => resources.storage = whole(),
                "pods" => {}
                _ => drop(resources.extended.insert(name.clone(), whole())),
            }
        }
        resources
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.merge(other, i64::saturating_add);
    }

    pub(crate) fn subtract(&mut self, other: &Self) {
        self.merge(other, i64::saturating_sub);
        self.extended.retain(|_, amount| *amount != 0);
    }

    fn raise_to(&mut self, other: &Self) {
        self.merge(other, i64::max);
    }

    fn merge(&mut self, other: &Self, how: fn(i64, i64) -> i64) {
        self.cpu = how(self.cpu, other.cpu);
        self.memory = how(self.memory, other.memory);
        self.storage = how(self.storage, other.storage);
        for (name, amount) in &other.extended {
            let mine = self.extended.entry(name.clone()).or_default();
            *mine = how(*mine, *amount);
        }
    }

    /// Takes those amounts of `list` that it has, instead of its own.
    fn replace(&mut self, list: &List) {
        let stated = Self::asked(Some(list));
        let given = |name: &str| list.contains_key(name);
        self.cpu = if given("cpu") { stated.cpu } else { self.cpu };
        self.memory = if given("memory") { stated.memory } else { self.memory };
        self.extended.extend(stated.extended);
    }
}

impl Requests {
    /// Source: Kubernetes v1.36 `component-helpers/resource.PodRequests`: containers and sidecars together, or the init
    /// container that needs most beside the sidecars before it; the pod's own requests take precedence; overhead is added.
    pub(crate) fn of(spec: &PodSpec) -> Self {
        Self { needed: total(spec, needed), scored: total(spec, scored) }
    }
}

fn needed(container: &Container) -> Resources {
    Resources::asked(container.resources.as_ref().and_then(|resources| resources.requests.as_ref()))
}

fn scored(container: &Container) -> Resources {
    let mut amounts = needed(container);
    let requests = container.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    let silent = |name: &str| requests.is_none_or(|requests| !requests.contains_key(name));
    if silent("cpu") {
        amounts.cpu = TYPICAL_CPU;
    }
    if silent("memory") {
        amounts.memory = TYPICAL_MEMORY;
    }
    Resources { cpu: amounts.cpu, memory: amounts.memory, ..Resources::default() }
}

fn total(spec: &PodSpec, amounts: fn(&Container) -> Resources) -> Resources {
    let mut total = Resources::default();
    for container in &spec.containers {
        total.add(&amounts(container));
    }
    let (mut sidecars, mut starting) = (Resources::default(), Resources::default());
    for container in spec.init_containers.iter().flatten() {
        let mut running = amounts(container);
        if container.restart_policy.as_deref() == Some("Always") {
            total.add(&running);
            sidecars.add(&running);
            starting.raise_to(&sidecars);
        } else {
            running.add(&sidecars);
            starting.raise_to(&running);
        }
    }
    total.raise_to(&starting);
    if let Some(requests) = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref()) {
        total.replace(requests);
    }
    total.add(&Resources::asked(spec.overhead.as_ref()));
    total
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn requests(spec: serde_json::Value) -> Requests {
        Requests::of(&serde_json::from_value(spec).unwrap())
    }

    fn container(requests: serde_json::Value) -> serde_json::Value {
        json!({"name": "c", "resources": {"requests": requests}})
    }

    #[test]
    fn containers_add_up_and_those_that_say_nothing_count_in_scores_only() {
        let both = requests(json!({"containers": [
            container(json!({"cpu": "250m", "memory": "64Mi", "example.com/gpu": "2"})), {"name": "silent"},
        ]}));
        assert_eq!((both.needed.cpu, both.needed.memory), (250, 64 << 20));
        assert_eq!(both.needed.extended, [("example.com/gpu".to_owned(), 2)].into());
        assert_eq!((both.scored.cpu, both.scored.memory), (350, 264 << 20));
    }

    #[test]
    fn the_largest_init_container_counts_beside_the_sidecars_before_it() {
        let sidecar =
            json!({"name": "s", "restartPolicy": "Always", "resources": {"requests": {"cpu": "100m"}}});
        let pod = requests(json!({
            "initContainers": [container(json!({"cpu": "1"})), sidecar, container(json!({"cpu": "2"}))],
            "containers": [container(json!({"cpu": "500m"}))],
            "overhead": {"cpu": "10m"},
        }));
        assert_eq!(pod.needed.cpu, 2110);
    }

    #[test]
    fn the_pods_own_requests_take_precedence_over_its_containers() {
        let pod = requests(json!({
            "resources": {"requests": {"cpu": "1"}},
            "containers": [container(json!({"cpu": "100m", "memory": "1Gi"}))],
        }));
        assert_eq!((pod.needed.cpu, pod.needed.memory), (1000, 1 << 30));
    }

    #[test]
    fn an_amount_that_cannot_be_read_fits_nowhere_and_offers_nothing() {
        let pod = requests(json!({"containers": [container(json!({"cpu": "9e99"}))]}));
        assert_eq!(pod.needed.cpu, i64::MAX);
        let node = Resources::offered(Some(&[("cpu".to_owned(), Quantity("9e99".to_owned()))].into()));
        assert_eq!(node.cpu, 0);
    }
}
