//! Stateful sets played through without an API.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// What an API holds: one set and its pods.
struct World {
    set: StatefulSet,
    revisions: Revisions,
    pods: Vec<Arc<Pod>>,
    made: usize,
    now: Timestamp,
}

fn revision(name: &str) -> Revision {
    let template =
        json!({"metadata": {"labels": {"app": "s"}}, "spec": {"containers": [{"name": "c", "image": name}]}});
    Revision { name: name.to_owned(), template: serde_json::from_value(template).unwrap() }
}

impl World {
    fn new(spec: Value) -> Self {
        let mut set = json!({
            "metadata": {"name": "s", "namespace": "n", "uid": "set", "generation": 1},
            "spec": {"selector": {"matchLabels": {"app": "s"}}, "serviceName": "svc", "template": {}},
        });
        set["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        Self {
            set: serde_json::from_value(set).unwrap(),
            revisions: Revisions { current: revision("s-1"), update: revision("s-1"), collisions: 0 },
            pods: Vec::new(),
            made: 0,
            now: Timestamp::from_second(1_000_000).unwrap(),
        }
    }

    fn plan(&self) -> Plan {
        plan(&self.set, &self.revisions, &self.pods, self.now)
    }

    /// Carries out one plan; what was done, as text.
    fn look(&mut self) -> Vec<String> {
        let plan = self.plan();
        let mut done = Vec::new();
        if plan.status.current_revision.as_ref() == Some(&self.revisions.update.name) {
            self.revisions.current = self.revisions.update.clone();
        }
        self.set.status = Some(plan.status);
        for (pod, why) in plan.delete {
            done.push(format!("-{} {why:?}", pod.name_any()));
            self.change(&pod.name_any(), |pod| pod.metadata.deletion_timestamp = Some(time(1_000_000)));
        }
        for (ordinal, old) in plan.create {
            let revision = if old { &self.revisions.current } else { &self.revisions.update };
            let mut pod = pod::make(&self.set, revision, ordinal);
            assert!(self.pods.iter().all(|other| other.name_any() != pod.name_any()), "two of one name");
            self.made += 1;
            pod.metadata.uid = Some(self.made.to_string());
            pod.status.get_or_insert_default().phase = Some("Pending".to_owned());
            done.push(format!("+{}", pod.name_any()));
            self.pods.push(Arc::new(pod));
        }
        done
    }

    fn change(&mut self, name: &str, change: impl FnOnce(&mut Pod)) {
        let pod = self.pods.iter_mut().find(|pod| pod.name_any() == name).unwrap();
        change(Arc::make_mut(pod));
    }

    /// The agents: pods that were bound run and are ready since now, pods that are deleted are gone.
    fn agents(&mut self) {
        self.pods.retain(|pod| pod.metadata.deletion_timestamp.is_none());
        let now = time(self.now.as_second());
        for pod in &mut self.pods {
            if phase(pod) == "Pending" {
                let status = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": now}]});
                Arc::make_mut(pod).status = serde_json::from_value(status).unwrap();
            }
        }
    }

    /// Looks and lets the agents work until nothing happens any more; all that was done.
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

    fn change_spec(&mut self, change: impl FnOnce(&mut k8s_openapi::api::apps::v1::StatefulSetSpec)) {
        change(self.set.spec.as_mut().unwrap());
    }

    fn status(&self) -> Value {
        serde_json::to_value(self.set.status.clone()).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.pods.iter().map(|pod| pod.name_any()).collect();
        names.sort();
        names
    }
}

fn time(second: i64) -> k8s_openapi::apimachinery::pkg::apis::meta::v1::Time {
    k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::from_second(second).unwrap())
}

#[test]
fn an_ordered_set_makes_one_pod_after_the_other_and_deletes_from_the_highest() {
    let mut world = World::new(json!({"replicas": 3}));
    assert_eq!(world.look(), ["+s-0"]);
    assert_eq!(world.look(), [""; 0]);
    assert_eq!(world.settle(), ["+s-1", "+s-2"]);
    let status = world.status();
    let numbers = ["replicas", "readyReplicas", "availableReplicas", "currentReplicas", "updatedReplicas"];
    assert_eq!(numbers.map(|field| status[field].clone()), [3, 3, 3, 3, 3].map(Value::from));
    assert_eq!((&status["currentRevision"], &status["collisionCount"]), (&json!("s-1"), &json!(0)));
    world.change_spec(|spec| spec.replicas = Some(1));
    assert_eq!(world.look(), ["-s-2 Surplus"]);
    assert_eq!(world.look(), [""; 0]);
    assert_eq!(world.settle(), ["-s-1 Surplus"]);
}

#[test]
fn a_pod_has_its_name_its_labels_its_host_name_and_its_volumes() {
    let claim = json!([{"metadata": {"name": "data", "labels": {"a": "b"}}, "spec": {"accessModes": ["ReadWriteOnce"]}}]);
    let world = World::new(json!({"replicas": 1, "volumeClaimTemplates": claim}));
    let pod = serde_json::to_value(pod::make(&world.set, &world.revisions.update, 4)).unwrap();
    assert_eq!(pod["metadata"]["name"], "s-4");
    let labels = json!({"app": "s", "statefulset.kubernetes.io/pod-name": "s-4", "apps.kubernetes.io/pod-index": "4", "controller-revision-hash": "s-1"});
    assert_eq!(pod["metadata"]["labels"], labels);
    assert_eq!((&pod["spec"]["hostname"], &pod["spec"]["subdomain"]), (&json!("s-4"), &json!("svc")));
    assert_eq!(
        pod["spec"]["volumes"],
        json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data-s-4", "readOnly": false}}])
    );
    let (_, claim) = pod::claims(&world.set, 4).remove(0);
    assert_eq!(
        claim.metadata.labels,
        Some([("a".to_owned(), "b".to_owned()), ("app".to_owned(), "s".to_owned())].into())
    );
}

