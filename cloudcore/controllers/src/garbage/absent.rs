//! Owners that were found not to be. Saves asking again for each of their dependents, and remembers those whose whole kind is gone.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use super::graph::{Place, Uid};

/// How many are remembered (Kubernetes: 500).
const REMEMBERED: usize = 500;

/// A uid is never given out again, so what is here stays true.
#[derive(Default)]
pub(super) struct Absent(Mutex<State>);

#[derive(Default)]
struct State {
    known: HashSet<(Uid, Place)>,
    order: VecDeque<(Uid, Place)>,
}

impl Absent {
    pub(super) fn add(&self, uid: &Uid, place: &Place) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = (Uid::clone(uid), place.clone());
        if !state.known.insert(entry.clone()) {
            return;
        }
        state.order.push_back(entry);
        if state.order.len() > REMEMBERED
            && let Some(oldest) = state.order.pop_front()
        {
            state.known.remove(&oldest);
        }
    }

    pub(super) fn has(&self, uid: &Uid, place: &Place) -> bool {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.known.contains(&(Uid::clone(uid), place.clone()))
    }
}
