//! How many different topics and filters this broker takes in its life: the router keeps each for ever.

use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
    sync::{Mutex, PoisonError},
};

/// A set of names that grows up to a limit.
#[derive(Debug)]
pub(super) struct Names {
    limit: usize,
    hasher: RandomState,
    seen: Mutex<HashSet<u64>>,
}

impl Names {
    pub(super) fn up_to(limit: usize) -> Self {
        Self { limit, hasher: RandomState::new(), seen: Mutex::default() }
    }

    /// Whether `name` is known or there is room to know it.
    pub(super) fn admit(&self, name: &str) -> bool {
        let hash = self.hasher.hash_one(name);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.contains(&hash) || (seen.len() < self.limit && seen.insert(hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_admitted_when_the_set_is_full() {
        let names = Names::up_to(2);
        assert!(names.admit("a") && names.admit("b"));
        assert!(!names.admit("c"));
        assert!(names.admit("a"));
    }
}
