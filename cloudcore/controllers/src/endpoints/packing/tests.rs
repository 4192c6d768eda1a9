use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn endpoint(number: u32, ready: bool) -> Endpoint {
    serde_json::from_value(json!({
        "addresses": [format!("10.0.{}.{}", number / 256, number % 256)], "conditions": {"ready": ready},
        "targetRef": {"kind": "Pod", "namespace": "default", "name": format!("p{number}")},
    }))
    .unwrap()
}

fn port(number: i32) -> EndpointPort {
    EndpointPort { port: Some(number), name: Some(String::new()), ..EndpointPort::default() }
}

fn group(number: i32, endpoints: Vec<Endpoint>) -> Group {
    Group { address_type: "IPv4".to_owned(), ports: vec![port(number)], endpoints }
}

fn slice(name: &str, number: i32, endpoints: Vec<Endpoint>) -> Arc<EndpointSlice> {
    let mut slice = EndpointSlice {
        address_type: "IPv4".to_owned(),
        endpoints: Some(endpoints),
        ports: Some(vec![port(number)]),
        ..EndpointSlice::default()
    };
    slice.metadata.name = Some(name.to_owned());
    Arc::new(slice)
}

fn ready(numbers: std::ops::Range<u32>) -> Vec<Endpoint> {
    numbers.map(|number| endpoint(number, true)).collect()
}

/// How many endpoints are in what is made, written and deleted.
fn sizes(plan: &Plan) -> (Vec<usize>, Vec<usize>, usize) {
    let created = plan.create.iter().map(|group| group.endpoints.len()).collect();
    let updated = plan.update.iter().map(|(_, group)| group.endpoints.len()).collect();
    (created, updated, plan.delete.len())
}

#[test]
fn what_is_right_is_left_alone_whatever_the_order() {
    let existing = [slice("a", 80, ready(0..100)), slice("b", 80, ready(100..150))];
    let wanted = group(80, ready(0..150).into_iter().rev().collect());
    let plan = Plan::new(&existing, vec![wanted.clone()], 100, |_| true);
    assert_eq!(sizes(&plan), (vec![], vec![], 0));
    let plan = Plan::new(&existing, vec![wanted], 100, |_| false);
    assert_eq!(sizes(&plan), (vec![], vec![100, 50], 0));
}

#[test]
fn a_new_one_goes_to_the_fullest_slice_with_room_and_many_go_to_new_ones() {
    let existing =
        [slice("a", 80, ready(0..100)), slice("b", 80, ready(100..110)), slice("c", 80, ready(110..120))];
    let plan = Plan::new(&existing, vec![group(80, ready(0..121))], 100, |_| true);
    assert_eq!(sizes(&plan), (vec![], vec![11], 0));
    let plan = Plan::new(&existing, vec![group(80, ready(0..340))], 100, |_| true);
    assert_eq!(sizes(&plan), (vec![100, 100], vec![30], 0));
}

#[test]
fn a_slice_that_changes_anyway_takes_the_new_ones_first() {
    let existing = [slice("a", 80, ready(0..100)), slice("b", 80, ready(100..150))];
    // One of the full slice went, and another came.
    let wanted: Vec<Endpoint> = ready(1..150).into_iter().chain(ready(500..501)).collect();
    let plan = Plan::new(&existing, vec![group(80, wanted)], 100, |_| true);
    assert_eq!(sizes(&plan), (vec![], vec![100], 0));
    assert_eq!(plan.update[0].0.metadata.name.as_deref(), Some("a"));
}

#[test]
fn a_change_of_ports_writes_over_the_old_slices() {
    let existing = [slice("a", 80, ready(0..100)), slice("b", 80, ready(100..150))];
    let mut plan = Plan::new(&existing, vec![group(81, ready(0..40))], 100, |_| true);
    assert_eq!(sizes(&plan), (vec![40], vec![], 2));
    plan.recycle();
    assert_eq!(sizes(&plan), (vec![], vec![40], 1));
}

#[test]
fn the_version_of_a_target_does_not_count() {
    let mut versioned = endpoint(1, true);
    versioned.target_ref.as_mut().unwrap().resource_version = Some("7".to_owned());
    let plan =
        Plan::new(&[slice("a", 80, vec![versioned])], vec![group(80, vec![endpoint(1, true)])], 100, |_| {
            true
        });
    assert_eq!(sizes(&plan), (vec![], vec![], 0));
}

/// The slices as they are once the plan is carried out.
fn carried_out(existing: &[Arc<EndpointSlice>], plan: Plan) -> Vec<Arc<EndpointSlice>> {
    let touched: BTreeSet<_> = plan
        .update
        .iter()
        .map(|(slice, _)| slice)
        .chain(&plan.delete)
        .map(|slice| slice.metadata.name.clone())
        .collect();
    let named = |name: &str, group: Group| slice(name, group.ports[0].port.unwrap(), group.endpoints);
    let kept = existing.iter().filter(|slice| !touched.contains(&slice.metadata.name)).cloned();
    let updated =
        plan.update.into_iter().map(|(slice, group)| named(slice.metadata.name.as_ref().unwrap(), group));
    let first = existing.iter().map(|slice| slice.metadata.name.clone().unwrap()).max().unwrap_or_default();
    let created =
        plan.create.into_iter().enumerate().map(|(index, group)| named(&format!("{first}{index}x"), group));
    kept.chain(updated).chain(created).collect()
}

proptest! {
    /// Through any row of states: every endpoint is in one slice, none is too full, and a second look changes nothing.
    #[test]
    fn every_state_is_reached_in_one_step_and_kept(
        states in proptest::collection::vec(
            proptest::collection::btree_map(0_u32..60, (any::<bool>(), 80_i32..82), 0..40), 1..6,
        ),
    ) {
        let mut slices = Vec::new();
        for state in states {
            let groups: Vec<Group> = [80, 81]
                .into_iter()
                .map(|port| {
                    let mine = state.iter().filter(|(_, (_, its))| *its == port);
                    group(port, mine.map(|(number, (ready, _))| endpoint(*number, *ready)).collect())
                })
                .filter(|group| !group.endpoints.is_empty())
                .collect();
            let mut plan = Plan::new(&slices, groups.clone(), 7, |_| true);
            plan.recycle();
            slices = carried_out(&slices, plan);
            for wanted in &groups {
                let mine = slices.iter().filter(|slice| slice.ports.as_ref() == Some(&wanted.ports));
                let mut found: Vec<Endpoint> = mine.flat_map(|slice| slice.endpoints.clone().unwrap()).collect();
                found.sort_by_key(identity);
                let mut wanted = wanted.endpoints.clone();
                wanted.sort_by_key(identity);
                prop_assert_eq!(found, wanted);
            }
            let all: usize = slices.iter().map(|slice| slice.endpoints.as_ref().unwrap().len()).sum();
            prop_assert_eq!(all, state.len());
            prop_assert!(slices.iter().all(|slice| (1..=7).contains(&slice.endpoints.as_ref().unwrap().len())));
            let again = Plan::new(&slices, groups, 7, |_| true);
            prop_assert_eq!(sizes(&again), (vec![], vec![], 0));
        }
    }
}
