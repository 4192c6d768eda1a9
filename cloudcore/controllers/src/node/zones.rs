//! How much of a zone is unhealthy, and how fast pods may be driven off its nodes for that. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use tokio::time::Instant;

/// From this share of nodes that are not ready, but not from one or two, it rather is the network.
const PARTIAL: f64 = 0.55;
/// Zones up to this size are left alone in a partial disruption, larger ones are slow.
const LARGE: usize = 50;
/// Between two nodes of a zone whose pods are driven off (Kubernetes: 0.1 nodes a second, and 0.01).
const USUAL: Duration = Duration::from_secs(10);
const SLOW: Duration = Duration::from_secs(100);

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum State {
    #[default]
    Normal,
    Partial,
    Full,
}

#[derive(Debug)]
struct Zone {
    state: State,
    /// None: not at all.
    every: Option<Duration>,
    last: Option<Instant>,
    queue: BTreeSet<String>,
}

/// All zones.
#[derive(Debug, Default)]
pub(super) struct Zones(BTreeMap<String, Zone>);

/// What the health of all zones together came to.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Turn {
    Nothing,
    /// Nobody is ready any more: it rather is us. Drive off nobody.
    AllLost,
    /// Somebody is ready again: everybody gets time to be heard.
    Back,
}

/// Region and zone of a node.
pub(super) fn zone(node: &Node) -> String {
    let label = |name: &str| node.labels().get(name).map_or("", String::as_str);
    format!("{}:{}", label("topology.kubernetes.io/region"), label("topology.kubernetes.io/zone"))
}

/// Whether the node counts for the health of its zone.
pub(super) fn counts(node: &Node) -> bool {
    !node.labels().contains_key("node.kubernetes.io/exclude-disruption")
}

fn state(ready: usize, others: usize) -> State {
    if ready == 0 && others > 0 {
        State::Full
    } else if others > 2 && others as f64 / (ready + others) as f64 >= PARTIAL {
        State::Partial
    } else {
        State::Normal
    }
}

// === impl Zones ===

impl Zones {
    fn of(&mut self, zone: &str) -> &mut Zone {
        self.0.entry(zone.to_owned()).or_insert_with(|| Zone {
            state: State::Normal,
            every: Some(USUAL),
            last: None,
            queue: BTreeSet::new(),
        })
    }

    /// The pods of a node are to be driven off, as soon as its zone may.
    pub(super) fn enqueue(&mut self, zone: &str, node: &str) {
        self.of(zone).queue.insert(node.to_owned());
    }

    /// They are not, any more.
    pub(super) fn dequeue(&mut self, zone: &str, node: &str) {
        self.of(zone).queue.remove(node);
    }

    /// The nodes whose turn it is.
    pub(super) fn due(&mut self, now: Instant) -> Vec<String> {
        let mut due = Vec::new();
        for zone in self.0.values_mut() {
            let Some(every) = zone.every else { continue };
            if zone.last.is_none_or(|last| now >= last + every)
                && let Some(node) = zone.queue.pop_first()
            {
                zone.last = Some(now);
                due.push(node);
            }
        }
        due
    }

    /// When the next turn is.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let waiting = self.0.values().filter(|zone| !zone.queue.is_empty());
        waiting.filter_map(|zone| Some(zone.last? + zone.every?)).min()
    }

    /// Takes in how many nodes of each zone are ready, and how many are not.
    pub(super) fn judge(&mut self, health: &BTreeMap<String, (usize, usize)>) -> Turn {
        self.0.retain(|name, zone| health.contains_key(name) || !zone.queue.is_empty());
        let was_lost = !self.0.is_empty()
            && self.0.values().all(|zone| zone.state == State::Full && zone.every.is_none());
        let states: Vec<_> = health
            .iter()
            .map(|(zone, (ready, others))| (zone, state(*ready, *others), ready + others))
            .collect();
        let is_lost = !states.is_empty() && states.iter().all(|(_, state, _)| *state == State::Full);
        for (name, state, size) in states {
            let zone = self.of(name);
            zone.state = state;
            zone.every = match state {
                State::Full if is_lost => None,
                State::Normal | State::Full => Some(USUAL),
                State::Partial if size > LARGE => Some(SLOW),
                State::Partial => None,
            };
            if is_lost {
                zone.queue.clear();
            }
        }
        match (was_lost, is_lost) {
            (false, true) => Turn::AllLost,
            (true, false) => Turn::Back,
            _ => Turn::Nothing,
        }
    }

    /// Whether everything is lost.
    pub(super) fn all_lost(&self) -> bool {
        !self.0.is_empty() && self.0.values().all(|zone| zone.state == State::Full && zone.every.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health(zones: &[(&str, usize, usize)]) -> BTreeMap<String, (usize, usize)> {
        zones.iter().map(|(zone, ready, others)| ((*zone).to_owned(), (*ready, *others))).collect()
    }

    #[test]
    fn nodes_of_a_zone_take_turns() {
        let (mut zones, now) = (Zones::default(), Instant::now());
        zones.judge(&health(&[("a", 3, 2)]));
        zones.enqueue("a", "x");
        zones.enqueue("a", "y");
        assert_eq!(zones.due(now), ["x"]);
        assert_eq!(zones.due(now), Vec::<String>::new());
        assert_eq!(zones.next_due(), Some(now + USUAL));
        assert_eq!(zones.due(now + USUAL), ["y"]);
    }

    #[test]
    fn when_nobody_is_ready_nobody_is_driven_off_and_all_get_time_when_somebody_is_back() {
        let (mut zones, now) = (Zones::default(), Instant::now());
        assert_eq!(zones.judge(&health(&[("a", 1, 0), ("b", 1, 1)])), Turn::Nothing);
        assert_eq!(zones.judge(&health(&[("a", 0, 1), ("b", 0, 2)])), Turn::AllLost);
        zones.enqueue("a", "x");
        assert_eq!((zones.due(now), zones.next_due()), (Vec::new(), None));
        assert_eq!(zones.judge(&health(&[("a", 0, 1), ("b", 0, 2)])), Turn::Nothing);
        assert_eq!(zones.judge(&health(&[("a", 1, 0), ("b", 0, 2)])), Turn::Back);
        assert!(!zones.all_lost());
    }

    #[test]
    fn a_disrupted_zone_is_left_alone_when_small_and_slow_when_large() {
        let mut zones = Zones::default();
        zones.judge(&health(&[("small", 2, 3), ("large", 40, 60), ("two", 0, 2)]));
        assert_eq!(zones.of("small").every, None);
        assert_eq!(zones.of("large").every, Some(SLOW));
        assert_eq!(zones.of("two").every, Some(USUAL));
    }
}
