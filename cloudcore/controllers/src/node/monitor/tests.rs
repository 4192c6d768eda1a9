//! Nodes that live, fall silent and come back.

use serde_json::json;

use super::*;

const RULES: Rules = Rules {
    grace: Duration::from_secs(40),
    startup_grace: Duration::from_secs(60),
    period: Duration::from_secs(5),
};

struct World {
    monitor: Monitor,
    start: Instant,
    nodes: BTreeMap<String, Arc<Node>>,
}

impl World {
    fn new() -> Self {
        Self { monitor: Monitor::new(RULES), start: Instant::now(), nodes: BTreeMap::new() }
    }

    /// The node says this at `second`.
    fn posts(&mut self, name: &str, ready: &str, second: i64) {
        let before = self.nodes.get(name).and_then(|node| node.spec.clone());
        let conditions = json!([{
            "type": "Ready", "status": ready,
            "lastHeartbeatTime": Timestamp::from_second(second).unwrap().to_string(), "lastTransitionTime": "2026-01-01T00:00:00Z",
        }]);
        let mut node: Node = serde_json::from_value(json!({
            "metadata": {"name": name, "uid": name}, "status": {"conditions": conditions},
        }))
        .unwrap();
        node.spec = before;
        self.nodes.insert(name.to_owned(), Arc::new(node));
    }

    /// Looks at `second`, takes the effects up, and names them.
    fn look(&mut self, second: u64) -> Vec<String> {
        let now = Now {
            instant: self.start + Duration::from_secs(second),
            wall: Timestamp::from_second(i64::try_from(second).unwrap()).unwrap(),
        };
        let nodes: Vec<_> = self.nodes.values().cloned().collect();
        let effects = self.monitor.step(&nodes, now);
        effects.into_iter().filter_map(|effect| self.take_up(effect)).collect()
    }

    /// Every five seconds; what was done, with its second.
    fn watch(&mut self, seconds: std::ops::RangeInclusive<u64>) -> Vec<String> {
        let mut all = Vec::new();
        for second in seconds.step_by(5) {
            all.extend(self.look(second).into_iter().map(|what| format!("{second} {what}")));
        }
        all
    }

    fn take_up(&mut self, effect: Effect) -> Option<String> {
        let change = |world: &mut Self, node: &Node, edit: &dyn Fn(&mut Node)| {
            let mut new = node.clone();
            edit(&mut new);
            world.nodes.insert(node.name_any(), Arc::new(new));
        };
        match effect {
            Effect::Registered(node) => Some(format!("registered {}", node.name_any())),
            Effect::Removed(node) => Some(format!("removed {}", node.name_any())),
            Effect::PodsNotReady(node) => Some(format!("pods of {}", node.name_any())),
            Effect::Dress { .. } => None,
            Effect::Silent { node, conditions, .. } => {
                change(self, &node, &|new| {
                    new.status.get_or_insert_default().conditions = Some(conditions.clone());
                });
                Some(format!("silent {}", node.name_any()))
            }
            Effect::Taint { node, taints } => {
                change(self, &node, &|new| new.spec.get_or_insert_default().taints = Some(taints.clone()));
                let texts = taints
                    .iter()
                    .map(|taint| format!("{}:{}", taint.key.rsplit('/').next().unwrap(), taint.effect));
                Some(format!("taint {} {}", node.name_any(), texts.collect::<Vec<_>>().join(",")))
            }
        }
    }

    fn renew(&mut self, name: &str, second: i64) {
        let renewed = MicroTime(Timestamp::from_second(second).unwrap());
        let now = self.start + Duration::from_secs(u64::try_from(second).unwrap());
        self.monitor.lease(name, Some(&renewed), now);
    }
}

#[test]
fn a_node_lives_while_its_lease_or_its_status_changes_whatever_times_they_carry() {
    let mut world = World::new();
    world.posts("a", "True", -100_000);
    world.posts("b", "True", 100_000);
    world.look(0);
    for second in (10..300).step_by(10) {
        world.renew("a", second);
        world.posts("b", "True", 100_000 + second);
        assert_eq!(world.look(u64::try_from(second).unwrap()), Vec::<String>::new());
    }
}

