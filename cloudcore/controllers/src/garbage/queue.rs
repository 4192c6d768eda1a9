//! What the collector has still to do: each piece once, never twice at the same time, later again after a failure.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::time::Duration;

use tokio::time::Instant;

/// First and longest pause between attempts (Kubernetes' DefaultTypedControllerRateLimiter).
const FIRST: Duration = Duration::from_millis(5);
const LONGEST: Duration = Duration::from_secs(1000);

/// Bounded by what it is about: a piece of work is in it once at most.
pub(super) struct Queue<W> {
    ready: VecDeque<W>,
    waiting: HashSet<W>,
    working: HashSet<W>,
    /// Asked for while it was being worked on.
    again: HashSet<W>,
    later: BTreeMap<(Instant, u64), W>,
    failures: HashMap<W, u32>,
    serial: u64,
}

impl<W> Default for Queue<W> {
    fn default() -> Self {
        Self {
            ready: VecDeque::new(),
            waiting: HashSet::new(),
            working: HashSet::new(),
            again: HashSet::new(),
            later: BTreeMap::new(),
            failures: HashMap::new(),
            serial: 0,
        }
    }
}

impl<W: Clone + Eq + Hash> Queue<W> {
    pub(super) fn push(&mut self, work: W) {
        if self.working.contains(&work) {
            self.again.insert(work);
        } else if self.waiting.insert(work.clone()) {
            self.ready.push_back(work);
        }
    }

    /// What to do next. To be followed by one of `done` and `failed`.
    pub(super) fn pop(&mut self, now: Instant) -> Option<W> {
        while let Some(entry) = self.later.first_entry().filter(|entry| entry.key().0 <= now) {
            let work = entry.remove();
            self.push(work);
        }
        let work = self.ready.pop_front()?;
        self.waiting.remove(&work);
        self.working.insert(work.clone());
        Some(work)
    }

    /// When something is due that is not ready yet.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.later.first_key_value().map(|((due, _), _)| *due)
    }

    /// It need not be done again.
    pub(super) fn done(&mut self, work: &W) {
        self.failures.remove(work);
        self.end(work);
    }

    /// It has to be done again, after a pause that grows.
    pub(super) fn failed(&mut self, work: &W, now: Instant) -> Duration {
        let failures = self.failures.entry(work.clone()).or_default();
        let pause = FIRST.saturating_mul(1 << (*failures).min(20)).min(LONGEST);
        *failures += 1;
        self.serial += 1;
        self.later.insert((now + pause, self.serial), work.clone());
        self.end(work);
        pause
    }

    fn end(&mut self, work: &W) {
        self.working.remove(work);
        if self.again.remove(work) {
            self.push(work.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_done_once_at_a_time_and_again_when_asked_for_meanwhile() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.push("a");
        queue.push("a");
        assert_eq!(queue.pop(now), Some("a"));
        assert_eq!(queue.pop(now), None);
        queue.push("a");
        assert_eq!(queue.pop(now), None);
        queue.done(&"a");
        assert_eq!(queue.pop(now), Some("a"));
        queue.done(&"a");
        assert_eq!(queue.pop(now), None);
    }

    #[test]
    fn failures_are_tried_again_later_and_later() {
        let (mut queue, mut now) = (Queue::default(), Instant::now());
        queue.push("a");
        for millis in [5, 10, 20] {
            assert_eq!(queue.pop(now), Some("a"));
            assert_eq!(queue.failed(&"a", now), Duration::from_millis(millis));
            assert_eq!(queue.pop(now), None);
            now = queue.next_due().unwrap();
        }
        assert_eq!(queue.pop(now), Some("a"));
        queue.done(&"a");
        assert_eq!(queue.next_due(), None);
    }
}
