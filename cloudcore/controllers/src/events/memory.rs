//! What was told, and what of a note is therefore to be written. No I/O.
//!
//! Source: Kubernetes v1.36 `client-go/tools/events/event_broadcaster.go`: an event that comes again becomes a series, which is written
//! at once; from then on it is counted, and written every half an hour, so that it does not expire while it goes on.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroUsize;

use jiff::{SignedDuration, Timestamp};
use lru::LruCache;

use super::Note;
use super::similar::Similar;

/// Objects and topics that are remembered (client-go: 4096).
pub(super) const REMEMBERED: usize = 4096;
/// Events whose repetitions are recognised: one for each of this many pods that find no node. Some 100 bytes each.
const REPEATED: NonZeroUsize = NonZeroUsize::new(32 * 1024).unwrap();
/// How many events one object may have at once, and after how many seconds it may have one more.
const BURST: f64 = 25.0;
const REFILL: f64 = 300.0;
/// A series is over when nothing was told for this long (client-go: `finishTime`).
const OVER: SignedDuration = SignedDuration::from_mins(6);
/// How often a series is written that goes on (client-go: `refreshTime`).
const REFRESH: SignedDuration = SignedDuration::from_mins(30);

/// What is to be done about a note.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Step {
    /// It is counted.
    Nothing,
    /// It is told for the first time.
    Create,
    /// The event that is there says how often it was.
    Repeat(Written),
}

/// What is known of an event.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Written {
    /// When it was told first: part of its name.
    pub(super) first: Timestamp,
    pub(super) count: i32,
    /// Whether the process before this one wrote it: its name is not known then.
    before: bool,
    last: Timestamp,
    written: Timestamp,
}

/// A bucket of the rate limit: what is left, and when that was.
struct Allowance {
    left: f64,
    at: Timestamp,
}

pub(super) struct Memory {
    pub(super) similar: Similar,
    /// By the hash of what makes two events the same.
    written: LruCache<u64, Written>,
    hashes: RandomState,
    allowances: HashMap<(&'static str, Option<String>), Allowance>,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            similar: Similar::default(),
            // It takes memory as it fills.
            written: LruCache::unbounded(),
            hashes: RandomState::new(),
            allowances: HashMap::new(),
        }
    }
}

impl Memory {
    /// Whether the object may have one more event.
    pub(super) fn allows(&mut self, note: &Note) -> bool {
        if self.allowances.len() >= REMEMBERED {
            self.allowances.retain(|_, allowance| (note.at.as_second() - allowance.at.as_second()) < 300);
            if self.allowances.len() >= REMEMBERED {
                self.allowances.clear();
            }
        }
        let key = (note.component, note.about.uid.clone());
        let allowance = self.allowances.entry(key).or_insert(Allowance { left: BURST, at: note.at });
        let passed = note.at.duration_since(allowance.at).as_secs_f64().max(0.0);
        allowance.left = (allowance.left + passed / REFILL).min(BURST);
        allowance.at = note.at;
        let allowed = allowance.left >= 1.0;
        if allowed {
            allowance.left -= 1.0;
        }
        allowed
    }

    /// What is to be done about a note.
    pub(super) fn step(&mut self, note: &Note) -> Step {
        let key = self.key(note);
        if note.written {
            self.remember(key, Written { before: true, ..Written::new(note.at) });
            return Step::Nothing;
        }
        let Some(known) = self.written.get_mut(&key) else { return Step::Create };
        let is_series = note.act.is_some();
        if is_series && note.at.duration_since(known.last) > OVER {
            return Step::Create;
        }
        known.count = known.count.saturating_add(1);
        known.last = note.at;
        let due = note.at.duration_since(known.written) >= REFRESH;
        match (known.before, is_series && known.count > 2) {
            (true, _) if due => return Step::Create,
            (true, _) => return Step::Nothing,
            (false, true) if !due => return Step::Nothing,
            (false, _) => {}
        }
        known.written = note.at;
        Step::Repeat(*known)
    }

    /// The note is an event now.
    pub(super) fn created(&mut self, note: &Note) {
        let key = self.key(note);
        self.remember(key, Written::new(note.at));
    }

    fn remember(&mut self, key: u64, written: Written) {
        if self.written.len() >= REPEATED.get() {
            self.written.pop_lru();
        }
        self.written.put(key, written);
    }

    fn key(&self, note: &Note) -> u64 {
        let about = &note.about;
        let message = (!note.combined).then_some(&note.message);
        let object = (&about.uid, &about.kind, &about.namespace, &about.name);
        let action = note.act.as_ref().map(|act| act.action);
        self.hashes.hash_one((note.component, object, note.severity, note.reason, action, message))
    }
}

impl Written {
    fn new(at: Timestamp) -> Self {
        Self { first: at, count: 1, before: false, last: at, written: at }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::series::Act;
    use super::super::tests::note;
    use super::*;

    fn in_series(uid: &str, second: i64) -> Note {
        let act = Act { action: "Scheduling", instance: Arc::from("i"), related: None };
        Note { act: Some(act), ..note(uid, second) }
    }

    /// The count that is written, if one is; 1 is a new event.
    fn count(memory: &mut Memory, note: &Note) -> Option<i32> {
        match memory.step(note) {
            Step::Nothing => None,
            Step::Create => {
                memory.created(note);
                Some(1)
            }
            Step::Repeat(written) => Some(written.count),
        }
    }

    #[test]
    fn an_object_that_shouts_is_heard_25_times_and_then_every_5_minutes() {
        let mut memory = Memory::default();
        assert_eq!((0..100).filter(|_| memory.allows(&note("loud", 0))).count(), 25);
        assert!(memory.allows(&note("quiet", 0)));
        assert!(!memory.allows(&note("loud", 299)));
        assert!(memory.allows(&note("loud", 301)));
        assert!(!memory.allows(&note("loud", 302)));
    }

    #[test]
    fn a_series_is_written_twice_and_then_every_half_an_hour() {
        let mut memory = Memory::default();
        let written: Vec<_> =
            (0..16).filter_map(|n| count(&mut memory, &in_series("p", n * 300)).map(|c| (n, c))).collect();
        assert_eq!(written, [(0, 1), (1, 2), (7, 8), (13, 14)]);
        assert_eq!(
            count(&mut memory, &in_series("p", 15 * 300 + 361)),
            Some(1),
            "one that was over begins anew"
        );
    }

    #[test]
    fn the_older_style_says_each_time_how_often_it_was() {
        let mut memory = Memory::default();
        let counts: Vec<_> = (0..4).filter_map(|n| count(&mut memory, &note("p", n * 3000))).collect();
        assert_eq!(counts, [1, 2, 3, 4]);
    }

    #[test]
    fn what_the_process_before_told_of_ten_thousand_pods_is_not_written_again_for_half_an_hour() {
        let mut memory = Memory::default();
        let pods: Vec<_> = (0..10_000).map(|n| format!("pod-{n}")).collect();
        let mut writes = |second: i64, written: bool| {
            let told =
                |pod: &&String| count(&mut memory, &Note { written, ..in_series(pod, second) }).is_some();
            pods.iter().filter(told).count()
        };
        assert_eq!(writes(0, true), 0);
        for round in 1..6 {
            assert_eq!(writes(round * 300, false), 0, "round {round}");
        }
        assert_eq!(writes(1800, false), 10_000, "before the events expire");
        assert_eq!(writes(2100, false), 10_000, "they are series now");
        assert_eq!(writes(2400, false), 0);
    }
}
