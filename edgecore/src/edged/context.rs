//! What all pod workers of a node share.

use std::sync::Arc;

use tokio::sync::{Notify, Semaphore, watch};

use super::admission::{Admission, Capacity};
use super::cgroups;
use super::clock::Clock;
use super::config::Settings;
use super::downward::Facts;
use super::events::Recorder;
use super::housekeeping::{Evictions, Pressure};
use super::images::Puller;
use super::node::{Images, Machine};
use super::pod::status::NodeFacts;
use super::runtime::ContainerRuntime;
use crate::edgehub::Connection;
use crate::metamanager;

/// Sandboxes that are made at the same time when a node with many pods boots.
pub(crate) const PARALLEL_CREATIONS: u32 = 4;

/// Handles and facts of the node.
pub struct Context {
    pub(crate) settings: Settings,
    /// What pods may ask for.
    pub(crate) capacity: Capacity,
    /// Bytes of memory that the machine has.
    machine_memory: i64,
    pub(crate) unified_cgroups: bool,
    /// What all waiting is reckoned in.
    pub(crate) clock: Clock,
    pub(crate) runtime: Arc<dyn ContainerRuntime>,
    pub(crate) store: metamanager::Handle,
    pub(crate) connection: watch::Receiver<Connection>,
    pub(crate) events: Recorder,
    pub(crate) images: Arc<Puller>,
    pub(crate) creations: Semaphore,
    pub(crate) node_facts: NodeFacts,
    /// What the machine is short of.
    pub(crate) pressure: watch::Sender<Pressure>,
    pub(crate) evictions: Evictions,
    /// Images for the node's status.
    pub(crate) listed_images: watch::Sender<Images>,
    /// Wakes who lists them.
    pub(crate) images_changed: Arc<Notify>,
    /// What the pods that have begun hold.
    pub(crate) admission: Admission,
}

impl Context {
    /// Reads the machine and bundles the handles.
    pub fn new(
        settings: Settings,
        runtime: Arc<dyn ContainerRuntime>,
        store: metamanager::Handle,
        connection: watch::Receiver<Connection>,
    ) -> Self {
        let machine = Machine::look(&settings.root);
        let allocatable = settings.reserve.allocatable(machine.amounts(), machine.huge());
        let images_changed = Arc::new(Notify::new());
        let images = Puller::new(Arc::clone(&runtime), settings.parallel_pulls, Arc::clone(&images_changed));
        Self {
            capacity: Capacity::new(allocatable, settings.max_pods),
            machine_memory: i64::try_from(machine.memory.capacity).unwrap_or(i64::MAX),
            unified_cgroups: cgroups::is_v2(),
            clock: Clock::start(),
            events: Recorder::new(store.clone(), &settings.node_name, settings.report_events),
            images: Arc::new(images),
            creations: Semaphore::new(PARALLEL_CREATIONS as usize),
            node_facts: NodeFacts { address: settings.node_address, runtime: runtime.kind() },
            pressure: watch::Sender::new(Pressure::default()),
            evictions: Evictions::default(),
            listed_images: watch::Sender::new(None),
            images_changed,
            admission: Admission::default(),
            settings,
            runtime,
            store,
            connection,
        }
    }

    /// What a pod with these addresses may learn about itself.
    pub(crate) fn facts(&self, pod: &[std::net::IpAddr]) -> Facts {
        Facts {
            node: self.settings.node_name.clone(),
            host: self.settings.node_address,
            pod: pod.to_vec(),
            cpu_milli: self.capacity.cpu_milli,
            memory: self.capacity.memory,
            storage: self.capacity.storage,
            machine_memory: self.machine_memory,
        }
    }
}
