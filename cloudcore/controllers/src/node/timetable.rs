//! Which pods have to leave tainted nodes, and when. Pure.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Taint, Toleration};
use tokio::time::Instant;

use super::taints::NO_EXECUTE;

/// A pod: namespace, name and uid.
pub(super) type Id = (String, String, String);

/// How long a pod bears the taints of its node: none for ever.
pub(super) fn patience(taints: &[Taint], tolerations: &[Toleration]) -> Option<Duration> {
    let mut shortest: Option<Duration> = None;
    for taint in taints.iter().filter(|taint| taint.effect == NO_EXECUTE) {
        let Some(toleration) = tolerations.iter().find(|toleration| tolerates(toleration, taint)) else {
            return Some(Duration::ZERO);
        };
        if let Some(seconds) = toleration.toleration_seconds {
            let time = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
            shortest = Some(shortest.map_or(time, |shortest| shortest.min(time)));
        }
    }
    shortest
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let (effect, key) = (text(&toleration.effect), text(&toleration.key));
    if (!effect.is_empty() && effect != taint.effect) || (!key.is_empty() && key != taint.key) {
        return false;
    }
    match toleration.operator.as_deref().unwrap_or_default() {
        "Exists" => true,
        "" | "Equal" => text(&toleration.value) == text(&taint.value),
        _ => false,
    }
}

/// The pods that have to go, by when.
#[derive(Default)]
pub(super) struct Timetable {
    /// Since when, and until when, each pod bears it.
    pods: HashMap<Id, (Instant, Instant)>,
    due: BTreeSet<(Instant, Id)>,
}

impl Timetable {
    /// A pod bears its node's taints for `patience` since `since`, or since it was first told so. The answer is whether it had a time and
    /// has none any more.
    pub(super) fn set(&mut self, pod: &Id, patience: Option<Duration>, since: Instant) -> bool {
        let before = self.pods.remove(pod);
        if let Some((_, until)) = before {
            self.due.remove(&(until, pod.clone()));
        }
        let Some(patience) = patience else { return before.is_some() };
        let since = before.map_or(since, |(since, _)| since);
        let until = since + patience;
        self.pods.insert(pod.clone(), (since, until));
        self.due.insert((until, pod.clone()));
        false
    }

    /// A pod whose time has come; it is in the table no more.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Id> {
        let (until, pod) = self.due.first().filter(|(until, _)| *until <= now)?.clone();
        self.due.remove(&(until, pod.clone()));
        self.pods.remove(&pod);
        Some(pod)
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(until, _)| *until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taint(key: &str, effect: &str) -> Taint {
        Taint { key: key.to_owned(), effect: effect.to_owned(), ..Taint::default() }
    }

    fn exists(key: &str, seconds: Option<i64>) -> Toleration {
        Toleration {
            key: Some(key.to_owned()).filter(|key| !key.is_empty()),
            operator: Some("Exists".to_owned()),
            toleration_seconds: seconds,
            ..Toleration::default()
        }
    }

    #[test]
    fn the_shortest_toleration_counts_and_one_taint_that_is_not_tolerated_is_enough() {
        let (a, b) = (taint("a", NO_EXECUTE), taint("b", NO_EXECUTE));
        let bears = |taints: &[Taint], tolerations: &[Toleration]| {
            patience(taints, tolerations).map(|time| time.as_secs())
        };
        assert_eq!(bears(&[], &[]), None);
        assert_eq!(bears(&[taint("a", "NoSchedule")], &[]), None);
        assert_eq!(bears(std::slice::from_ref(&a), &[]), Some(0));
        assert_eq!(bears(std::slice::from_ref(&a), &[exists("a", Some(300))]), Some(300));
        assert_eq!(bears(std::slice::from_ref(&a), &[exists("a", Some(-1))]), Some(0));
        assert_eq!(
            bears(&[a.clone(), b.clone()], &[exists("a", Some(300)), exists("b", Some(20))]),
            Some(20)
        );
        assert_eq!(bears(&[a.clone(), b.clone()], &[exists("a", None)]), Some(0));
        assert_eq!(bears(&[a, b], &[exists("", None)]), None);
    }

    #[test]
    fn time_runs_from_when_a_pod_was_first_told() {
        let (mut table, now) = (Timetable::default(), Instant::now());
        let pod: Id = ("ns".into(), "p".into(), "1".into());
        let seconds = Duration::from_secs;
        assert!(!table.set(&pod, Some(seconds(30)), now));
        assert!(!table.set(&pod, Some(seconds(30)), now + seconds(20)));
        assert_eq!(table.pop(now + seconds(29)), None);
        assert_eq!(table.next_due(), Some(now + seconds(30)));
        assert_eq!(table.pop(now + seconds(30)), Some(pod.clone()));
        assert_eq!(table.pop(now + seconds(30)), None);
        assert!(!table.set(&pod, None, now));
        table.set(&pod, Some(seconds(30)), now);
        assert!(table.set(&pod, None, now));
        assert!(!table.set(&pod, None, now));
    }
}
