//! Pods, config maps, secrets, nodes and leases: down to the nodes, and the nodes' reports up to the API.
//!
//! Owns: the [`Index`] of who should have what, and the rules of what a node may touch. May call: the Kubernetes API,
//! desired (to publish). Called by: the wiring, which runs [`EdgeController::run`] and hands it edges' requests.

mod index;
mod references;
mod upstream;
mod watch;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::Client;
use proto::pki::NodeName;

use crate::desired::Desired;
use crate::metrics::Metrics;
use crate::taskmanager::Grants;
use index::Index;

/// Told when a node object is deleted, so that its session can be ended.
pub type NodeGone = Arc<dyn Fn(&NodeName) + Send + Sync>;

/// The controller. Cheap to clone.
#[derive(Clone)]
pub struct EdgeController {
    client: Client,
    desired: Desired,
    index: Arc<Mutex<Index>>,
    grants: Grants,
    metrics: Metrics,
    node_gone: NodeGone,
    settings: Arc<Settings>,
}

/// What the controller must know about its surroundings.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// This cloudcore's address, noted on the nodes that it serves.
    pub address: String,
}

// === impl EdgeController ===

impl EdgeController {
    /// A controller that knows nothing yet.
    #[must_use]
    pub fn new(
        client: Client,
        desired: Desired,
        grants: Grants,
        metrics: Metrics,
        settings: Settings,
        node_gone: NodeGone,
    ) -> Self {
        Self {
            client,
            desired,
            index: Arc::default(),
            grants,
            metrics,
            node_gone,
            settings: Arc::new(settings),
        }
    }

    /// How many edge nodes, and pods on them, are known.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        self.index().size()
    }

    /// A panic cannot leave the index half-changed in a way that the next watch event does not mend.
    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
