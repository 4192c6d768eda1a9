//! Role-based access control: what the roles that are bound to a caller let it do.
//!
//! Pure but for reading the store: the four kinds of `rbac.authorization.k8s.io` are looked up anew for every question, so that a
//! change of a role or binding counts from the next request on. Rules only ever add rights.

use serde_json::Value;

use super::rights::{Attributes, always_allowed};
use super::{Identity, nodes};
use crate::store::{Collection, ListQuery, ObjectId, Store};

const GROUP: &str = "rbac.authorization.k8s.io";

/// Whether the caller may.
pub(crate) fn allowed(store: &Store, who: &Identity, what: Attributes<'_>) -> bool {
    always_allowed(who, what)
        || who.node().is_some_and(|node| nodes::may(store, node, what))
        || match what {
            Attributes::Path { verb, path } => {
                rules(store, who, "").iter().any(|rule| covers_path(rule, verb, path))
            }
            Attributes::Resource { namespace, .. } => {
                rules(store, who, namespace).iter().any(|rule| covers(rule, what))
            }
        }
}

/// Why the caller may, in Kubernetes' words; empty when it needs no role to.
pub(crate) fn reason(store: &Store, who: &Identity, what: Attributes<'_>) -> String {
    if always_allowed(who, what) || who.node().is_some_and(|node| nodes::may(store, node, what)) {
        return String::new();
    }
    let (namespace, covers_it): (&str, &dyn Fn(&Value) -> bool) = match what {
        Attributes::Path { verb, path } => ("", &move |rule| covers_path(rule, verb, path)),
        Attributes::Resource { namespace, .. } => (namespace, &|rule| covers(rule, what)),
    };
    let mut found = String::new();
    let mut look = |binding: &Value, subject: &Value, rules: Vec<Value>| {
        if found.is_empty() && rules.iter().any(covers_it) {
            found = because(binding, subject);
        }
    };
    visit(store, who, "clusterrolebindings", None, &mut look);
    if !namespace.is_empty() {
        visit(store, who, "rolebindings", Some(namespace), &mut look);
    }
    found
}

fn because(binding: &Value, subject: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (name, namespace) = (text(&binding["metadata"]["name"]), text(&binding["metadata"]["namespace"]));
    let (kind, name) = if namespace.is_empty() {
        ("ClusterRoleBinding", name)
    } else {
        ("RoleBinding", format!("{name}/{namespace}"))
    };
    let role = &binding["roleRef"];
    let who = match subject["namespace"].as_str().filter(|namespace| !namespace.is_empty()) {
        Some(namespace) => format!("{}/{namespace}", text(&subject["name"])),
        None => text(&subject["name"]),
    };
    format!(
        "RBAC: allowed by {kind} {name:?} of {} {:?} to {} {who:?}",
        text(&role["kind"]),
        text(&role["name"]),
        text(&subject["kind"]),
    )
}

/// All rules that apply to the caller: those bound everywhere and, unless it is empty, in `namespace`.
pub(crate) fn rules(store: &Store, who: &Identity, namespace: &str) -> Vec<Value> {
    let mut found = Vec::new();
    let mut collect = |_: &Value, _: &Value, rules: Vec<Value>| found.extend(rules);
    visit(store, who, "clusterrolebindings", None, &mut collect);
    if !namespace.is_empty() {
        visit(store, who, "rolebindings", Some(namespace), &mut collect);
    }
    found
}

/// Calls `see` with each binding of the caller, the subject that is the caller, and the rules of its role.
fn visit(
    store: &Store,
    who: &Identity,
    plural: &str,
    namespace: Option<&str>,
    see: &mut dyn FnMut(&Value, &Value, Vec<Value>),
) {
    let collection = Collection::new(GROUP, plural);
    let query = ListQuery { collection: &collection, namespace, at: None, after: None, limit: 0 };
    // The newest state is always there.
    let Ok(page) = store.list(&query, |_| true) else { return };
    for (_, object) in page.objects {
        let binding = object.value();
        let within = namespace.unwrap_or_default();
        let mine = list(&binding, "subjects").iter().find(|subject| is_subject(subject, who, within));
        if let Some(subject) = mine {
            // A binding may be there before its role; until then it grants nothing.
            see(&binding, subject, granted(store, &binding, within).unwrap_or_default());
        }
    }
}

