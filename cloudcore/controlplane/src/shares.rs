//! How much of something each of many callers holds, so that one cannot take it all.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Counts by caller. Callers that hold nothing take no memory. Cheap to clone.
#[derive(Debug)]
pub(crate) struct Shares<K> {
    held: Arc<Mutex<HashMap<K, usize>>>,
    at_most: usize,
}

impl<K> Clone for Shares<K> {
    fn clone(&self) -> Self {
        Self { held: Arc::clone(&self.held), at_most: self.at_most }
    }
}

/// One of the things, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Share<K: Eq + Hash> {
    of: Shares<K>,
    who: K,
}

impl<K: Eq + Hash + Clone> Shares<K> {
    /// Nobody may hold more than `at_most`.
    pub(crate) fn new(at_most: usize) -> Self {
        Self { held: Arc::default(), at_most }
    }

    /// One more for `who`; none when that would be too many.
    pub(crate) fn take(&self, who: &K) -> Option<Share<K>> {
        let mut all = self.lock();
        let held = all.entry(who.clone()).or_default();
        if *held >= self.at_most {
            return None;
        }
        *held += 1;
        drop(all);
        Some(Share { of: self.clone(), who: who.clone() })
    }
}

impl<K> Shares<K> {
    // A count is changed at once, so a poisoned lock is still good.
    fn lock(&self) -> MutexGuard<'_, HashMap<K, usize>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash> Drop for Share<K> {
    fn drop(&mut self) {
        let mut all = self.of.lock();
        if let Some(held) = all.get_mut(&self.who) {
            *held -= 1;
            if *held == 0 {
                all.remove(&self.who);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_caller_gets_its_share_and_no_more_and_others_still_get_theirs() {
        let shares = Shares::new(2);
        let first = shares.take(&"a").unwrap();
        let _second = shares.take(&"a").unwrap();
        assert!(shares.take(&"a").is_none());
        let other = shares.take(&"b").unwrap();
        drop(first);
        assert!(shares.take(&"a").is_some());
        drop(other);
        assert_eq!(shares.lock().len(), 1, "who holds nothing is forgotten");
    }
}
