//! Devices and their models down to the nodes that own them, twins and states of devices up to DeviceStatus.
//!
//! Owns: the [`Index`] of devices, and the writing of DeviceStatus objects (nobody else writes their twins). May call:
//! the Kubernetes API, desired (to publish). Called by: the wiring, which runs [`DeviceController::run`] and hands it
//! edges' reports.

mod index;
mod report;
mod status;
mod watch;
mod writer;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::Client;
use proto::message::{Message, Operation};
use proto::pki::NodeName;
use proto::resource::Resource;
use proto::session::Outcome;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tracing::warn;

use crate::cloudhub::session::Reply;
use crate::desired::{Desired, Plane};
use crate::metrics::Metrics;
use index::{DeviceId, Index};
use writer::Work;

/// Work that waits to be taken up by the writer; a full queue makes the sessions wait, and they the edges.
const QUEUE: usize = 4096;

/// The controller. Cheap to clone.
#[derive(Clone)]
pub struct DeviceController {
    client: Client,
    desired: Desired,
    index: Arc<Mutex<Index>>,
    metrics: Metrics,
    work: mpsc::Sender<Work>,
    queue: Arc<tokio::sync::Mutex<mpsc::Receiver<Work>>>,
}

// === impl DeviceController ===

impl DeviceController {
    /// A controller that knows nothing yet.
    #[must_use]
    pub fn new(client: Client, desired: Desired, metrics: Metrics) -> Self {
        let (work, queue) = mpsc::channel(QUEUE);
        let queue = Arc::new(tokio::sync::Mutex::new(queue));
        Self { client, desired, index: Arc::default(), metrics, work, queue }
    }

    /// Deals with one message of `node` from its device twin module.
    pub async fn handle(&self, node: &NodeName, request: Message) -> Reply {
        let (namespace, name) = match &request.route.resource {
            // Devices are pushed when a node connects; there is nothing to add but that it was heard.
            Resource::MembershipDetail => return Reply::Report(Outcome::Done),
            Resource::DeviceTwinUpdated { namespace, name }
            | Resource::DeviceStateUpdate { namespace, name } => (namespace.clone(), name.clone()),
            other => {
                let message = format!("cloudcore does not serve {} of {other}", request.route.operation);
                return match request.route.operation {
                    Operation::Update | Operation::Insert => Reply::Report(Outcome::Rejected(message)),
                    _ => Reply::failed(405, "MethodNotAllowed", &message),
                };
            }
        };
        Reply::Report(self.report(node, DeviceId { namespace, name }, &request).await)
    }

    /// How many devices and models are known.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        self.index().size()
    }

    /// Confirmed only when the API has it, so an edge may forget what was confirmed.
    async fn report(&self, node: &NodeName, device: DeviceId, request: &Message) -> Outcome {
        let arrived = Instant::now();
        if !self.desired.is_synced(Plane::Devices) {
            return Outcome::Retry("cloudcore has just started and does not know the devices yet".into());
        }
        let owner = self.index().device(&device).map(|device| device.node.clone());
        match owner {
            None => return self.reject(format!("there is no device {device}")),
            Some(owner) if owner.as_ref() != Some(node) => {
                self.metrics.forbidden.inc();
                warn!(%node, %device, "a node reported about a device that is not its own");
                return self.reject(format!("device {device} does not belong to node {node}"));
            }
            Some(_) => {}
        }
        let change = match report::parse(request) {
            Ok(change) => change,
            Err(error) => {
                warn!(%node, %device, "a device report cannot be read: {error}");
                return self.reject(error.to_string());
            }
        };
        let (reply, outcome) = oneshot::channel();
        if self.work.send(Work::Report { device, change, reply }).await.is_err() {
            return Outcome::Retry("cloudcore is stopping".into());
        }
        let outcome = outcome.await.unwrap_or_else(|_| Outcome::Retry("cloudcore is stopping".into()));
        match &outcome {
            Outcome::Done => {
                self.metrics.reports_confirmed.inc();
                self.metrics.report_seconds.observe(arrived.elapsed().as_secs_f64());
            }
            Outcome::Rejected(_) => {
                self.metrics.reports_rejected.inc();
            }
            Outcome::Retry(_) => {}
        }
        outcome
    }

    fn reject(&self, reason: String) -> Outcome {
        self.metrics.reports_rejected.inc();
        Outcome::Rejected(reason)
    }

    /// A panic cannot leave the index half-changed in a way that the next watch event does not mend.
    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