#[test]
fn a_silent_node_is_marked_tainted_and_its_pods_are_too_and_all_is_taken_back() {
    let mut world = World::new();
    world.posts("a", "True", 0);
    world.posts("b", "True", 0);
    world.look(0);
    for second in (5..=40).step_by(5) {
        world.renew("b", second);
        assert_eq!(world.look(u64::try_from(second).unwrap()), Vec::<String>::new());
    }
    assert_eq!(world.monitor.next_due(), Some(world.start + RULES.grace + Duration::from_millis(1)));
    world.renew("b", 41);
    assert_eq!(world.look(41), ["silent a"]);
    let ready = ready(&world.nodes["a"]).unwrap().clone();
    assert_eq!((ready.status.as_str(), ready.reason.as_deref()), ("Unknown", Some("NodeStatusUnknown")));
    assert_eq!(
        (ready.message.as_deref(), ready.last_heartbeat_time.unwrap().0.as_second()),
        (Some("Kubelet stopped posting node status."), 0)
    );
    assert_eq!(world.look(41), ["pods of a", "taint a unreachable:NoSchedule,unreachable:NoExecute"]);
    world.renew("b", 45);
    assert_eq!(world.look(45), Vec::<String>::new());
    world.posts("a", "True", 46);
    assert_eq!(world.look(46), ["taint a "]);
}

#[test]
fn a_node_that_never_spoke_gets_a_minute() {
    let mut world = World::new();
    world.nodes.insert(
        "a".to_owned(),
        Arc::new(serde_json::from_value(json!({"metadata": {"name": "a", "uid": "1"}})).unwrap()),
    );
    let seen = world.watch(0..=65);
    assert_eq!(seen[..2], ["0 registered a", "65 silent a"]);
    assert_eq!(ready(&world.nodes["a"]).unwrap().reason.as_deref(), Some("NodeStatusNeverUpdated"));
}

#[test]
fn when_all_nodes_are_silent_nobody_is_driven_off() {
    let mut world = World::new();
    world.posts("a", "True", 0);
    world.posts("b", "True", 0);
    let seen = world.watch(0..=60).join("\n");
    assert!(
        seen.contains("silent a") && seen.contains("silent b") && seen.contains("unreachable:NoSchedule"),
        "{seen}"
    );
    assert!(!seen.contains("NoExecute"), "{seen}");
    // One is back: the other gets its time again, and is then dealt with.
    world.posts("a", "True", 61);
    let seen = world.watch(65..=70).join("\n");
    assert!(
        seen.contains("taint a ") && seen.contains("taint b unreachable:NoSchedule,unreachable:NoExecute"),
        "{seen}"
    );
}

#[test]
fn nodes_whose_pods_are_driven_off_take_turns() {
    let mut world = World::new();
    for name in ["a", "b", "x", "y", "z"] {
        world.posts(name, "True", 0);
    }
    world.look(0);
    let mut expelled = Vec::new();
    for second in (5..=70).step_by(5) {
        ["x", "y", "z"].iter().for_each(|name| world.renew(name, second));
        let seen = world.look(u64::try_from(second).unwrap());
        expelled
            .extend(seen.into_iter().filter(|what| what.contains("NoExecute")).map(|what| (second, what)));
    }
    let at =
        |name: &str| expelled.iter().find(|(_, what)| what.contains(&format!("taint {name}"))).unwrap().0;
    assert_eq!(at("b") - at("a"), 10, "{expelled:?}");
}

#[test]
fn nodes_are_not_blamed_for_the_time_that_this_process_slept() {
    let mut world = World::new();
    world.posts("a", "True", 0);
    world.posts("b", "True", 0);
    world.look(0);
    assert_eq!(world.look(3600), Vec::<String>::new());
    assert_eq!(world.watch(3605..=3630), Vec::<String>::new());
    assert_eq!(world.watch(3635..=3635), ["3635 silent a", "3635 silent b"]);
}

#[test]
fn after_a_restart_what_was_missed_is_made_up_for() {
    let mut world = World::new();
    world.posts("a", "Unknown", 0);
    world.posts("b", "True", 0);
    assert_eq!(
        world.look(0),
        ["registered a", "registered b", "pods of a", "taint a unreachable:NoSchedule,unreachable:NoExecute"]
    );
}

#[test]
fn a_node_that_goes_and_a_namesake_are_told() {
    let mut world = World::new();
    world.posts("a", "True", 0);
    world.look(0);
    let mut other = (*world.nodes["a"]).clone();
    other.metadata.uid = Some("other".to_owned());
    world.nodes.insert("a".to_owned(), Arc::new(other));
    assert_eq!(world.look(1), ["registered a", "removed a"]);
    world.nodes.clear();
    assert_eq!(world.look(2), ["removed a"]);
}
