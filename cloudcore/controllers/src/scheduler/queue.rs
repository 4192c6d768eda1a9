//! Pods that wait for a node: which comes next, and when one that found none is tried again. The clock is handed in.
//!
//! Source: Kubernetes v1.36 `pkg/scheduler/backend/queue`: by priority and then age; after a failure a pause of 1 s that doubles up
//! to 10 s; who found no node waits until something changes that may help, or 5 minutes; there they are looked at every 30 s, here
//! each has its moment within them, so that thousands that began to wait together are not tried together.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::pending::Pending;
use super::reason::{Diagnosis, Reason};

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How long a pod waits at most for a change that may help.
const FORGOTTEN: Duration = Duration::from_secs(300);
/// And up to this long beyond, each pod by its uid.
const SPREAD: Duration = Duration::from_secs(30);

/// Bounded by the number of pods without a node.
#[derive(Default)]
pub(crate) struct Queue {
    waiting: HashMap<String, Entry>,
    /// Those that may be tried now, best first.
    ready: BTreeSet<Rank>,
    /// When those that may not will be, by uid.
    timers: BTreeSet<(Instant, String)>,
    /// Those that a change may help, by uid.
    parked: HashSet<String>,
}

/// Sorts pods: higher priority, then older, then by uid.
type Rank = (Reverse<i32>, Timestamp, String);

struct Entry {
    pod: Arc<Pending>,
    attempts: u32,
    /// End of the pause after the last attempt.
    rested: Instant,
    state: State,
}

enum State {
    Ready,
    /// Until its timer.
    Resting(Instant),
    /// Until something helps, or its timer.
    Parked(Instant, Needs),
    /// It was taken, and nothing is known yet.
    Tried,
}

/// What kinds of changes may help a pod that found no node.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Needs {
    /// Other pods that come or change.
    pub(crate) pods: bool,
    /// Other pods that go, on whatever node.
    pub(crate) fewer_pods: bool,
    /// Claims, volumes and their classes.
    pub(crate) volumes: bool,
}

impl Needs {
    pub(crate) fn of(diagnosis: &Diagnosis) -> Self {
        use Reason::{
            Affinity, AntiAffinity, ExistingAntiAffinity, NoVolume, Spread, VolumeAffinity, VolumeGone,
        };
        Self {
            pods: diagnosis.has(|reason| matches!(reason, Affinity | Spread)),
            fewer_pods: diagnosis
                .has(|reason| matches!(reason, AntiAffinity | ExistingAntiAffinity | Spread)),
            volumes: diagnosis.fault.is_some()
                || diagnosis.has(|reason| matches!(reason, NoVolume | VolumeAffinity | VolumeGone)),
        }
    }
}

impl Queue {
    /// A pod that needs a node; or its new state, which is tried at once if it differs in what matters.
    pub(crate) fn put(&mut self, pod: Arc<Pending>, now: Instant) {
        let uid = pod.uid().to_owned();
        let Some(entry) = self.waiting.get_mut(&uid) else {
            self.ready.insert(rank(&pod));
            self.waiting.insert(uid, Entry { pod, attempts: 0, rested: now, state: State::Ready });
            return;
        };
        let changed = entry.pod.generation != pod.generation
            || entry.pod.footprint.class.labels != pod.footprint.class.labels;
        if matches!(entry.state, State::Ready) {
            self.ready.remove(&rank(&entry.pod));
            self.ready.insert(rank(&pod));
        }
        let parked = matches!(entry.state, State::Parked(..));
        entry.pod = pod;
        if changed && parked {
            self.awake(&uid, now);
        }
    }

    /// The pod has a node or is gone.
    pub(crate) fn remove(&mut self, uid: &str) {
        self.unlink(uid);
        self.waiting.remove(uid);
    }

