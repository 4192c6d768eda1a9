//! What was told, and what of a note is therefore to be written. No I/O.
//!
//! Source: Kubernetes v1.36 `client-go/tools/events/event_broadcaster.go`: an event that comes again becomes a series, which is written
//! at once; from then on it is counted, and written every half an hour, so that it does not expire while it goes on.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::num::NonZeroUsize;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ObjectReference;
use lru::LruCache;

use super::similar::Similar;
use super::{Note, Severity};

/// Objects and topics that are remembered (client-go: 4096).
pub(super) const REMEMBERED: usize = 4096;
/// Events whose repetitions are recognised: one for each of this many pods that find no node. Some 100 bytes each.
pub(super) const REPEATED: NonZeroUsize = NonZeroUsize::new(32 * 1024).unwrap();
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
    /// Whether the process before this one wrote it: nothing is written of it before it is due.
    before: bool,
    last: Timestamp,
    written: Timestamp,
}

/// What makes two events the same.
pub(super) struct Same<'a> {
    pub(super) component: &'a str,
    pub(super) about: &'a ObjectReference,
    pub(super) severity: Severity,
    pub(super) reason: &'a str,
    pub(super) action: Option<&'a str>,
    /// None if it stands for similar ones as well.
    pub(super) message: Option<&'a str>,
}

/// A bucket of the rate limit: what is left, and when that was.
struct Allowance {
    left: f64,
    at: Timestamp,
}

pub(super) struct Memory {
    pub(super) similar: Similar,
    /// By the hash of [`Same`].
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

    /// Counts a note of which no more is to be done; false for others, which are left to [`Self::step`].
    pub(super) fn counts(&mut self, note: &Note) -> bool {
        let key = self.key(note);
        let Some(known) = self.written.get_mut(&key) else { return false };
        let counts = known.goes_on(note) && !known.is_due(note);
        if counts {
            known.count(note);
        }
        counts
    }

    /// What is to be done about a note.
    pub(super) fn step(&mut self, note: &Note) -> Step {
        if self.counts(note) {
            return Step::Nothing;
        }
        let key = self.key(note);
        let Some(known) = self.written.get_mut(&key).filter(|known| known.goes_on(note)) else {
            return Step::Create;
        };
        known.count(note);
        known.written = note.at;
        known.before = false;
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

    /// The event is there since a process before this one, which has counted it `count` times and wrote that at `written`.
    pub(super) fn recall(&mut self, same: &Same<'_>, (first, count): (Timestamp, i32), written: Timestamp) {
        let (key, now) = (self.hashes.hash_one(same), Timestamp::now());
        // How long that process was gone does not end a series.
        self.remember(key, Written { first, count, before: true, last: now, written });
    }

    fn key(&self, note: &Note) -> u64 {
        self.hashes.hash_one(Same {
            component: note.component,
            about: &note.about,
            severity: note.severity,
            reason: note.reason,
            action: note.act.as_ref().map(|act| act.action),
            message: (!note.combined).then_some(note.message.as_str()),
        })
    }
}

// === impl Written ===

impl Written {
    fn new(at: Timestamp) -> Self {
        Self { first: at, count: 1, before: false, last: at, written: at }
    }

    /// Whether the note is one more of it, and not the first of another series.
    fn goes_on(&self, note: &Note) -> bool {
        note.act.is_none() || note.at.duration_since(self.last) <= OVER
    }

    /// Whether the note, which is one more, is to be written.
    fn is_due(&self, note: &Note) -> bool {
        let is_counted = note.act.is_some() && (self.before || self.count >= 2);
        !is_counted || note.at.duration_since(self.written) >= REFRESH
    }

    fn count(&mut self, note: &Note) {
        self.count = self.count.saturating_add(1);
        self.last = note.at;
    }
}

// === impl Same ===

impl Hash for Same<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let about = self.about;
        (&about.uid, &about.kind, &about.namespace, &about.name).hash(state);
        (self.component, self.severity, self.reason, self.action, self.message).hash(state);
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
    fn what_the_process_before_told_of_ten_thousand_pods_is_only_counted_until_its_event_would_expire() {
        let mut memory = Memory::default();
        let start = Timestamp::now().as_second();
        let pods: Vec<_> = (0..10_000).map(|n| in_series(&format!("pod-{n}"), start)).collect();
        let first = Timestamp::from_second(start - 3000).unwrap();
        for pod in &pods {
            let same = Same {
                component: pod.component,
                about: &pod.about,
                severity: pod.severity,
                reason: pod.reason,
                action: Some("Scheduling"),
                message: Some(&pod.message),
            };
            // Written twenty minutes ago.
            memory.recall(&same, (first, 7), Timestamp::from_second(start - 1200).unwrap());
        }
        let mut round = |second: i64| -> Vec<Step> {
            let at = Timestamp::from_second(start + second).unwrap();
            let notes = pods.iter().map(|pod| Note {
                act: pod.act.clone(),
                at,
                ..note(pod.about.uid.as_deref().unwrap(), 0)
            });
            notes.map(|note| memory.step(&note)).filter(|step| *step != Step::Nothing).collect()
        };
        assert_eq!(round(1), []);
        assert_eq!(round(301), []);
        let written = round(601);
        assert_eq!(written.len(), 10_000);
        let goes_on =
            |step: &Step| matches!(step, Step::Repeat(known) if known.first == first && known.count == 10);
        assert!(written.iter().all(goes_on), "{:?}", written.first());
        assert_eq!(round(901), []);
    }
}
