//! The rules and the scores on small clusters, as tables; and that whatever comes, no node is ever given too much.

mod preemption;
mod promises;
mod rules;
mod scores;

use std::sync::Arc;

use serde_json::{Value, json};

use super::decide::decide;
use super::node::Facts;
use super::pending::Pending;
use super::pod::Footprint;
use super::reason::{Diagnosis, Fault, Reason, Rejection};
use super::snapshot::Snapshot;

/// A node with 4 cores, 8 GiB and room for 110 pods; `more` is merged in.
fn node(snapshot: &mut Snapshot, name: &str, more: Value) {
    let mut node = json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "ephemeral-storage": "20Gi", "pods": "110"}},
    });
    merge(&mut node, more);
    snapshot.set_node(name, Some(Facts::of(&serde_json::from_value(node).unwrap())));
}

/// A pod of namespace `n` that asks for nothing; `more` is merged in.
fn object(name: &str, more: Value) -> Value {
    let mut pod = json!({
        "metadata": {"name": name, "uid": name, "namespace": "n", "generation": 1},
        "spec": {"containers": [{"name": "c", "image": "busybox"}]},
    });
    merge(&mut pod, more);
    pod
}

fn pending(name: &str, more: Value) -> Pending {
    Pending::of(&serde_json::from_value(object(name, more)).unwrap()).unwrap()
}

fn placed(snapshot: &mut Snapshot, name: &str, node: &str, more: Value) {
    let pod = Footprint::of(&serde_json::from_value(object(name, more)).unwrap()).unwrap();
    snapshot.place(Arc::new(pod), node);
}

/// A spec whose only container requests this.
fn requests(list: Value) -> Value {
    json!({"spec": {"containers": [{"name": "c", "image": "busybox", "resources": {"requests": list}}]}})
}

fn merge(into: &mut Value, more: Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (key, value) in more {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, more) => *into = more,
    }
}

/// The node that is chosen, or why there is none.
fn choose(snapshot: &Snapshot, pod: &Pending) -> Result<String, Diagnosis> {
    decide(snapshot, pod, None, &mut fastrand::Rng::with_seed(7)).map(|name| name.to_string())
}

/// What a cluster with one node says of a pod.
fn verdict(snapshot: &Snapshot, pod: &Pending) -> Option<Rejection> {
    let diagnosis = choose(snapshot, pod).err()?;
    Some(diagnosis.nodes.into_values().next().unwrap())
}

fn fault(snapshot: &Snapshot, pod: &Pending) -> Option<Fault> {
    choose(snapshot, pod).err()?.fault
}

fn insufficient(resource: &str, hopeless: bool) -> Option<Rejection> {
    Some(Reason::Insufficient(resource.to_owned()).alone(hopeless))
}
