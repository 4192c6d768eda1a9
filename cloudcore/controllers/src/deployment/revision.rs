//! The annotations that make `kubectl rollout history` and `undo` work.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::ReplicaSet;
use kube::ResourceExt;

use super::view::{Set, View};

pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
const HISTORY: &str = "deployment.kubernetes.io/revision-history";
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MAXIMUM: &str = "deployment.kubernetes.io/max-replicas";
/// Annotations of a deployment that are not its sets'.
const OWN: &[&str] = &[
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    HISTORY,
    DESIRED,
    MAXIMUM,
    "deprecated.deployment.rollback.to",
];
/// How long a history may become, in bytes (Kubernetes: `maxRevHistoryLengthInChars`).
const LONGEST: usize = 2000;

type Annotations = BTreeMap<String, String>;

/// The number of a set; 0 where it has none.
pub(super) fn of(set: &ReplicaSet) -> i64 {
    set.annotations().get(REVISION).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// The number that the newest template has, with these older ones.
pub(super) fn next(old: &[Set]) -> i64 {
    old.iter().map(|set| of(set)).max().unwrap_or(0) + 1
}

/// How many replicas the deployment wanted when the set was last sized.
pub(super) fn desired(set: &ReplicaSet) -> Option<i32> {
    set.annotations().get(DESIRED)?.parse().ok()
}

/// How many replicas there could be at most when the set was last sized.
pub(super) fn maximum(set: &ReplicaSet) -> Option<i32> {
    set.annotations().get(MAXIMUM)?.parse().ok()
}

/// The annotations by which a set remembers for what it was sized.
pub(super) fn sizes(view: &View<'_>) -> Annotations {
    let (replicas, surge) = (view.replicas(), view.max_surge());
    [(DESIRED.to_owned(), replicas.to_string()), (MAXIMUM.to_owned(), (replicas + surge).to_string())].into()
}

/// The annotations of the set for the newest template, from those it has. A set that is used again keeps its former numbers.
pub(super) fn annotations(view: &View<'_>, before: &Annotations, revision: i64) -> Annotations {
    let mut after = before.clone();
    let copied = view.deployment.annotations().iter().filter(|(key, _)| !OWN.contains(&key.as_str()));
    after.extend(copied.map(|(key, value)| (key.clone(), value.clone())));
    let old = before.get(REVISION);
    if old.and_then(|text| text.parse().ok()).unwrap_or(0) < revision {
        after.insert(REVISION.to_owned(), revision.to_string());
        if let Some(old) = old {
            after.insert(HISTORY.to_owned(), longer(before.get(HISTORY).map_or("", String::as_str), old));
        }
    }
    after
}

fn longer(history: &str, old: &str) -> String {
    let mut history: Vec<&str> = history.split(',').filter(|number| !number.is_empty()).collect();
    history.push(old);
    while history.len() > 1 && history.iter().map(|number| number.len() + 1).sum::<usize>() > LONGEST {
        history.remove(0);
    }
    history.join(",")
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::Deployment;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_set_that_is_used_again_gets_a_new_number_and_keeps_the_old_ones() {
        let deployment = json!({
            "metadata": {"annotations": {"team": "sea", REVISION: "3", "kubectl.kubernetes.io/last-applied-configuration": "{}"}},
            "spec": {"selector": {}, "template": {}},
        });
        let deployment: Deployment = serde_json::from_value(deployment).unwrap();
        let view = View::of(&deployment).unwrap();
        let first = annotations(&view, &Annotations::new(), 1);
        assert_eq!(
            first,
            [("team".to_owned(), "sea".to_owned()), (REVISION.to_owned(), "1".to_owned())].into()
        );
        let again = annotations(&view, &annotations(&view, &first, 3), 5);
        assert_eq!(again[REVISION], "5");
        assert_eq!(again[HISTORY], "1,3");
        assert_eq!(annotations(&view, &again, 5), again);
        assert!(longer(&"1,".repeat(2000), "7").len() <= LONGEST);
    }
}
