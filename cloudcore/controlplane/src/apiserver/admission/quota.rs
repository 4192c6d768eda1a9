//! Admission plugin ResourceQuota: how much of everything a namespace may have.
//!
//! What is used is counted anew from the objects for every decision. Source: Kubernetes v1.36
//! `apiserver/pkg/admission/plugin/resourcequota` and `pkg/quota/v1/evaluator/core`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::limits::{Amounts, amounts, pod_total};
use super::{Api, Target, all, forbidden};
use crate::schema::Json;
use crate::schema::quantity::Quantity;
use crate::status::{Status, qualified};

/// What a pod must say when a quota counts it.
const SAID: &[&str] = &["cpu", "limits.cpu", "limits.memory", "memory", "requests.cpu", "requests.memory"];
/// Core kinds that are counted under their own name.
const COUNTED: &[&str] = &[
    "configmaps",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "services",
];
const CLASS: &str = ".storageclass.storage.k8s.io/";

/// Whether any quota holds in the namespace.
pub(in crate::apiserver) fn holds(api: &Api, target: &Target) -> bool {
    target.resource.namespaced && !all(api, "", "resourcequotas", Some(&target.namespace)).is_empty()
}

/// Checks whether there is room for a new object, or for the growth of one that was `old`.
pub(in crate::apiserver) fn check(
    api: &Api,
    target: &Target,
    old: Option<&Value>,
    new: &Value,
) -> Result<(), Status> {
    if !target.resource.namespaced {
        return Ok(());
    }
    let (group, plural) = (target.resource.group.as_str(), target.resource.plural.as_str());
    for (key, quota) in all(api, "", "resourcequotas", Some(&target.namespace)) {
        let hard = amounts(&quota["spec"]["hard"]);
        let relevant: Amounts =
            hard.into_iter().filter(|(name, _)| subject(name) == qualified(plural, group)).collect();
        if relevant.is_empty() || !in_scope(&quota, plural, new) {
            continue;
        }
        if plural == "pods" && group.is_empty() && old.is_none() {
            let missing = unsaid(new, &relevant);
            if !missing.is_empty() {
                let why = format!("failed quota: {}: must specify {missing}", key.name);
                return Err(forbidden(target, new, &why));
            }
        }
        let before = old.map(|old| charges(group, plural, old)).unwrap_or_default();
        let mut asked = charges(group, plural, new);
        for (name, had) in before {
            if let Some(amount) = asked.get_mut(&name) {
                *amount = amount.minus(had);
            }
        }
        asked.retain(|name, amount| relevant.contains_key(name) && *amount > Quantity::count(0));
        if asked.is_empty() {
            continue;
        }
        let used = usage(api, &target.namespace, &quota);
        let zero = Quantity::count(0);
        let over: Vec<&String> = asked
            .iter()
            .filter(|(name, amount)| {
                used.get(*name).copied().unwrap_or(zero).plus(**amount) > relevant[*name]
            })
            .map(|(name, _)| name)
            .collect();
        if over.is_empty() {
            continue;
        }
        let print = |from: &Amounts| {
            let one = |name: &&String| format!("{name}={}", from.get(*name).copied().unwrap_or(zero));
            over.iter().map(one).collect::<Vec<_>>().join(",")
        };
        let why = format!(
            "exceeded quota: {}, requested: {}, used: {}, limited: {}",
            key.name,
            print(&asked),
            print(&used),
            print(&relevant)
        );
        return Err(forbidden(target, new, &why));
    }
    Ok(())
}

/// How much of everything that the quota bounds is used.
pub(crate) fn usage(api: &Api, namespace: &str, quota: &Value) -> Amounts {
    let hard = amounts(&quota["spec"]["hard"]);
    let mut used: Amounts = hard.keys().map(|name| (name.clone(), Quantity::count(0))).collect();
    let subjects: BTreeSet<String> = hard.keys().map(|name| subject(name)).collect();
    for subject in subjects {
        let (plural, group) = subject.split_once('.').unwrap_or((&subject, ""));
        for (_, object) in all(api, group, plural, Some(namespace)) {
            if !in_scope(quota, plural, &object) {
                continue;
            }
            for (name, amount) in charges(group, plural, &object) {
                if let Some(sum) = used.get_mut(&name) {
                    *sum = sum.plus(amount);
                }
            }
        }
    }
    used
}

/// The kind that an entry of a quota is about, as `plural.group`.
fn subject(name: &str) -> String {
    if let Some(counted) = name.strip_prefix("count/") {
        return counted.to_owned();
    }
    if name == "requests.storage" || name.contains(CLASS) {
        return "persistentvolumeclaims".to_owned();
    }
    if name.starts_with("services") {
        return "services".to_owned();
    }
    if COUNTED.contains(&name) { name } else { "pods" }.to_owned()
}

