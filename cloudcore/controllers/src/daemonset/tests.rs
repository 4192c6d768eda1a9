//! Daemon sets played through without an API.

use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// What an API holds: one set, its nodes and its pods.
struct World {
    set: DaemonSet,
    hash: String,
    nodes: Vec<Arc<Node>>,
    pods: Vec<Arc<Pod>>,
    patience: Patience,
    made: usize,
    now: i64,
}

fn node(name: &str, taints: Value) -> Arc<Node> {
    let node = json!({"metadata": {"name": name, "labels": {"kind": name.split('-').next()}}, "spec": {"taints": taints}});
    Arc::new(serde_json::from_value(node).unwrap())
}

fn time(second: i64) -> Time {
    Time(Timestamp::from_second(second).unwrap())
}

impl World {
    fn new(nodes: &[&str], spec: Value) -> Self {
        let mut set = json!({
            "metadata": {"name": "d", "namespace": "n", "uid": "set", "generation": 3},
            "spec": {"selector": {"matchLabels": {"app": "d"}},
                "template": {"metadata": {"labels": {"app": "d"}}, "spec": {"containers": [{"name": "c"}]}}},
        });
        for (key, value) in spec.as_object().unwrap() {
            if key == "pod" {
                set["spec"]["template"]["spec"]
                    .as_object_mut()
                    .unwrap()
                    .extend(value.as_object().unwrap().clone());
            } else {
                set["spec"][key] = value.clone();
            }
        }
        Self {
            set: serde_json::from_value(set).unwrap(),
            hash: "1".to_owned(),
            nodes: nodes.iter().map(|name| node(name, json!([]))).collect(),
            pods: Vec::new(),
            patience: Patience::default(),
            made: 0,
            now: 1_000_000,
        }
    }

    /// Carries out one plan; what was done, as text.
    fn look(&mut self) -> Vec<String> {
        let now = time(self.now).0;
        let plan = plan(&self.set, &self.nodes, &self.pods, &self.hash, &mut self.patience, now);
        self.set.status = Some(plan.status);
        let mut done = Vec::new();
        for pod in plan.delete {
            done.push(format!("-{}", pod.name_any()));
            self.change(&pod.name_any(), |pod| pod.metadata.deletion_timestamp = Some(time(0)));
        }
        for node in plan.create {
            let mut pod = pod::make(&self.set, &self.hash, &node).unwrap();
            self.made += 1;
            pod.metadata.name = Some(format!("{}/{node}", self.made));
            pod.metadata.uid = Some(self.made.to_string());
            pod.metadata.creation_timestamp = Some(time(self.now));
            pod.status.get_or_insert_default().phase = Some("Pending".to_owned());
            done.push(format!("+{node}"));
            self.pods.push(Arc::new(pod));
        }
        done
    }

    fn change(&mut self, name: &str, change: impl FnOnce(&mut Pod)) {
        let pod = self.pods.iter_mut().find(|pod| pod.name_any() == name).unwrap();
        change(Arc::make_mut(pod));
    }

    /// Scheduler and agents: pods are bound and ready now, deleted ones are gone.
    fn agents(&mut self) {
        self.sweep();
        let now = time(self.now);
        for pod in self.pods.iter_mut().filter(|pod| phase(pod) == "Pending") {
            let pod = Arc::make_mut(pod);
            let node = pod::node_of(pod).unwrap().to_owned();
            pod.spec.as_mut().unwrap().node_name = Some(node);
            let status = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": now}]});
            pod.status = serde_json::from_value(status).unwrap();
        }
    }

    fn sweep(&mut self) {
        self.pods.retain(|pod| pod.metadata.deletion_timestamp.is_none());
    }

    fn settle(&mut self) -> Vec<String> {
        let mut all = Vec::new();
        for _ in 0..100 {
            self.agents();
            let done = self.look();
            if done.is_empty() {
                return all;
            }
            all.extend(done);
        }
        panic!("never settles: {all:?}");
    }