/// The rules of the role that a binding in `namespace` refers to, if there is such a role.
pub(crate) fn granted(store: &Store, binding: &Value, namespace: &str) -> Option<Vec<Value>> {
    let reference = &binding["roleRef"];
    let role = match reference["kind"].as_str() {
        Some("ClusterRole") => ("clusterroles", ""),
        Some("Role") => ("roles", namespace),
        _ => return None,
    };
    let name = reference["name"].as_str().unwrap_or_default();
    let role = store.get(&ObjectId::new(&Collection::new(GROUP, role.0), role.1, name))?;
    Some(list(&role.value(), "rules").to_vec())
}

pub(super) fn list<'a>(object: &'a Value, key: &str) -> &'a [Value] {
    object[key].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn is_subject(subject: &Value, who: &Identity, binding_namespace: &str) -> bool {
    let name = subject["name"].as_str().unwrap_or_default();
    match subject["kind"].as_str() {
        Some("User") => name == who.user,
        Some("Group") => who.in_group(name),
        Some("ServiceAccount") => {
            let named = subject["namespace"].as_str().filter(|namespace| !namespace.is_empty());
            let namespace = named.unwrap_or(binding_namespace);
            !namespace.is_empty() && who.user == format!("system:serviceaccount:{namespace}:{name}")
        }
        _ => false,
    }
}

pub(super) fn names(rule: &Value, key: &str, wanted: &str) -> bool {
    list(rule, key).iter().any(|one| one == "*" || one == wanted)
}

/// `*`, the resource itself, or `*/scale` for any resource's subresource.
fn names_resource(rule: &Value, resource: &str) -> bool {
    let any = resource.split_once('/').map(|(_, subresource)| format!("*/{subresource}"));
    names(rule, "resources", resource)
        || any.is_some_and(|any| list(rule, "resources").iter().any(|one| *one == any))
}

fn covers(rule: &Value, what: Attributes<'_>) -> bool {
    let Attributes::Resource { verb, group, resource, name, .. } = what else { return false };
    let only = list(rule, "resourceNames");
    names(rule, "verbs", verb)
        && names(rule, "apiGroups", group)
        && names_resource(rule, resource)
        && (only.is_empty() || (!name.is_empty() && only.iter().any(|one| one == name)))
}

fn covers_path(rule: &Value, verb: &str, path: &str) -> bool {
    let matches = |pattern: &str| match pattern.strip_suffix('*') {
        Some(start) => path.starts_with(start),
        None => path == pattern,
    };
    names(rule, "verbs", verb) && list(rule, "nonResourceURLs").iter().filter_map(Value::as_str).any(matches)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn asks<'a>(verb: &'a str, group: &'a str, resource: &'a str, name: &'a str) -> Attributes<'a> {
        Attributes::Resource { verb, group, resource, namespace: "n", name, fields: "" }
    }

    #[test]
    fn a_rule_covers_what_it_names_and_nothing_else() {
        let rule =
            json!({"verbs": ["get", "list"], "apiGroups": ["", "apps"], "resources": ["pods", "*/scale"]});
        assert!(covers(&rule, asks("get", "", "pods", "p")));
        assert!(covers(&rule, asks("get", "apps", "deployments/scale", "d")));
        assert!(!covers(&rule, asks("delete", "", "pods", "p")));
        assert!(!covers(&rule, asks("get", "batch", "pods", "p")));
        assert!(!covers(&rule, asks("get", "", "pods/log", "p")));
        assert!(!covers(&rule, asks("get", "apps", "deployments", "d")));
    }

    #[test]
    fn resource_names_restrict_to_named_objects_and_never_allow_a_list() {
        let rule =
            json!({"verbs": ["*"], "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["mine"]});
        assert!(covers(&rule, asks("get", "", "secrets", "mine")));
        assert!(!covers(&rule, asks("get", "", "secrets", "other")));
        assert!(!covers(&rule, asks("list", "", "secrets", "")));
    }

    #[test]
    fn a_path_matches_whole_or_by_its_beginning_before_a_star() {
        let rule = json!({"verbs": ["get"], "nonResourceURLs": ["/metrics", "/logs/*"]});
        assert!(covers_path(&rule, "get", "/metrics"));
        assert!(covers_path(&rule, "get", "/logs/a"));
        assert!(!covers_path(&rule, "get", "/metrics/a"));
        assert!(!covers_path(&rule, "put", "/metrics"));
    }

    #[test]
    fn a_service_account_is_one_of_its_own_namespace() {
        let who = Identity { user: "system:serviceaccount:a:x".to_owned(), ..Identity::anonymous() };
        let subject = json!({"kind": "ServiceAccount", "name": "x"});
        assert!(is_subject(&subject, &who, "a"));
        assert!(!is_subject(&subject, &who, "b"));
        assert!(!is_subject(&subject, &who, ""));
    }
}
