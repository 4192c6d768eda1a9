//! Which nodes live, and what follows for those that do not. Pure: nodes, signs of life and a clock go in, effects come out.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeCondition, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};
use kube::ResourceExt;
use serde_json::Value;
use tokio::time::Instant;

use super::zones::{Turn, Zones, counts, zone};
use super::{dress, taints};
use crate::cache::uid_of;

/// The conditions that only the node itself knows.
const CONDITIONS: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// How long silence is borne.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// After the last sign of life.
    pub(super) grace: Duration,
    /// Before the first status.
    pub(super) startup_grace: Duration,
    /// How often nodes are looked at. A longer gap means that it was us who slept.
    pub(super) period: Duration,
}

/// Both clocks: one for durations, one for what is written down.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) instant: Instant,
    pub(super) wall: Timestamp,
}

/// What is to be done.
#[derive(Clone, Debug)]
pub(super) enum Effect {
    /// Tell that a node is new.
    Registered(Arc<Node>),
    /// Tell that a node's object is gone.
    Removed(Arc<Node>),
    /// Say in these conditions that nothing is known about the node, and tell.
    Silent { node: Arc<Node>, conditions: Vec<NodeCondition>, was_ready: bool },
    /// Say of its pods that they are not ready.
    PodsNotReady(Arc<Node>),
    /// Give it exactly these taints.
    Taint { node: Arc<Node>, taints: Vec<Taint> },
    /// Change its metadata.
    Dress { node: Arc<Node>, change: Value },
}

/// What is remembered of a node.
struct Health {
    node: Arc<Node>,
    heard: Instant,
    heartbeat: Option<Time>,
    renewed: Option<MicroTime>,
    spoke: bool,
}

/// All nodes.
pub(super) struct Monitor {
    rules: Rules,
    nodes: HashMap<String, Health>,
    zones: Zones,
    /// Nodes whose pods have yet to be said not to be ready.
    pods_to_mark: HashSet<String>,
    /// Nodes whose pods may be driven off.
    expelled: HashSet<String>,
    last: Option<Instant>,
}

fn ready(node: &Node) -> Option<&NodeCondition> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == "Ready")
}

// === impl Monitor ===

impl Monitor {
    pub(super) fn new(rules: Rules) -> Self {
        Self {
            rules,
            nodes: HashMap::new(),
            zones: Zones::default(),
            pods_to_mark: HashSet::new(),
            expelled: HashSet::new(),
            last: None,
        }
    }

    /// The lease of a node is in this state.
    pub(super) fn lease(&mut self, node: &str, renewed: Option<&MicroTime>, now: Instant) {
        if let Some(health) = self.nodes.get_mut(node)
            && renewed > health.renewed.as_ref()
        {
            health.renewed = renewed.cloned();
            health.heard = now;
        }
    }

    /// The pods of a node could not all be marked.
    pub(super) fn again(&mut self, node: &str) {
        self.pods_to_mark.insert(node.to_owned());
    }

    /// One look at all nodes.
    pub(super) fn step(&mut self, nodes: &[Arc<Node>], now: Now) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.make_up_for_sleep(now.instant);
        self.come_and_go(nodes, now, &mut effects);

        let mut health: BTreeMap<String, (usize, usize)> = BTreeMap::new();
        let mut current: Vec<(Arc<Node>, bool)> = Vec::new();
        for node in nodes {
            let silent = self.is_silent(node, now.instant).then(|| silenced(node, now.wall)).flatten();
            let is_ready = taints::is_ready(node) && silent.is_none();
            if let Some(conditions) = silent {
                let was_ready = taints::is_ready(node);
                let node = Arc::clone(node);
                if was_ready {
                    self.pods_to_mark.insert(node.name_any());
                }
                effects.push(Effect::Silent { node, conditions, was_ready });
            } else {
                current.push((Arc::clone(node), is_ready));
            }
            if counts(node) {
                let (ready, others) = health.entry(zone(node)).or_default();
                *(if is_ready { ready } else { others }) += 1;
            }
        }
        match self.zones.judge(&health) {
            Turn::Nothing => {}
            Turn::AllLost => self.expelled.clear(),
            Turn::Back => self.nodes.values_mut().for_each(|health| health.heard = now.instant),
        }
        self.expel(&current, now.instant);

