//! Quality-of-service class of a pod, from its requests and limits.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::schema::Json;
use crate::schema::quantity::{self, Quantity};

/// `Guaranteed`, `Burstable` or `BestEffort`.
pub(super) fn class(spec: &Value) -> &'static str {
    let mut requests = BTreeMap::new();
    let mut limits = BTreeMap::new();
    let mut guaranteed = true;
    for container in spec.list("/containers").iter().chain(spec.list("/initContainers")) {
        add(container, "/resources/requests", &mut requests);
        let limited = add(container, "/resources/limits", &mut limits);
        guaranteed &= limited == 2;
    }
    if requests.is_empty() && limits.is_empty() {
        return "BestEffort";
    }
    if guaranteed && requests == limits { "Guaranteed" } else { "Burstable" }
}

/// Adds up CPU and memory; returns how many of the two the container names.
fn add(container: &Value, pointer: &str, sums: &mut BTreeMap<&'static str, i128>) -> usize {
    let mut named = 0;
    for resource in ["cpu", "memory"] {
        let quantity = container.object(pointer).and_then(|list| list.get(resource)).map(quantity::text);
        let quantity = quantity.and_then(|text| Quantity::parse(&text).ok());
        if let Some(quantity) = quantity.filter(|one| !one.is_zero()) {
            *sums.entry(resource).or_default() += quantity.milli();
            named += 1;
        }
    }
    named
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_class_follows_requests_and_limits() {
        let spec = |resources: Value| json!({"containers": [{"name": "c", "resources": resources}]});
        assert_eq!(class(&spec(json!({}))), "BestEffort");
        assert_eq!(class(&spec(json!({"requests": {"cpu": "1"}}))), "Burstable");
        let both = json!({"cpu": "1", "memory": "1Gi"});
        assert_eq!(class(&spec(json!({"requests": both, "limits": both}))), "Guaranteed");
        let more = json!({"cpu": "2", "memory": "1Gi"});
        assert_eq!(class(&spec(json!({"requests": both, "limits": more}))), "Burstable");
    }
}