#[test]
fn a_parallel_set_does_all_at_once() {
    let mut world =
        World::new(json!({"replicas": 3, "podManagementPolicy": "Parallel", "ordinals": {"start": 5}}));
    assert_eq!(world.look(), ["+s-5", "+s-6", "+s-7"]);
    world.agents();
    world.change_spec(|spec| spec.replicas = Some(1));
    assert_eq!(world.look(), ["-s-7 Surplus", "-s-6 Surplus"]);
}

#[test]
fn a_pod_that_is_gone_comes_back_under_its_name_and_one_that_ended_is_replaced() {
    let mut world = World::new(json!({"replicas": 2}));
    world.settle();
    world.change("s-0", |pod| pod.metadata.deletion_timestamp = Some(time(1_000_000)));
    assert_eq!(world.look(), [""; 0], "it is still there");
    world.agents();
    assert_eq!(world.settle(), ["+s-0"]);
    world.change("s-1", |pod| pod.status.as_mut().unwrap().phase = Some("Failed".to_owned()));
    assert_eq!(world.settle(), ["-s-1 Ended", "+s-1"]);
}

#[test]
fn an_update_goes_down_from_the_highest_to_the_partition() {
    let mut world = World::new(
        json!({"replicas": 3, "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}}),
    );
    world.settle();
    world.revisions.update = revision("s-2");
    assert_eq!(world.settle(), ["-s-2 Outdated", "+s-2", "-s-1 Outdated", "+s-1"]);
    let status = world.status();
    assert_eq!((&status["currentRevision"], &status["updateRevision"]), (&json!("s-1"), &json!("s-2")));
    assert_eq!((&status["currentReplicas"], &status["updatedReplicas"]), (&json!(1), &json!(2)));
    // Below the partition, a pod comes back as it was.
    world.change("s-0", |pod| pod.metadata.deletion_timestamp = Some(time(1_000_000)));
    world.agents();
    assert_eq!(world.settle(), ["+s-0"]);
    let old = world.pods.iter().find(|pod| pod.name_any() == "s-0").unwrap();
    assert_eq!(plan::revision_of(old).unwrap(), "s-1");
    world.change_spec(|spec| {
        spec.update_strategy.as_mut().unwrap().rolling_update.as_mut().unwrap().partition = Some(0);
    });
    assert_eq!(world.settle(), ["-s-0 Outdated", "+s-0"]);
    assert_eq!(world.status()["currentRevision"], "s-2");
}

#[test]
fn an_update_waits_for_a_pod_that_is_not_well_and_on_delete_waits_for_the_user() {
    let mut world = World::new(json!({"replicas": 3, "minReadySeconds": 10}));
    for second in [0, 10, 20, 30] {
        world.now = Timestamp::from_second(1_000_000 + second).unwrap();
        world.settle();
    }
    assert_eq!(world.names(), ["s-0", "s-1", "s-2"]);
    world.revisions.update = revision("s-2");
    assert_eq!(world.settle(), ["-s-2 Outdated", "+s-2"]);
    assert_eq!(world.plan().again, Some(Duration::from_secs(10)));
    world.now = Timestamp::from_second(1_000_040).unwrap();
    assert_eq!(world.settle(), ["-s-1 Outdated", "+s-1"]);
    let mut world = World::new(json!({"replicas": 2, "updateStrategy": {"type": "OnDelete"}}));
    world.settle();
    world.revisions.update = revision("s-2");
    assert_eq!(world.settle(), [""; 0]);
    world.change("s-0", |pod| pod.metadata.deletion_timestamp = Some(time(1_000_000)));
    world.agents();
    world.settle();
    let new = world.pods.iter().find(|pod| pod.name_any() == "s-0").unwrap();
    assert_eq!(plan::revision_of(new).unwrap(), "s-2");
}

#[test]
fn more_than_one_may_be_replaced_at_once_if_the_set_says_so() {
    let mut world = World::new(json!({"replicas": 4, "podManagementPolicy": "Parallel",
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "50%"}}}));
    world.settle();
    world.revisions.update = revision("s-2");
    assert_eq!(world.look(), ["-s-3 Outdated", "-s-2 Outdated"]);
    assert_eq!(world.look(), [""; 0]);
}

proptest! {
    #[test]
    fn an_ordered_set_never_has_two_pods_in_the_making_and_ends_as_wanted(
        steps in prop::collection::vec((0..5_i32, 0..4_usize, 0..5_usize, 0..3_usize), 0..40), last in 0..5_i32,
    ) {
        let mut world = World::new(json!({"replicas": 3}));
        for (replicas, action, which, update) in steps {
            match action {
                0 => world.change_spec(|spec| spec.replicas = Some(replicas)),
                1 => world.agents(),
                2 => world.revisions.update = revision(&format!("s-{update}")),
                _ if world.pods.is_empty() => {}
                _ => {
                    let name = world.pods[which % world.pods.len()].name_any();
                    world.change(&name, |pod| pod.metadata.deletion_timestamp = Some(time(1_000_000)));
                }
            }
            prop_assert!(world.look().len() <= 1);
            prop_assert!(world.pods.iter().filter(|pod| phase(pod) == "Pending").count() <= 1);
        }
        world.change_spec(|spec| spec.replicas = Some(last));
        world.settle();
        world.settle();
        prop_assert_eq!(world.names(), (0..last).map(|number| format!("s-{number}")).collect::<Vec<_>>());
        let newest = world.revisions.update.name.clone();
        prop_assert!(world.pods.iter().all(|pod| plan::revision_of(pod) == Some(&newest)));
    }
}