    fn status(&self) -> Value {
        serde_json::to_value(self.set.status.clone()).unwrap()
    }

    /// desired, current, misscheduled, ready, available, unavailable, updated
    fn numbers(&self) -> [i64; 7] {
        [
            "desiredNumberScheduled",
            "currentNumberScheduled",
            "numberMisscheduled",
            "numberReady",
            "numberAvailable",
            "numberUnavailable",
            "updatedNumberScheduled",
        ]
        .map(|field| self.status()[field].as_i64().unwrap_or(0))
    }
}

#[test]
fn every_node_that_fits_has_one_pod_and_a_new_node_gets_one() {
    let mut world =
        World::new(&["edge-1", "edge-2", "cloud-1"], json!({"pod": {"nodeSelector": {"kind": "edge"}}}));
    assert_eq!(world.settle(), ["+edge-1", "+edge-2"]);
    assert_eq!(world.numbers(), [2, 2, 0, 2, 2, 0, 2]);
    assert_eq!(world.status()["observedGeneration"], 3);
    world.nodes.push(node("edge-3", json!([])));
    assert_eq!(world.settle(), ["+edge-3"]);
    world.change("1/edge-1", |pod| pod.metadata.deletion_timestamp = Some(time(0)));
    assert_eq!(world.look(), [""; 0], "its successor comes when it is gone");
    world.sweep();
    assert_eq!(world.settle(), ["+edge-1"]);
}

#[test]
fn taints_keep_new_pods_away_and_only_no_execute_drives_out_those_that_run() {
    let mut world = World::new(&["a"], json!({}));
    world.settle();
    world.nodes[0] = node("a", json!([{"key": "mine", "effect": "NoSchedule"}]));
    assert_eq!(world.settle(), [""; 0]);
    assert_eq!(world.numbers(), [0, 0, 1, 0, 0, 0, 0]);
    world.nodes[0] = node("a", json!([{"key": "mine", "effect": "NoExecute"}]));
    assert_eq!(world.settle(), ["-1/a"]);
    let borne = json!([
        {"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"},
        {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"},
        {"key": "node.kubernetes.io/disk-pressure", "effect": "NoSchedule"},
    ]);
    world.nodes[0] = node("a", borne);
    assert_eq!(world.settle(), ["+a"]);
    // An unreachable node has both effects: what runs there stays, what is missing waits.
    let away = json!([
        {"key": "node.kubernetes.io/unreachable", "effect": "NoSchedule"},
        {"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"},
    ]);
    world.nodes[0] = node("a", away.clone());
    world.nodes.push(node("b", away));
    assert_eq!(world.settle(), [""; 0]);
    world.nodes[1] = node("b", json!([]));
    assert_eq!(world.settle(), ["+b"]);
}

#[test]
fn a_pod_is_for_its_node_and_says_so_to_the_scheduler() {
    let world = World::new(&["a"], json!({"pod": {"hostNetwork": true, "nodeSelector": {"kind": "edge"}}}));
    let pod = serde_json::to_value(pod::make(&world.set, "1", "a").unwrap()).unwrap();
    let terms = &pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"];
    assert_eq!(
        *terms,
        json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["a"]}]}])
    );
    assert_eq!(pod["metadata"]["generateName"], "d-");
    assert_eq!(pod["metadata"]["labels"], json!({"app": "d", "controller-revision-hash": "1"}));
    let tolerated = pod["spec"]["tolerations"].as_array().unwrap();
    assert_eq!(tolerated.len(), 7);
    assert_eq!(
        tolerated[6],
        json!({"key": "node.kubernetes.io/network-unavailable", "operator": "Exists", "effect": "NoSchedule"})
    );
}

