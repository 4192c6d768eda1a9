//! Random pods on random nodes, counted anew by hand after each step.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::filter::{Candidate, Question};
use super::*;

#[derive(Clone, Debug)]
enum Step {
    Arrive { cpu: i64, memory: i64, port: Option<i32>, app: u8, shuns: Option<u8>, spread: bool },
    Leave(usize),
    Node { at: usize, there: bool, cpu: i64, tainted: bool },
}

fn step() -> impl Strategy<Value = Step> {
    let arrive = (
        0_i64..3000,
        0_i64..4,
        proptest::option::of(8080..8083_i32),
        0_u8..3,
        proptest::option::of(0_u8..3),
        any::<bool>(),
    )
        .prop_map(|(cpu, memory, port, app, shuns, spread)| Step::Arrive {
            cpu,
            memory,
            port,
            app,
            shuns,
            spread,
        });
    let node = (0_usize..4, any::<bool>(), 0_i64..5, any::<bool>())
        .prop_map(|(at, there, cpu, tainted)| Step::Node { at, there, cpu, tainted });
    prop_oneof![6 => arrive, 2 => any::<usize>().prop_map(Step::Leave), 1 => node]
}

fn arrival(name: &str, step: &Step) -> Value {
    let Step::Arrive { cpu, memory, port, app, shuns, spread } = step else { unreachable!() };
    let mut pod = requests(json!({"cpu": format!("{cpu}m"), "memory": format!("{memory}Gi")}));
    merge(&mut pod, json!({"metadata": {"labels": {"app": app.to_string()}}}));
    if let Some(port) = port {
        pod["spec"]["containers"][0]["ports"] = json!([{"containerPort": port, "hostPort": port}]);
    }
    if let Some(shuns) = shuns {
        let term = json!({"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": shuns.to_string()}}});
        pod["spec"]["affinity"] =
            json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}});
    }
    if *spread {
        pod["spec"]["topologySpreadConstraints"] = json!([{
            "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"app": app.to_string()}},
        }]);
    }
    object(name, pod)
}

/// A snapshot that is made anew of what is there.
fn anew(nodes: &BTreeMap<usize, (i64, bool)>, pods: &BTreeMap<String, (String, Value)>) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for (at, (cpu, tainted)) in nodes {
        let taints = if *tainted { json!([{"key": "k", "effect": "NoSchedule"}]) } else { json!([]) };
        let has = json!({"cpu": cpu.to_string()});
        node(
            &mut snapshot,
            &format!("n{at}"),
            json!({"spec": {"taints": taints}, "status": {"allocatable": has}}),
        );
    }
    for (name, pod) in pods.values() {
        let pod = Footprint::of(&serde_json::from_value(pod.clone()).unwrap()).unwrap();
        snapshot.place(Arc::new(pod), name);
    }
    snapshot
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_node_is_given_too_much_and_no_pod_goes_where_a_rule_keeps_it_away(steps in proptest::collection::vec(step(), 1..60)) {
        let mut snapshot = Snapshot::default();
        let (mut nodes, mut pods) = (BTreeMap::new(), BTreeMap::<String, (String, Value)>::new());
        for (count, step) in steps.iter().enumerate() {
            match step {
                Step::Arrive { .. } => {
                    let name = format!("p{count}");
                    let object = arrival(&name, step);
                    let pod = Pending::of(&serde_json::from_value(object.clone()).unwrap()).unwrap();
                    let fresh = anew(&nodes, &pods);
                    let question = Question::new(&fresh, &pod).unwrap();
                    let allowed: Vec<_> = fresh
                        .nodes()
                        .filter(|(name, node, facts)| question.filter(Candidate { name, node, facts }).is_ok())
                        .map(|(name, ..)| name.to_string())
                        .collect();
                    match choose(&snapshot, &pod) {
                        Ok(node) => {
                            prop_assert!(allowed.contains(&node), "{node} is not among {allowed:?}");
                            let used: i64 = pods.values().filter(|(on, _)| *on == node).map(|(_, pod)| cpu(pod)).sum();
                            let at: usize = node[1..].parse().unwrap();
                            let asked = cpu(&object);
                            prop_assert!(asked == 0 || used + asked <= nodes[&at].0 * 1000, "{node} is given too much");
                            snapshot.place(Arc::new(pod.footprint), &node);
                            pods.insert(name, (node, object));
                        }
                        Err(diagnosis) => {
                            prop_assert!(allowed.is_empty(), "{allowed:?} would do");
                            prop_assert_eq!(diagnosis.nodes.len(), nodes.len());
                        }
                    }
                }
                Step::Leave(which) => {
                    if let Some(name) = pods.keys().nth(which % pods.len().max(1)).cloned() {
                        snapshot.remove(&name);
                        pods.remove(&name);
                    }
                }
                Step::Node { at, there, cpu, tainted } => {
                    let name = format!("n{at}");
                    if *there {
                        nodes.insert(*at, (*cpu, *tainted));
                        let one = anew(&[(*at, (*cpu, *tainted))].into(), &BTreeMap::new());
                        let facts = one.node(&name).unwrap().facts.clone();
                        snapshot.set_node(&name, facts);
                    } else {
                        nodes.remove(at);
                        snapshot.set_node(&name, None);
                    }
                }
            }
            prop_assert_eq!(snapshot.len(), nodes.len());
        }
    }
}

fn cpu(pod: &Value) -> i64 {
    let text = pod["spec"]["containers"][0]["resources"]["requests"]["cpu"].as_str().unwrap();
    text.trim_end_matches('m').parse().unwrap()
}
