//! Admission plugin LimitRanger: what containers, pods and claims of a namespace get and may have.
//!
//! Source: Kubernetes v1.36 `plugin/pkg/admission/limitranger`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Api, Target, all, forbidden};
use crate::schema::Json;
use crate::schema::quantity::{self, Quantity};
use crate::status::Status;

const NOTE: &str = "kubernetes.io/limit-ranger";

/// Quantities by resource.
pub(super) type Amounts = BTreeMap<String, Quantity>;

/// Fills in and checks a new object.
pub(super) fn apply(api: &Api, target: &Target, object: &mut Value) -> Result<(), Status> {
    if !(target.is_core("pods") || target.is_core("persistentvolumeclaims")) {
        return Ok(());
    }
    let ranges = ranges(api, target);
    if target.is_core("pods") {
        ranges.iter().for_each(|range| fill(object, range));
    }
    refuse(target, object, &ranges)
}

/// Checks a changed object. Pods keep what they have; claims may grow.
pub(super) fn check_update(api: &Api, target: &Target, object: &Value) -> Result<(), Status> {
    if !target.is_core("persistentvolumeclaims") {
        return Ok(());
    }
    refuse(target, object, &ranges(api, target))
}

fn ranges(api: &Api, target: &Target) -> Vec<Value> {
    all(api, "", "limitranges", Some(&target.namespace)).into_iter().map(|(_, range)| range).collect()
}

fn refuse(target: &Target, object: &Value, ranges: &[Value]) -> Result<(), Status> {
    let wrong: Vec<String> = ranges.iter().flat_map(|range| violations(target, object, range)).collect();
    match wrong.as_slice() {
        [] => Ok(()),
        [one] => Err(forbidden(target, object, one)),
        several => Err(forbidden(target, object, &format!("[{}]", several.join(", ")))),
    }
}

/// The quantities in a list such as `requests`.
pub(super) fn amounts(list: &Value) -> Amounts {
    let parse = |(name, value): (&String, &Value)| {
        Some((name.clone(), Quantity::parse(&quantity::text(value)).ok()?))
    };
    list.as_object().into_iter().flatten().filter_map(parse).collect()
}

fn items<'a>(range: &'a Value, kind: &str) -> impl Iterator<Item = &'a Value> {
    range.list("/spec/limits").iter().filter(move |item| item.text("/type") == kind)
}

/// Gives containers the default requests and limits, and says so in an annotation.
fn fill(pod: &mut Value, range: &Value) {
    let mut notes = Vec::new();
    for item in items(range, "Container") {
        for (list, what) in [("containers", "container"), ("initContainers", "init container")] {
            for container in pod.list_mut(&format!("/spec/{list}")) {
                let name = container.text("/name").to_owned();
                for (part, from, word) in
                    [("requests", "defaultRequest", "request"), ("limits", "default", "limit")]
                {
                    let defaults = item.object(&format!("/{from}")).cloned().unwrap_or_default();
                    let missing: Vec<_> = defaults
                        .into_iter()
                        .filter(|(resource, _)| container["resources"][part].get(resource).is_none())
                        .collect();
                    if missing.is_empty() {
                        continue;
                    }
                    let Some(amounts) = container.child("resources").and_then(|all| all.child(part)) else {
                        continue;
                    };
                    let names: Vec<String> = missing.iter().map(|(resource, _)| resource.clone()).collect();
                    for (resource, quantity) in missing {
                        amounts.put(&resource, quantity);
                    }
                    notes.push(format!("{} {word} for {what} {name}", names.join(", ")));
                }
            }
        }
    }
    if notes.is_empty() {
        return;
    }
    if let Some(notes_of) = pod.child("metadata").and_then(|metadata| metadata.child("annotations")) {
        notes_of.put(NOTE, json!(format!("LimitRanger plugin set: {}", notes.join("; "))));
    }
}

fn violations(target: &Target, object: &Value, range: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    if target.is_core("persistentvolumeclaims") {
        let requests = amounts(&object["spec"]["resources"]["requests"]);
        for item in items(range, "PersistentVolumeClaim") {
            for (resource, least) in amounts(&item["min"]) {
                let found = requests.get(&resource).copied();
                let begin = format!("minimum {resource} usage per PersistentVolumeClaim is {least}");
                wrong.extend(outside(&begin, found, "request", "request", |found| found < least));
            }
            for (resource, most) in amounts(&item["max"]) {
                let found = requests.get(&resource).copied();
                let begin = format!("maximum {resource} usage per PersistentVolumeClaim is {most}");
                wrong.extend(outside(&begin, found, "request", "request", |found| found > most));
            }
        }
        return wrong;
    }
    let spec = &object["spec"];
    for item in items(range, "Container") {
        for container in spec.list("/initContainers").iter().chain(spec.list("/containers")) {
            let of = |part: &str| amounts(&container["resources"][part]);
            bounds("Container", item, &of("requests"), &of("limits"), &mut wrong);
        }
    }
    for item in items(range, "Pod") {
        bounds("Pod", item, &pod_total(spec, "requests"), &pod_total(spec, "limits"), &mut wrong);
    }
    wrong
}

fn outside(
    begin: &str,
    found: Option<Quantity>,
    word: &str,
    missing: &str,
    wrong: impl Fn(Quantity) -> bool,
) -> Option<String> {
    match found {
        None => Some(format!("{begin}.  No {missing} is specified")),
        Some(found) if wrong(found) => Some(format!("{begin}, but {word} is {found}")),
        Some(_) => None,
    }
}

