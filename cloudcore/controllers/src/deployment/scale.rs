//! Sharing a new number of replicas among the sets that have pods. Source: Kubernetes v1.36 `pkg/controller/deployment/sync.go`
//! (`scale`) and `util/deployment_util.go` (`GetReplicaSetProportion`).

use super::revision;
use super::rolling::Resize;
use super::template::age;
use super::view::{Set, View, available, size};

/// Whether the number of replicas was changed since the sets were sized.
pub(super) fn is_wanted<'s>(view: &View<'_>, sets: impl IntoIterator<Item = &'s Set>) -> bool {
    let mut active = sets.into_iter().filter(|set| size(set) > 0);
    active.any(|set| revision::desired(set).is_some_and(|desired| desired != view.replicas()))
}

/// The sizes that follow from the number of replicas alone, whatever the template.
pub(super) fn sizes(view: &View<'_>, new: Option<&Set>, old: &[Set]) -> Vec<Resize> {
    if let Some(only) = active_or_latest(new, old) {
        // Also if it is of that size already: it has to remember for how many it was sized, or it would count as resized for ever.
        return vec![(only, view.replicas())];
    }
    if new.is_some_and(|new| is_saturated(view, new)) {
        return old.iter().filter(|set| size(set) > 0).map(|set| (Set::clone(set), 0)).collect();
    }
    if view.recreates() { Vec::new() } else { proportional(view, new.into_iter().chain(old)) }
}

/// The only set with pods, or the newest if there is none; nothing if several have some.
fn active_or_latest(new: Option<&Set>, old: &[Set]) -> Option<Set> {
    let mut active = new.into_iter().chain(old).filter(|set| size(set) > 0);
    match (active.next(), active.next()) {
        (Some(only), None) => Some(Set::clone(only)),
        (Some(_), Some(_)) => None,
        _ => new.or_else(|| old.iter().max_by_key(|set| age(set))).cloned(),
    }
}

fn is_saturated(view: &View<'_>, new: &Set) -> bool {
    let wanted = view.replicas();
    revision::desired(new) == Some(wanted) && size(new) == wanted && available(new) == wanted
}

fn proportional<'s>(view: &View<'_>, sets: impl Iterator<Item = &'s Set>) -> Vec<Resize> {
    let mut sets: Vec<Set> = sets.filter(|set| size(set) > 0).cloned().collect();
    let allowed = if view.replicas() > 0 { view.replicas() + view.max_surge() } else { 0 };
    let change = allowed - sets.iter().map(|set| size(set)).sum::<i32>();
    // The largest first; of equal ones the newer grows and the older shrinks.
    sets.sort_by_cached_key(age);
    if change > 0 {
        sets.reverse();
    }
    sets.sort_by_key(|set| -size(set));
    let mut left = change;
    let mut sizes: Vec<i32> = Vec::with_capacity(sets.len());
    for set in &sets {
        let share = fraction(view, set);
        let share = if left > 0 { share.clamp(0, left) } else { share.clamp(left, 0) };
        left -= share;
        sizes.push(size(set) + share);
    }
    // The first takes what rounding left; what it cannot give, the next ones do.
    for size in &mut sizes {
        let change = left.max(-*size);
        *size += change;
        left -= change;
    }
    // Also those of unchanged size: they have to remember for how many they were sized.
    sets.into_iter().zip(sizes).collect()
}

/// By how much a set changes if it keeps its part of the whole.
fn fraction(view: &View<'_>, set: &Set) -> i32 {
    let size = size(set);
    if view.replicas() == 0 {
        return -size;
    }
    let (now, before) = (i64::from(view.replicas() + view.max_surge()), revision::maximum(set));
    let fallback = view.deployment.status.as_ref().and_then(|status| status.replicas);
    let Some(before) = before.or(fallback).map(i64::from).filter(|before| *before > 0) else { return 0 };
    // Rounded half up; both are positive.
    let scaled = (i64::from(size) * now * 2 + before) / (before * 2);
    i32::try_from(scaled).unwrap_or(i32::MAX) - size
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn deployment(replicas: i32) -> Deployment {
        let deployment = json!({"spec": {
            "replicas": replicas, "selector": {}, "template": {},
            "strategy": {"rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}},
        }});
        serde_json::from_value(deployment).unwrap()
    }

    fn set(name: &str, size: i32, desired: i32, maximum: i32) -> Set {
        let set = json!({
            "metadata": {"name": name, "annotations": {
                "deployment.kubernetes.io/desired-replicas": desired.to_string(),
                "deployment.kubernetes.io/max-replicas": maximum.to_string(),
            }},
            "spec": {"replicas": size, "selector": {}},
        });
        Arc::new(serde_json::from_value::<ReplicaSet>(set).unwrap())
    }

    fn after(replicas: i32, sets: &[Set]) -> Vec<(String, i32)> {
        let deployment = deployment(replicas);
        let sized = sizes(&View::of(&deployment).unwrap(), Some(&sets[0]), &sets[1..]);
        sized.into_iter().map(|(set, to)| (set.metadata.name.clone().unwrap(), to)).collect()
    }

    #[test]
    fn in_the_middle_of_a_rollout_each_set_keeps_its_part() {
        // Kubernetes' own example: 10 replicas with 3 more allowed, of which 5 are new; then 15 are wanted.
        let sets = [set("new", 5, 10, 13), set("old", 8, 10, 13)];
        assert_eq!(after(15, &sets), [("old".to_owned(), 11), ("new".to_owned(), 7)]);
        assert_eq!(after(0, &sets), [("old".to_owned(), 0), ("new".to_owned(), 0)]);
    }

    #[test]
    fn a_single_set_gets_all() {
        assert_eq!(after(4, &[set("new", 0, 2, 3), set("old", 2, 2, 3)]), [("old".to_owned(), 4)]);
        assert_eq!(after(4, &[set("new", 0, 2, 3), set("old", 0, 2, 3)]), [("new".to_owned(), 4)]);
    }

    #[test]
    fn a_set_that_has_its_size_already_is_told_so() {
        assert_eq!(after(4, &[set("new", 4, 2, 3)]), [("new".to_owned(), 4)]);
    }

    proptest! {
        #[test]
        fn no_pod_is_lost_in_the_sharing(
            replicas in 1..40i32, parts in prop::collection::vec(1..20i32, 2..9),
        ) {
            // As many as the last size allowed.
            let before = parts.iter().sum::<i32>();
            let sets: Vec<_> = parts.iter().enumerate()
                .map(|(number, size)| set(&number.to_string(), *size, before - 3, before)).collect();
            let sized = after(replicas, &sets);
            prop_assert!(sized.iter().all(|(_, size)| *size >= 0));
            let total = sized.iter().map(|(_, size)| *size).sum::<i32>();
            prop_assert_eq!(total, replicas + 3, "{:?}", sized);
        }
    }
}
