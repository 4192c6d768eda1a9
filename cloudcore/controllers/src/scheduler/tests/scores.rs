use kube::core::{Expression, Selector};

use super::super::labels::PodSelector;
use super::*;

fn three() -> Snapshot {
    let mut snapshot = Snapshot::default();
    for (name, zone) in [("a", "x"), ("b", "x"), ("c", "y")] {
        node(&mut snapshot, name, json!({"metadata": {"labels": {"topology.kubernetes.io/zone": zone}}}));
    }
    snapshot
}

fn best(snapshot: &Snapshot, pod: Value) -> String {
    choose(snapshot, &pending("p", pod)).unwrap()
}

#[test]
fn the_emptiest_node_is_preferred() {
    let mut snapshot = three();
    for (node, cpu) in [("a", "2"), ("b", "1"), ("c", "3")] {
        placed(&mut snapshot, node, node, requests(json!({"cpu": cpu, "memory": "1Gi"})));
    }
    assert_eq!(best(&snapshot, requests(json!({"cpu": "500m", "memory": "512Mi"}))), "b");
}

#[test]
fn pods_that_ask_for_nothing_are_not_piled_up() {
    let mut snapshot = three();
    for at in 0..30 {
        let pod = pending(&format!("p{at}"), json!({}));
        let node = choose(&snapshot, &pod).unwrap();
        snapshot.place(Arc::new(pod.footprint), &node);
    }
    let counts: Vec<_> = snapshot.nodes().map(|(_, node, _)| node.pods.len()).collect();
    assert_eq!(counts, [10, 10, 10]);
}

#[test]
fn equals_are_chosen_by_the_dice() {
    let (snapshot, pod) = (three(), pending("p", json!({})));
    let chosen: std::collections::BTreeSet<_> = (0..50)
        .map(|seed| decide(&snapshot, &pod, None, &mut fastrand::Rng::with_seed(seed)).unwrap().to_string())
        .collect();
    assert_eq!(chosen.len(), 3, "{chosen:?}");
}

#[test]
fn nodes_without_discouraging_taints_are_preferred() {
    let mut snapshot = three();
    for name in ["a", "c"] {
        let taint = json!({"key": "k", "effect": "PreferNoSchedule"});
        node(&mut snapshot, name, json!({"spec": {"taints": [taint]}}));
    }
    assert_eq!(best(&snapshot, json!({})), "b");
}

#[test]
fn preferred_node_affinity_counts_by_weight() {
    let term = |weight: i64, name: &str| {
        let wanted = json!({"key": "kubernetes.io/hostname", "operator": "In", "values": [name]});
        json!({"weight": weight, "preference": {"matchExpressions": [wanted]}})
    };
    let terms = json!([term(10, "a"), term(80, "c")]);
    let affinity = json!({"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": terms}});
    assert_eq!(best(&three(), json!({"spec": {"affinity": affinity}})), "c");
}

#[test]
fn preferred_relations_to_other_pods_count_from_both_sides() {
    let relation = |kind: &str| {
        let term =
            json!({"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "db"}}});
        let terms = json!([{"weight": 100, "podAffinityTerm": term}]);
        json!({"spec": {"affinity": {kind: {"preferredDuringSchedulingIgnoredDuringExecution": terms}}}})
    };
    let db = json!({"metadata": {"labels": {"app": "db"}}});
    let mut snapshot = three();
    placed(&mut snapshot, "db", "b", db.clone());
    assert_eq!(best(&snapshot, relation("podAffinity")), "b");
    assert_ne!(best(&snapshot, relation("podAntiAffinity")), "b");

    let mut snapshot = three();
    placed(&mut snapshot, "web", "b", relation("podAffinity"));
    assert_eq!(best(&snapshot, db.clone()), "b");
    let mut snapshot = three();
    placed(&mut snapshot, "web1", "a", relation("podAntiAffinity"));
    placed(&mut snapshot, "web2", "b", relation("podAntiAffinity"));
    assert_eq!(best(&snapshot, db), "c");
}

#[test]
fn a_large_image_that_is_there_already_counts() {
    let mut snapshot = three();
    let image = json!({"names": ["busybox:latest"], "sizeBytes": 3_000_000_000_u64});
    node(&mut snapshot, "c", json!({"status": {"images": [image]}}));
    assert_eq!(best(&snapshot, json!({})), "c");
}

#[test]
fn pods_of_one_owner_spread_over_hosts_and_zones_by_themselves() {
    let mut snapshot = three();
    let web = json!({"metadata": {"labels": {"app": "web"}}});
    placed(&mut snapshot, "w", "a", web.clone());
    // Something else takes as much on the others, so that only the spreading makes a difference.
    placed(&mut snapshot, "x", "b", json!({}));
    placed(&mut snapshot, "y", "c", json!({}));
    let kin = PodSelector::of(Selector::from(Expression::Equal("app".to_owned(), "web".to_owned())));
    let pod = pending("p", web);
    let chosen = decide(&snapshot, &pod, Some(&kin), &mut fastrand::Rng::with_seed(1)).unwrap();
    assert_eq!(&*chosen, "c", "another host, in another zone");
}

#[test]
fn a_soft_constraint_is_kept_where_possible() {
    let constraint = json!({
        "maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": {"app": "web"}},
    });
    let web =
        json!({"metadata": {"labels": {"app": "web"}}, "spec": {"topologySpreadConstraints": [constraint]}});
    let mut snapshot = three();
    placed(&mut snapshot, "w", "a", web.clone());
    placed(&mut snapshot, "x", "b", json!({}));
    placed(&mut snapshot, "y", "c", json!({}));
    assert_eq!(best(&snapshot, web.clone()), "c");
    snapshot.set_node("c", None);
    assert_eq!(best(&snapshot, web), "b");
}