/// At most one complaint per bound, as Kubernetes does it.
fn bounds(kind: &str, item: &Value, requests: &Amounts, limits: &Amounts, wrong: &mut Vec<String>) {
    for (resource, least) in amounts(&item["min"]) {
        let (request, limit) = (requests.get(&resource).copied(), limits.get(&resource).copied());
        let begin = format!("minimum {resource} usage per {kind} is {least}");
        let low = |found: Quantity| found < least;
        let also = || limit.filter(|limit| low(*limit)).map(|limit| format!("{begin}, but limit is {limit}"));
        wrong.extend(outside(&begin, request, "request", "request", low).or_else(also));
    }
    for (resource, most) in amounts(&item["max"]) {
        let (request, limit) = (requests.get(&resource).copied(), limits.get(&resource).copied());
        let begin = format!("maximum {resource} usage per {kind} is {most}");
        let high = |found: Quantity| found > most;
        let also = || {
            request
                .filter(|request| high(*request))
                .map(|request| format!("{begin}, but request is {request}"))
        };
        wrong.extend(outside(&begin, limit, "limit", "limit", high).or_else(also));
    }
    for (resource, ratio) in amounts(&item["maxLimitRequestRatio"]) {
        let some = |list: &Amounts| list.get(&resource).copied().filter(|quantity| !quantity.is_zero());
        let begin = format!("{resource} max limit to request ratio per {kind} is {ratio}");
        match (some(requests), some(limits)) {
            (None, _) => wrong.push(format!("{begin}, but no request is specified or request is 0")),
            (_, None) => wrong.push(format!("{begin}, but no limit is specified or limit is 0")),
            (Some(request), Some(limit)) => {
                // Exact, but for the display.
                if limit.milli().saturating_mul(1000) > ratio.milli().saturating_mul(request.milli()) {
                    let found = limit.milli() as f64 / request.milli() as f64;
                    wrong.push(format!("{begin}, but provided ratio is {found:.6}"));
                }
            }
        }
    }
}

/// What a pod needs: all its containers together, or its largest init container.
pub(super) fn pod_total(spec: &Value, part: &str) -> Amounts {
    let mut total = Amounts::new();
    let of = |container: &Value| amounts(&container["resources"][part]);
    for (name, quantity) in spec.list("/containers").iter().flat_map(of) {
        let sum = total.get(&name).map_or(quantity, |sum| sum.plus(quantity));
        total.insert(name, sum);
    }
    for (name, quantity) in spec.list("/initContainers").iter().flat_map(of) {
        let most = total.get(&name).map_or(quantity, |sum| quantity.max(*sum));
        total.insert(name, most);
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(item: Value) -> Value {
        json!({"spec": {"limits": [item]}})
    }

    fn complaints(item: &Value, requests: Value, limits: Value) -> Vec<String> {
        let mut wrong = Vec::new();
        bounds("Container", item, &amounts(&requests), &amounts(&limits), &mut wrong);
        wrong
    }

    #[test]
    fn bounds_are_said_as_kubernetes_says_them() {
        let item = json!({"min": {"cpu": "100m"}, "max": {"cpu": "1"}, "maxLimitRequestRatio": {"cpu": "2"}});
        assert_eq!(
            complaints(&item, json!({"cpu": "50m"}), json!({"cpu": "2"})),
            [
                "minimum cpu usage per Container is 100m, but request is 50m",
                "maximum cpu usage per Container is 1, but limit is 2",
                "cpu max limit to request ratio per Container is 2, but provided ratio is 40.000000",
            ]
        );
        assert_eq!(
            complaints(&json!({"max": {"memory": "1Gi"}}), json!({}), json!({})),
            ["maximum memory usage per Container is 1Gi.  No limit is specified"]
        );
        assert!(complaints(&item, json!({"cpu": "500m"}), json!({"cpu": "1"})).is_empty());
    }

    #[test]
    fn containers_get_defaults_and_a_note() {
        let item = json!({"type": "Container", "default": {"cpu": "1"}, "defaultRequest": {"cpu": "500m"}});
        let mut pod = json!({"metadata": {}, "spec": {"containers": [
            {"name": "a"}, {"name": "b", "resources": {"requests": {"cpu": "1m"}, "limits": {"cpu": "2"}}},
        ]}});
        fill(&mut pod, &range(item));
        let resources = json!({"requests": {"cpu": "500m"}, "limits": {"cpu": "1"}});
        assert_eq!(pod["spec"]["containers"][0]["resources"], resources);
        assert_eq!(pod["spec"]["containers"][1]["resources"]["requests"]["cpu"], "1m");
        assert_eq!(
            pod["metadata"]["annotations"][NOTE],
            "LimitRanger plugin set: cpu request for container a; cpu limit for container a"
        );
    }

    #[test]
    fn a_pod_needs_its_containers_together_or_its_largest_init_container() {
        let container = |cpu: &str| json!({"resources": {"requests": {"cpu": cpu}}});
        let spec = json!({
            "containers": [container("100m"), container("200m")], "initContainers": [container("250m")],
        });
        assert_eq!(pod_total(&spec, "requests")["cpu"].to_string(), "300m");
        let spec = json!({"containers": [container("100m")], "initContainers": [container("250m")]});
        assert_eq!(pod_total(&spec, "requests")["cpu"].to_string(), "250m");
    }
}
