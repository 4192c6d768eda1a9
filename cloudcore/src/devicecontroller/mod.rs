//! Devices and their models down to the nodes that own them, twins and states of devices up to DeviceStatus, and whether they
//! work into Device.
//!
//! Owns: the [`Index`] of devices, the writing of DeviceStatus objects (nobody else writes their twins), and of
//! what Device objects say of their [health]. May call:
//! the Kubernetes API, desired (to publish). Called by: the wiring, which runs [`DeviceController::run`] and hands it
//! edges' reports.

mod health;
mod index;
mod report;
mod status;
mod watch;
mod writer;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::Client;
use proto::devices::SeenReport;
use proto::message::Message;
use proto::pki::NodeName;
use proto::resource::Resource;
use proto::session::Outcome;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tracing::warn;

use crate::cloudhub::Sessions;
use crate::cloudhub::session::Reply;
use crate::desired::{Desired, Plane};
use crate::metrics::Metrics;
use health::Health;
use index::{DeviceId, Index};
use writer::Work;

/// Work that waits to be taken up by the writer. It takes it up at once, so this is rarely more than a few; beyond it,
/// edges are asked to send a report again.
const QUEUE: usize = 16_384;

/// The controller. Cheap to clone.
#[derive(Clone)]
pub struct DeviceController {
    client: Client,
    desired: Desired,
    index: Arc<Mutex<Index>>,
    health: Arc<Health>,
    sessions: Sessions,
    metrics: Metrics,
    work: mpsc::Sender<Work>,
    queue: Arc<tokio::sync::Mutex<mpsc::Receiver<Work>>>,
}

// === impl DeviceController ===

impl DeviceController {
    /// A controller that knows nothing yet.
    #[must_use]
    pub fn new(client: Client, desired: Desired, sessions: Sessions, metrics: Metrics) -> Self {
        let (work, queue) = mpsc::channel(QUEUE);
        let queue = Arc::new(tokio::sync::Mutex::new(queue));
        let (index, health) = (Arc::default(), Arc::default());
        Self { client, desired, index, health, sessions, metrics, work, queue }
    }

    /// Deals with one message of `node` from its device twin module. A report has its place in the queue when this
    /// returns, so reports are written in the order in which they came.
    pub fn handle(&self, node: &NodeName, request: &Message) -> impl Future<Output = Reply> + Send + use<> {
        let accepted = match &request.route.resource {
            // Devices are pushed when a node connects; there is nothing to add but that it was heard.
            Resource::MembershipDetail => Err(Outcome::Done),
            Resource::Mappers => Err(self.take_mappers(node, request)),
            Resource::Seen => Err(self.take_seen(node, request)),
            Resource::DeviceTwinUpdated { namespace, name }
            | Resource::DeviceStateUpdate { namespace, name } => {
                let device = DeviceId { namespace: namespace.clone(), name: name.clone() };
                self.accept(node, device, request)
            }
            other => {
                Err(self.reject(format!("cloudcore does not serve {} of {other}", request.route.operation)))
            }
        };
        let (arrived, metrics) = (Instant::now(), self.metrics.clone());
        async move {
            let outcome = match accepted {
                Ok(outcome) => {
                    outcome.await.unwrap_or_else(|_| Outcome::Retry("cloudcore is stopping".into()))
                }
                Err(outcome) => return Reply::Report(outcome),
            };
            match &outcome {
                Outcome::Done => {
                    metrics.reports_confirmed.inc();
                    metrics.report_seconds.observe(arrived.elapsed().as_secs_f64());
                }
                Outcome::Rejected(_) => {
                    metrics.reports_rejected.inc();
                }
                Outcome::Retry(_) => {}
            }
            Reply::Report(outcome)
        }
    }

    /// How many devices and models are known.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        self.index().size()
    }

    /// Puts a report into the writer's queue. It is confirmed only when the API has it, so an edge may forget what was
    /// confirmed.
    fn accept(
        &self,
        node: &NodeName,
        device: DeviceId,
        request: &Message,
    ) -> Result<oneshot::Receiver<Outcome>, Outcome> {
        if !self.desired.is_synced(Plane::Devices) {
            return Err(Outcome::Retry(
                "cloudcore has just started and does not know the devices yet".into(),
            ));
        }
        let owner = self.index().device(&device).map(|device| device.node.clone());
        match owner {
            None => return Err(self.reject(format!("there is no device {device}"))),
            Some(owner) if owner.as_ref() != Some(node) => {
                self.metrics.forbidden.inc();
                warn!(%node, %device, "a node reported about a device that is not its own");
                return Err(self.reject(format!("device {device} does not belong to node {node}")));
            }
            Some(_) => {}
        }
        let change = report::parse(request).map_err(|error| {
            warn!(%node, %device, "a device report cannot be read: {error}");
            self.reject(error.to_string())
        })?;
        let (reply, outcome) = oneshot::channel();
        let queued = self.work.try_send(Work::Report { device, change, reply });
        queued.map_err(|_| Outcome::Retry("too many reports are waiting to be written".into()))?;
        Ok(outcome)
    }

    fn take_mappers(&self, node: &NodeName, request: &Message) -> Outcome {
        match request.content.parse_lenient() {
            Ok(report) => {
                self.health.mappers(node, report);
                Outcome::Done
            }
            Err(error) => self.reject(error.to_string()),
        }
    }

    fn take_seen(&self, node: &NodeName, request: &Message) -> Outcome {
        let report: SeenReport = match request.content.parse_lenient() {
            Ok(report) => report,
            Err(error) => return self.reject(error.to_string()),
        };
        let Some(session) = self.sessions.id(node) else { return Outcome::Done };
        let mut own = Vec::with_capacity(report.devices.len());
        let index = self.index();
        for (id, ago) in report.devices {
            let Some((namespace, name)) = id.split_once('/') else { continue };
            let id = DeviceId { namespace: namespace.to_owned(), name: name.to_owned() };
            if index.device(&id).is_some_and(|device| device.node.as_ref() == Some(node)) {
                own.push((id, Duration::from_millis(ago)));
            }
        }
        drop(index);
        self.health.seen(node, session, Duration::from_millis(report.listening), own);
        Outcome::Done
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