#[test]
fn an_update_replaces_as_many_at_once_as_may_be_missing() {
    let mut world = World::new(
        &["a", "b", "c", "d"],
        json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "50%"}}}),
    );
    world.settle();
    world.hash = "2".to_owned();
    assert_eq!(world.look(), ["-1/a", "-2/b"]);
    assert_eq!(world.look(), [""; 0]);
    world.sweep();
    assert_eq!(world.look(), ["+a", "+b"]);
    assert_eq!(world.look(), [""; 0], "the new ones are not ready yet");
    assert_eq!(world.numbers(), [4, 4, 0, 2, 2, 2, 2]);
    world.agents();
    assert_eq!(world.settle(), ["-3/c", "-4/d", "+c", "+d"]);
    assert_eq!(world.numbers(), [4, 4, 0, 4, 4, 0, 4]);
}

#[test]
fn an_update_with_surge_starts_the_successor_first() {
    let mut world = World::new(
        &["a", "b"],
        json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}}),
    );
    world.settle();
    world.hash = "2".to_owned();
    assert_eq!(world.look(), ["+a"]);
    assert_eq!(world.look(), [""; 0]);
    world.agents();
    assert_eq!(world.settle(), ["-1/a", "+b", "-2/b"]);
    assert_eq!(world.numbers(), [2, 2, 0, 2, 2, 0, 2]);
}

#[test]
fn on_delete_waits_for_the_user_and_minimum_seconds_for_the_clock() {
    let mut world =
        World::new(&["a"], json!({"updateStrategy": {"type": "OnDelete"}, "minReadySeconds": 10}));
    world.settle();
    world.hash = "2".to_owned();
    assert_eq!(world.settle(), [""; 0]);
    assert_eq!(world.numbers(), [1, 1, 0, 1, 0, 1, 0]);
    world.now += 10;
    world.settle();
    assert_eq!(world.numbers(), [1, 1, 0, 1, 1, 0, 0]);
}

#[test]
fn a_failed_pod_is_replaced_with_growing_pauses() {
    let mut world = World::new(&["a"], json!({}));
    world.settle();
    let fail = |world: &mut World| {
        let name = world.pods[0].name_any();
        world.change(&name, |pod| pod.status.as_mut().unwrap().phase = Some("Failed".to_owned()));
    };
    fail(&mut world);
    assert_eq!(world.settle(), ["-1/a", "+a"]);
    fail(&mut world);
    let now = time(world.now).0;
    let waits = plan(&world.set, &world.nodes, &world.pods, "1", &mut world.patience, now);
    assert_eq!((waits.delete.len(), waits.again), (0, Some(Duration::from_secs(1))));
    world.now += 1;
    assert_eq!(world.settle(), ["-2/a", "+a"]);
}

#[test]
fn heartbeats_of_nodes_change_nothing_and_taints_do() {
    let known = Known::default();
    let mut one = (*node("a", json!([]))).clone();
    assert!(known.changed(&one, true));
    one.status = Some(k8s_openapi::api::core::v1::NodeStatus::default());
    assert!(!known.changed(&one, true));
    assert!(known.changed(&node("a", json!([{"key": "k", "effect": "NoSchedule"}])), true));
    assert!(known.changed(&one, false));
    assert!(!known.changed(&one, false));
}

proptest! {
    #[test]
    fn an_update_never_has_more_pods_missing_than_allowed_and_comes_to_its_end(
        nodes in 1..7_usize, unavailable in 1..4_usize, agents in prop::collection::vec(any::<bool>(), 0..40),
    ) {
        let names: Vec<_> = (0..nodes).map(|number| format!("n{number}")).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let strategy = json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": unavailable}});
        let mut world = World::new(&names, json!({"updateStrategy": strategy}));
        world.settle();
        world.hash = "2".to_owned();
        for agent in agents {
            if agent { world.agents() } else { world.sweep() }
            world.look();
            let well = world.pods.iter().filter(|pod| crate::pods::is_ready(pod) && pod.metadata.deletion_timestamp.is_none());
            prop_assert!(well.count() + unavailable >= nodes);
        }
        world.settle();
        prop_assert_eq!(world.pods.len(), nodes);
        prop_assert!(world.pods.iter().all(|pod| pod::hash_of(pod) == Some("2")));
    }
}
