//! A queue for those who lost a race for one object: without it, whoever is unlucky often enough would be told of a conflict that
//! its request did not ask about.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use tokio::sync::{Mutex, MutexGuard};

use super::{Api, Target};

/// Objects share queues by their hash.
const QUEUES: usize = 64;

/// The queues.
pub(super) struct Contention([Mutex<()>; QUEUES]);

impl Default for Contention {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Mutex::default()))
    }
}

impl Api {
    /// Waits until nobody else tries again to write to this object. Who asks others about its write does not wait, nor hold
    /// anybody up meanwhile.
    pub(super) async fn queue_for(&self, target: &Target) -> Option<MutexGuard<'_, ()>> {
        if self.has_hooks(target) {
            return None;
        }
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(target.id());
        let queue = self.contention.0.get(usize::try_from(hash % QUEUES as u64).ok()?)?;
        Some(queue.lock().await)
    }
}
