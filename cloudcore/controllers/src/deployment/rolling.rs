//! How far new pods may go up and old ones down at once. Source: Kubernetes v1.36 `pkg/controller/deployment/rolling.go`.

use super::template::age;
use super::view::{Set, View, available, size};

/// A set and the size that it should have.
pub(super) type Resize = (Set, i32);

fn total(sets: &[Set]) -> i32 {
    sets.iter().map(|set| size(set)).sum()
}

/// The size of the newest set, which has `now` pods, while the others have `others` pods together.
pub(super) fn new_size(view: &View<'_>, now: i32, others: i32) -> i32 {
    let wanted = view.replicas();
    if view.recreates() || now >= wanted {
        return wanted;
    }
    let room = wanted + view.max_surge() - now - others;
    now + room.clamp(0, wanted - now)
}

/// What to do next: grow the newest set, or else shrink older ones.
pub(super) fn step(view: &View<'_>, new: &Set, old: &[Set]) -> Vec<Resize> {
    let grown = new_size(view, size(new), total(old));
    if grown != size(new) {
        return vec![(Set::clone(new), grown)];
    }
    shrink(view, new, old)
}

fn shrink(view: &View<'_>, new: &Set, old: &[Set]) -> Vec<Resize> {
    let least = view.replicas() - view.max_unavailable();
    let starting = size(new) - available(new);
    let spare = total(old) + size(new) - least - starting;
    if spare <= 0 {
        return Vec::new();
    }
    let mut sets: Vec<Resize> = old.iter().map(|set| (Set::clone(set), size(set))).collect();
    sets.sort_by_cached_key(|(set, _)| age(set));
    // Pods that do not work go first: nobody will miss them.
    let mut left = spare;
    for (set, to) in &mut sets {
        let idle = (*to - available(set)).clamp(0, left);
        *to -= idle;
        left -= idle;
    }
    let mut left = old.iter().map(|set| available(set)).sum::<i32>() + available(new) - least;
    for (_, to) in &mut sets {
        let gone = (*to).clamp(0, left.max(0));
        *to -= gone;
        left -= gone;
    }
    sets.retain(|(set, to)| *to != size(set));
    sets
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn deployment(replicas: i32, surge: i32, missing: i32) -> Deployment {
        let deployment = json!({"spec": {
            "replicas": replicas, "selector": {}, "template": {},
            "strategy": {"rollingUpdate": {"maxSurge": surge, "maxUnavailable": missing}},
        }});
        serde_json::from_value(deployment).unwrap()
    }

    fn set(name: &str, size: i32, available: i32) -> Set {
        let set = json!({
            "metadata": {"name": name},
            "spec": {"replicas": size, "selector": {}},
            "status": {"replicas": size, "availableReplicas": available},
        });
        Arc::new(serde_json::from_value::<ReplicaSet>(set).unwrap())
    }

    fn resized(steps: &[Resize]) -> Vec<(String, i32)> {
        steps.iter().map(|(set, to)| (set.metadata.name.clone().unwrap(), *to)).collect()
    }

    #[test]
    fn one_step_up_then_one_down() {
        let two = deployment(2, 1, 0);
        let view = View::of(&two).unwrap();
        assert_eq!(resized(&step(&view, &set("new", 0, 0), &[set("old", 2, 2)])), [("new".to_owned(), 1)]);
        assert_eq!(resized(&step(&view, &set("new", 1, 0), &[set("old", 2, 2)])), []);
        assert_eq!(resized(&step(&view, &set("new", 1, 1), &[set("old", 2, 2)])), [("old".to_owned(), 1)]);
    }

    #[test]
    fn old_pods_that_do_not_work_go_first() {
        let ten = deployment(10, 0, 2);
        let view = View::of(&ten).unwrap();
        let old = [set("broken", 4, 0), set("good", 6, 6)];
        assert_eq!(resized(&step(&view, &set("new", 0, 0), &old)), [("broken".to_owned(), 2)]);
    }

    proptest! {
        /// Whatever comes up in whichever order, there are never too few nor too many, and it ends.
        #[test]
        fn a_rollout_keeps_its_bounds_and_ends(
            replicas in 1..30i32, surge in 0..6i32, missing in 0..6i32, first in 0..30i32, seed in any::<u64>(),
        ) {
            let deployment = deployment(replicas, surge, missing);
            let view = View::of(&deployment).unwrap();
            let (surge, missing) = (view.max_surge(), view.max_unavailable());
            let first = first.min(replicas);
            let (mut sizes, mut works) = ([0, first, replicas - first], [0, first, replicas - first]);
            let mut random = seed;
            for _ in 0..1000 {
                let sets: Vec<_> = (0..3).map(|number| set(&number.to_string(), sizes[number], works[number])).collect();
                for (set, to) in step(&view, &sets[0], &sets[1..]) {
                    let number: usize = set.metadata.name.as_ref().unwrap().parse().unwrap();
                    sizes[number] = to;
                    works[number] = works[number].min(to);
                }
                let (all, working) = (sizes.iter().sum::<i32>(), works.iter().sum::<i32>());
                prop_assert!(all <= replicas + surge, "{sizes:?}");
                prop_assert!(working >= replicas - missing, "{sizes:?} {works:?}");
                if sizes == [replicas, 0, 0] && works[0] == replicas {
                    return Ok(());
                }
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                // Some of the new pods come up, at least one of them in the end.
                let up = i32::try_from(random >> 62).unwrap().max(1);
                works[0] = (works[0] + up).min(sizes[0]);
            }
            prop_assert!(false, "it does not end: {sizes:?}");
        }
    }
}