        let time = Time(seconds(now.wall));
        for (node, is_ready) in current {
            let name = node.name_any();
            if !is_ready && self.pods_to_mark.remove(&name) {
                effects.push(Effect::PodsNotReady(Arc::clone(&node)));
            }
            if let Some(taints) = taints::wanted(&node, self.expelled.contains(&name), &time) {
                effects.push(Effect::Taint { node: Arc::clone(&node), taints });
            }
            if let Some(change) = dress::missing(&node, nodes.len()) {
                effects.push(Effect::Dress { node, change });
            }
        }
        effects
    }

    /// When the next look is due, if nothing happens before.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let silences =
            self.nodes.values().filter(|health| ready(&health.node).is_none_or(|r| r.status != "Unknown"));
        let silences =
            silences.map(|health| health.heard + self.grace(&health.node) + Duration::from_millis(1));
        silences.chain(self.zones.next_due()).min()
    }

    fn grace(&self, node: &Node) -> Duration {
        if ready(node).is_some() { self.rules.grace } else { self.rules.startup_grace }
    }

    /// While this process slept, nobody could be heard.
    fn make_up_for_sleep(&mut self, now: Instant) {
        if let Some(last) = self.last.replace(now) {
            let slept = now.duration_since(last).saturating_sub(self.rules.period * 2);
            self.nodes.values_mut().for_each(|health| health.heard += slept);
        }
    }

    fn come_and_go(&mut self, nodes: &[Arc<Node>], now: Now, effects: &mut Vec<Effect>) {
        let mut gone: HashSet<String> = self.nodes.keys().cloned().collect();
        for node in nodes {
            let name = node.name_any();
            gone.remove(&name);
            let heartbeat = ready(node).and_then(|ready| ready.last_heartbeat_time.clone());
            let spoke = ready(node).is_some();
            let known = self.nodes.get_mut(&name).filter(|health| uid_of(&*health.node) == uid_of(&**node));
            if let Some(health) = known {
                if spoke != health.spoke || heartbeat != health.heartbeat {
                    health.heard = now.instant;
                }
                (health.spoke, health.heartbeat, health.node) = (spoke, heartbeat, Arc::clone(node));
                continue;
            }
            effects.push(Effect::Registered(Arc::clone(node)));
            // After a restart, whatever was missed is made up for.
            if ready(node).is_some_and(|ready| ready.status != "True") {
                self.pods_to_mark.insert(name.clone());
            }
            if taints::expels(node) {
                self.expelled.insert(name.clone());
            }
            let health =
                Health { node: Arc::clone(node), heard: now.instant, heartbeat, renewed: None, spoke };
            if let Some(before) = self.nodes.insert(name, health) {
                effects.push(Effect::Removed(before.node));
            }
        }
        for name in gone {
            self.pods_to_mark.remove(&name);
            self.expelled.remove(&name);
            if let Some(health) = self.nodes.remove(&name) {
                self.zones.dequeue(&zone(&health.node), &name);
                effects.push(Effect::Removed(health.node));
            }
        }
    }

    fn is_silent(&self, node: &Node, now: Instant) -> bool {
        let health = self.nodes.get(&node.name_any());
        health.is_some_and(|health| now > health.heard + self.grace(node))
    }

    /// Whose pods may be driven off from now on, and whose may not any more.
    fn expel(&mut self, nodes: &[(Arc<Node>, bool)], now: Instant) {
        let lost = self.zones.all_lost();
        for (node, _) in nodes {
            let name = node.name_any();
            if taints::expelling(node).is_none() || lost {
                self.expelled.remove(&name);
                self.zones.dequeue(&zone(node), &name);
            } else if !self.expelled.contains(&name) {
                self.zones.enqueue(&zone(node), &name);
            }
        }
        self.expelled.extend(self.zones.due(now));
    }
}

/// The conditions of a node of which nothing is known; none if they say so already.
fn silenced(node: &Node, now: Timestamp) -> Option<Vec<NodeCondition>> {
    if ready(node).is_some_and(|ready| ready.status == "Unknown") {
        return None;
    }
    let mut conditions =
        node.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    let now = Time(seconds(now));
    for kind in CONDITIONS {
        match conditions.iter_mut().find(|condition| condition.type_ == kind) {
            None => conditions.push(NodeCondition {
                type_: kind.to_owned(),
                status: "Unknown".to_owned(),
                reason: Some("NodeStatusNeverUpdated".to_owned()),
                message: Some("Kubelet never posted node status.".to_owned()),
                last_heartbeat_time: node.metadata.creation_timestamp.clone(),
                last_transition_time: Some(now.clone()),
            }),
            Some(condition) if condition.status != "Unknown" => {
                condition.status = "Unknown".to_owned();
                condition.reason = Some("NodeStatusUnknown".to_owned());
                condition.message = Some("Kubelet stopped posting node status.".to_owned());
                condition.last_transition_time = Some(now.clone());
            }
            Some(_) => {}
        }
    }
    Some(conditions)
}

/// Kubernetes writes whole seconds.
pub(super) fn seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

#[cfg(test)]
mod tests;
