//! Nobody grants what they do not have. Pure.
//!
//! Source: Kubernetes v1.36 `pkg/registry/rbac/validation`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Identity;
use super::rbac::{list, names};

/// Everything there is; who sets an aggregation rule must have it, for the rule may gather anything.
pub(crate) fn everything() -> [Value; 2] {
    let all = json!(["*"]);
    [json!({"apiGroups": all, "resources": all, "verbs": all}), json!({"nonResourceURLs": all, "verbs": all})]
}

/// Why rules may not be granted, in Kubernetes' words; none if `held` covers all of `wanted`.
pub(crate) fn refusal(who: &Identity, held: &[Value], wanted: &[Value]) -> Option<String> {
    let single = wanted.iter().flat_map(singles);
    let missing: Vec<Single<'_>> =
        single.filter(|one| !held.iter().any(|rule| one.is_covered_by(rule))).collect();
    if missing.is_empty() {
        return None;
    }
    let lines = compact(&missing).join("\n");
    Some(format!(
        "user {:?} (groups={}) is attempting to grant RBAC permissions not currently held:\n{lines}",
        who.user,
        quoted(who.groups.iter().map(String::as_str)),
    ))
}

/// The smallest thing that can be allowed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Single<'a> {
    Resource { group: &'a str, resource: &'a str, name: Option<&'a str>, verb: &'a str },
    Path { path: &'a str, verb: &'a str },
}

fn texts<'a>(rule: &'a Value, key: &str) -> Vec<&'a str> {
    list(rule, key).iter().filter_map(Value::as_str).collect()
}

fn singles(rule: &Value) -> Vec<Single<'_>> {
    let only = texts(rule, "resourceNames");
    let only: Vec<Option<&str>> =
        if only.is_empty() { vec![None] } else { only.into_iter().map(Some).collect() };
    let (groups, resources, verbs) =
        (texts(rule, "apiGroups"), texts(rule, "resources"), texts(rule, "verbs"));
    let mut found = Vec::new();
    for &group in &groups {
        for &resource in &resources {
            for &verb in &verbs {
                found.extend(only.iter().map(|&name| Single::Resource { group, resource, name, verb }));
            }
        }
    }
    for path in texts(rule, "nonResourceURLs") {
        found.extend(verbs.iter().map(|&verb| Single::Path { path, verb }));
    }
    found
}

impl Single<'_> {
    fn is_covered_by(&self, rule: &Value) -> bool {
        match *self {
            Self::Resource { group, resource, name, verb } => {
                let only = list(rule, "resourceNames");
                let resources = texts(rule, "resources");
                // `*/scale` covers the subresource of every resource.
                let any = resource.split_once('/').map(|(_, subresource)| format!("*/{subresource}"));
                names(rule, "verbs", verb)
                    && names(rule, "apiGroups", group)
                    && (names(rule, "resources", resource)
                        || any.is_some_and(|any| resources.contains(&any.as_str())))
                    && (only.is_empty() || name.is_some_and(|name| only.iter().any(|one| one == name)))
            }
            Self::Path { path, verb } => {
                let covers = |pattern: &str| {
                    pattern == path || pattern.strip_suffix('*').is_some_and(|start| path.starts_with(start))
                };
                names(rule, "verbs", verb) && texts(rule, "nonResourceURLs").into_iter().any(covers)
            }
        }
    }
}

/// One line per resource or path, sorted.
fn compact(missing: &[Single<'_>]) -> Vec<String> {
    let mut resources: BTreeMap<(&str, &str, Option<&str>), Vec<&str>> = BTreeMap::new();
    let mut lines = Vec::new();
    for one in missing {
        match *one {
            Single::Resource { group, resource, name, verb } => {
                let verbs = resources.entry((group, resource, name)).or_default();
                if !verbs.contains(&verb) {
                    verbs.push(verb);
                }
            }
            Single::Path { path, verb } => {
                lines.push(format!("{{NonResourceURLs:{}, Verbs:{}}}", quoted([path]), quoted([verb])));
            }
        }
    }
    lines.extend(resources.into_iter().map(|((group, resource, name), verbs)| {
        let name = name.map(|name| format!(", ResourceNames:{}", quoted([name]))).unwrap_or_default();
        let (group, resource) = (quoted([group]), quoted([resource]));
        format!("{{APIGroups:{group}, Resources:{resource}{name}, Verbs:{}}}", quoted(verbs))
    }));
    lines.sort();
    lines.dedup();
    lines
}

/// A list as Go's `%q` writes it.
fn quoted<'a>(items: impl IntoIterator<Item = &'a str>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| format!("{item:?}")).collect();
    format!("[{}]", items.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(verbs: &[&str], groups: &[&str], resources: &[&str]) -> Value {
        json!({"verbs": verbs, "apiGroups": groups, "resources": resources})
    }

    fn refused(held: &[Value], wanted: &[Value]) -> Option<String> {
        let bob = Identity {
            user: "bob".to_owned(),
            groups: vec!["dev".to_owned(), "system:authenticated".to_owned()],
            ..Identity::default()
        };
        refusal(&bob, held, wanted)
    }

    #[test]
    fn what_is_missing_is_named_as_kubernetes_names_it() {
        let held = [rule(&["get"], &[""], &["pods"])];
        let wanted = [rule(&["get", "list"], &[""], &["secrets", "pods"])];
        assert_eq!(
            refused(&held, &wanted).unwrap(),
            "user \"bob\" (groups=[\"dev\" \"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n\
             {APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"list\"]}\n\
             {APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"get\" \"list\"]}"
        );
        let paths = [json!({"nonResourceURLs": ["/metrics"], "verbs": ["get"]})];
        assert!(
            refused(&held, &paths).unwrap().ends_with("\n{NonResourceURLs:[\"/metrics\"], Verbs:[\"get\"]}")
        );
    }

    #[test]
    fn rights_may_come_from_several_rules_and_stars() {
        let held = [rule(&["get"], &["*"], &["*"]), rule(&["*"], &["apps"], &["*/scale", "deployments"])];
        for granted in [
            rule(&["get"], &["", "batch"], &["jobs"]),
            rule(&["get", "update"], &["apps"], &["deployments", "replicasets/scale"]),
        ] {
            assert_eq!(refused(&held, &[granted]), None);
        }
        assert!(refused(&held, &[rule(&["update"], &["apps"], &["replicasets"])]).is_some());
        assert!(refused(&held, &[rule(&["*"], &[""], &["pods"])]).is_some());
    }

    #[test]
    fn rights_on_one_object_are_no_rights_on_all() {
        let named = |names: &[&str]| json!({"verbs": ["get"], "apiGroups": [""], "resources": ["secrets"], "resourceNames": names});
        let held = [named(&["a", "b"])];
        assert_eq!(refused(&held, &[named(&["a"])]), None);
        assert!(refused(&held, &[named(&["c"])]).is_some());
        assert!(refused(&held, &[rule(&["get"], &[""], &["secrets"])]).is_some());
    }

    #[test]
    fn whoever_has_everything_may_grant_everything() {
        assert_eq!(refused(&everything(), &everything()), None);
        assert!(refused(&[rule(&["*"], &["*"], &["*"])], &everything()).is_some());
    }
}
