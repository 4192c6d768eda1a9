//! Which secrets nodes may read because a job for them names one.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use proto::pki::NodeName;
use proto::resource::ObjectKey;

/// The grants of all jobs that are not done. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Grants {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Whether all jobs are known.
    complete: bool,
    by_job: HashMap<String, (ObjectKey, BTreeSet<String>)>,
}

/// What is known about a node and an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    /// A job for the node names it.
    Given,
    /// No job does.
    None,
    /// The jobs are not known yet.
    Unknown,
}

// === impl Grants ===

impl Grants {
    /// All jobs are known; there are none when the task manager is off.
    pub fn complete(&self) {
        self.lock().complete = true;
    }

    /// Whether a job lets `node` read the object.
    #[must_use]
    pub fn look_up(&self, node: &NodeName, key: &ObjectKey) -> Grant {
        let inner = self.lock();
        let given =
            inner.by_job.values().any(|(secret, nodes)| secret == key && nodes.contains(node.as_str()));
        match (given, inner.complete) {
            (true, _) => Grant::Given,
            (false, true) => Grant::None,
            (false, false) => Grant::Unknown,
        }
    }

    /// What this job grants from now on; without nodes, nothing.
    pub(super) fn set(&self, job: &str, secret: Option<&ObjectKey>, nodes: BTreeSet<String>) {
        let mut inner = self.lock();
        match secret {
            Some(secret) if !nodes.is_empty() => {
                inner.by_job.insert(job.to_owned(), (secret.clone(), nodes));
            }
            _ => {
                inner.by_job.remove(job);
            }
        }
    }

    /// A panic cannot leave the map half-changed.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