    /// The pod to be tried now. One of [`Self::park`], [`Self::rest`] and [`Self::remove`] must follow.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<Arc<Pending>> {
        while let Some((due, uid)) = self.timers.first().filter(|(due, _)| *due <= now).cloned() {
            self.timers.remove(&(due, uid.clone()));
            self.parked.remove(&uid);
            if let Some(entry) = self.waiting.get_mut(&uid) {
                entry.state = State::Ready;
                self.ready.insert(rank(&entry.pod));
            }
        }
        let (.., uid) = self.ready.pop_first()?;
        let entry = self.waiting.get_mut(&uid)?;
        entry.attempts += 1;
        entry.rested = now + pause(entry.attempts);
        entry.state = State::Tried;
        Some(Arc::clone(&entry.pod))
    }

    /// The pod found no node.
    pub(crate) fn park(&mut self, uid: &str, needs: Needs, now: Instant) {
        let until = now + FORGOTTEN + moment(uid);
        self.schedule(uid, until, State::Parked(until, needs));
        if self.waiting.contains_key(uid) {
            self.parked.insert(uid.to_owned());
        }
    }

    /// The pod has a node as soon as its claims have volumes: the next attempt is part of this one.
    pub(crate) fn await_volumes(&mut self, uid: &str, now: Instant) {
        if let Some(entry) = self.waiting.get_mut(uid) {
            entry.attempts -= 1;
            entry.rested = now;
        }
        self.park(uid, Needs { volumes: true, ..Needs::default() }, now);
    }

    /// The attempt went wrong for a reason that may pass by itself.
    pub(crate) fn rest(&mut self, uid: &str) {
        if let Some(until) = self.waiting.get(uid).map(|entry| entry.rested) {
            self.schedule(uid, until, State::Resting(until));
        }
    }

    /// Something changed: those that `helps` says yes of are tried as soon as their pause is over.
    pub(crate) fn wake(&mut self, now: Instant, helps: impl Fn(&Pending, Needs) -> bool) {
        let helped = self.parked.iter().filter(|uid| match self.waiting.get(*uid) {
            Some(Entry { pod, state: State::Parked(_, needs), .. }) => helps(pod, *needs),
            _ => false,
        });
        for uid in helped.cloned().collect::<Vec<_>>() {
            self.awake(&uid, now);
        }
    }

    /// When [`Self::pop`] gives something; none while nobody waits.
    pub(crate) fn due(&self, now: Instant) -> Option<Instant> {
        if self.ready.is_empty() { self.timers.first().map(|(due, _)| *due) } else { Some(now) }
    }

    fn awake(&mut self, uid: &str, now: Instant) {
        let Some(rested) = self.waiting.get(uid).map(|entry| entry.rested) else { return };
        if rested > now {
            self.schedule(uid, rested, State::Resting(rested));
            return;
        }
        self.unlink(uid);
        if let Some(entry) = self.waiting.get_mut(uid) {
            entry.state = State::Ready;
            self.ready.insert(rank(&entry.pod));
        }
    }

    fn schedule(&mut self, uid: &str, until: Instant, state: State) {
        self.unlink(uid);
        if let Some(entry) = self.waiting.get_mut(uid) {
            entry.state = state;
            self.timers.insert((until, uid.to_owned()));
        }
    }

    fn unlink(&mut self, uid: &str) {
        let Some(entry) = self.waiting.get(uid) else { return };
        self.parked.remove(uid);
        match entry.state {
            State::Ready => drop(self.ready.remove(&rank(&entry.pod))),
            State::Resting(until) | State::Parked(until, _) => {
                self.timers.remove(&(until, uid.to_owned()));
            }
            State::Tried => {}
        }
    }
}

fn rank(pod: &Pending) -> Rank {
    (Reverse(pod.footprint.priority), pod.footprint.since, pod.uid().to_owned())
}

/// Where within [`SPREAD`] a pod has its place; always the same.
fn moment(uid: &str) -> Duration {
    SPREAD.mul_f64(f64::from(crate::hash::fnv32(uid.bytes())) / f64::from(u32::MAX))
}

fn pause(attempts: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(1 << (attempts - 1).min(10)).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests;
