use super::super::labels::PodSelector;
use super::super::preempt::{Budget, preempt};
use super::super::reason::Preemption;
use super::*;

fn important(priority: i32, cpu: &str, app: &str) -> Value {
    let mut pod = requests(json!({"cpu": cpu}));
    merge(&mut pod, json!({"spec": {"priority": priority}, "metadata": {"labels": {"app": app}}}));
    pod
}

fn plan(
    snapshot: &mut Snapshot,
    pod: &Pending,
    budgets: &[Budget],
) -> Result<(String, Vec<String>), Preemption> {
    let diagnosis = choose(snapshot, pod).unwrap_err();
    let before = format!("{snapshot:?}").len();
    let plan = preempt(snapshot, pod, &diagnosis, budgets);
    assert_eq!(format!("{snapshot:?}").len(), before, "the snapshot is left as it was");
    plan.map(|plan| (plan.node.to_string(), plan.victims.into_iter().map(|victim| victim.name).collect()))
}

#[test]
fn only_as_many_of_the_least_important_go_as_are_needed() {
    let mut snapshot = Snapshot::default();
    node(&mut snapshot, "a", json!({}));
    placed(&mut snapshot, "low", "a", important(1, "1", "x"));
    placed(&mut snapshot, "mid", "a", important(5, "2", "x"));
    placed(&mut snapshot, "high", "a", important(50, "1", "x"));
    let says = |snapshot: &mut Snapshot, priority, cpu| {
        plan(snapshot, &pending("p", important(priority, cpu, "p")), &[])
    };
    assert_eq!(says(&mut snapshot, 10, "1"), Ok(("a".to_owned(), vec!["low".to_owned()])));
    assert_eq!(says(&mut snapshot, 10, "2"), Ok(("a".to_owned(), vec!["mid".to_owned()])));
    let mut both = says(&mut snapshot, 10, "3").unwrap();
    both.1.sort();
    assert_eq!(both.1, ["low", "mid"]);
    assert_eq!(says(&mut snapshot, 10, "4"), Err(Preemption::Fruitless));
    assert_eq!(says(&mut snapshot, 1, "1"), Err(Preemption::Fruitless));
}

#[test]
fn the_node_where_it_hurts_least_is_chosen_and_budgets_are_spared() {
    let mut snapshot = Snapshot::default();
    for (name, priority, app) in [("a", 3, "x"), ("b", 2, "guarded"), ("c", 4, "x")] {
        node(&mut snapshot, name, json!({}));
        placed(&mut snapshot, name, name, important(priority, "4", app));
    }
    let pod = pending("p", important(10, "1", "p"));
    assert_eq!(plan(&mut snapshot, &pod, &[]).unwrap().0, "b");
    let selector = serde_json::from_value(json!({"matchLabels": {"app": "guarded"}})).unwrap();
    let budget = Budget {
        namespace: "n".to_owned(),
        selector: PodSelector::new(Some(&selector), &Default::default(), &[], &[]),
        allowed: 0,
    };
    assert_eq!(plan(&mut snapshot, &pod, &[budget]).unwrap().0, "a");
}

#[test]
fn who_must_not_or_has_evicted_already_evicts_nobody() {
    let mut snapshot = Snapshot::default();
    node(&mut snapshot, "a", json!({}));
    placed(&mut snapshot, "low", "a", important(1, "4", "x"));
    let mut never = important(10, "1", "p");
    never["spec"]["preemptionPolicy"] = json!("Never");
    assert_eq!(plan(&mut snapshot, &pending("p", never), &[]), Err(Preemption::Forbidden));
    let mut going = important(1, "4", "x");
    going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    placed(&mut snapshot, "low", "a", going);
    let mut nominated = important(10, "1", "p");
    nominated["status"] = json!({"nominatedNodeName": "a"});
    assert_eq!(plan(&mut snapshot, &pending("p", nominated), &[]), Err(Preemption::Waiting));
}