/// What one object uses.
fn charges(group: &str, plural: &str, object: &Value) -> Amounts {
    let mut used: Amounts = BTreeMap::new();
    let one = Quantity::count(1);
    used.insert(format!("count/{}", qualified(plural, group)), one);
    if !group.is_empty() {
        return used;
    }
    match plural {
        // What has ended needs nothing any more.
        "pods" if matches!(object.text("/status/phase"), "Succeeded" | "Failed") => return used,
        "pods" => {
            for (name, amount) in pod_total(&object["spec"], "requests") {
                if matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") {
                    used.insert(name.clone(), amount);
                }
                used.insert(format!("requests.{name}"), amount);
            }
            for (name, amount) in pod_total(&object["spec"], "limits") {
                used.insert(format!("limits.{name}"), amount);
            }
        }
        "services" => {
            let kind = object.text("/spec/type");
            let ports = u32::try_from(object.list("/spec/ports").len()).unwrap_or(u32::MAX);
            if kind == "LoadBalancer" {
                used.insert("services.loadbalancers".to_owned(), one);
            }
            if matches!(kind, "NodePort" | "LoadBalancer") {
                used.insert("services.nodeports".to_owned(), Quantity::count(ports));
            }
        }
        "persistentvolumeclaims" => {
            let class = object.text("/spec/storageClassName");
            let storage = amounts(&object["spec"]["resources"]["requests"]).get("storage").copied();
            if let Some(storage) = storage {
                used.insert("requests.storage".to_owned(), storage);
            }
            if !class.is_empty() {
                used.insert(format!("{class}{CLASS}persistentvolumeclaims"), one);
                if let Some(storage) = storage {
                    used.insert(format!("{class}{CLASS}requests.storage"), storage);
                }
            }
        }
        _ => {}
    }
    if COUNTED.contains(&plural) {
        used.insert(plural.to_owned(), one);
    }
    used
}

/// `limits.cpu for: a,b; requests.memory for: b`: what the quota counts and containers do not say.
fn unsaid(pod: &Value, hard: &Amounts) -> String {
    let mut missing: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let spec = &pod["spec"];
    for container in spec.list("/containers").iter().chain(spec.list("/initContainers")) {
        for &name in SAID.iter().filter(|name| hard.contains_key(**name)) {
            let (part, resource) = match name.split_once('.') {
                Some((part, resource)) => (part, resource),
                None => ("requests", name),
            };
            if container["resources"][part].get(resource).is_none() {
                missing.entry(name).or_default().insert(container.text("/name"));
            }
        }
    }
    let line = |(name, containers): (&str, BTreeSet<&str>)| {
        format!("{name} for: {}", containers.into_iter().collect::<Vec<_>>().join(","))
    };
    missing.into_iter().map(line).collect::<Vec<_>>().join("; ")
}

/// Whether the quota counts this object. Scopes are about pods only.
fn in_scope(quota: &Value, plural: &str, object: &Value) -> bool {
    let plain =
        quota.list("/spec/scopes").iter().filter_map(Value::as_str).map(|scope| (scope, "Exists", &[][..]));
    let picked = quota.list("/spec/scopeSelector/matchExpressions").iter();
    let picked = picked.map(|one| (one.text("/scopeName"), one.text("/operator"), one.list("/values")));
    let mut scopes = plain.chain(picked).peekable();
    if scopes.peek().is_some() && plural != "pods" {
        return false;
    }
    scopes.all(|(scope, operator, values)| {
        let best_effort = object.text("/status/qosClass") == "BestEffort";
        let ends = object.has("/spec/activeDeadlineSeconds");
        let class = object.text("/spec/priorityClassName");
        match (scope, operator) {
            ("Terminating", _) => ends,
            ("NotTerminating", _) => !ends,
            ("BestEffort", _) => best_effort,
            ("NotBestEffort", _) => !best_effort,
            ("PriorityClass", "In") => values.iter().any(|value| value == class),
            ("PriorityClass", "NotIn") => !values.iter().any(|value| value == class),
            ("PriorityClass", "DoesNotExist") => class.is_empty(),
            ("PriorityClass", _) => !class.is_empty(),
            _ => false,
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn entries_are_about_their_kinds() {
        for (name, about) in [
            ("pods", "pods"),
            ("requests.cpu", "pods"),
            ("limits.memory", "pods"),
            ("count/deployments.apps", "deployments.apps"),
            ("requests.storage", "persistentvolumeclaims"),
            ("fast.storageclass.storage.k8s.io/requests.storage", "persistentvolumeclaims"),
            ("services.nodeports", "services"),
            ("configmaps", "configmaps"),
        ] {
            assert_eq!(subject(name), about, "{name}");
        }
    }

    #[test]
    fn a_pod_that_ended_uses_nothing_but_its_place_in_the_store() {
        let spec = json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]});
        let running = charges("", "pods", &json!({"spec": spec}));
        assert_eq!(running.keys().collect::<Vec<_>>(), ["count/pods", "cpu", "pods", "requests.cpu"]);
        let ended = charges("", "pods", &json!({"spec": spec, "status": {"phase": "Failed"}}));
        assert_eq!(ended.keys().collect::<Vec<_>>(), ["count/pods"]);
    }

    #[test]
    fn what_a_quota_counts_must_be_said_by_every_container() {
        let hard = amounts(&json!({"limits.cpu": "1", "memory": "1Gi", "pods": "3"}));
        let pod = json!({"spec": {"containers": [
            {"name": "b"}, {"name": "a", "resources": {"requests": {"memory": "1Mi"}}},
        ]}});
        assert_eq!(unsaid(&pod, &hard), "limits.cpu for: a,b; memory for: b");
    }

    #[test]
    fn scopes_pick_pods() {
        let quota = json!({"spec": {"scopes": ["NotTerminating", "BestEffort"]}});
        let pod = json!({"spec": {}, "status": {"qosClass": "BestEffort"}});
        assert!(in_scope(&quota, "pods", &pod));
        assert!(!in_scope(&quota, "services", &json!({})));
        let quota = json!({"spec": {"scopeSelector": {"matchExpressions": [
            {"scopeName": "PriorityClass", "operator": "In", "values": ["high"]},
        ]}}});
        assert!(!in_scope(&quota, "pods", &pod));
        assert!(in_scope(&quota, "pods", &json!({"spec": {"priorityClassName": "high"}})));
    }
}
