//! What all pod workers of a node share.

use std::sync::Arc;

use tokio::sync::{Semaphore, watch};

use super::admission::{Admission, Capacity};
use super::cgroups;
use super::config::Settings;
use super::downward::Facts;
use super::events::Recorder;
use super::host::Host;
use super::housekeeping::{Evictions, Pressure};
use super::images::Puller;
use super::pod::status::NodeFacts;
use super::runtime::ContainerRuntime;
use crate::edgehub::Connection;
use crate::metamanager;

/// Sandboxes that are made at the same time when a node with many pods boots.
const PARALLEL_CREATIONS: usize = 4;

/// Handles and facts of the node.
pub struct Context {
    pub(crate) settings: Settings,
    pub(crate) host: Host,
    pub(crate) unified_cgroups: bool,
    pub(crate) runtime: Arc<dyn ContainerRuntime>,
    pub(crate) store: metamanager::Handle,
    pub(crate) connection: watch::Receiver<Connection>,
    pub(crate) events: Recorder,
    pub(crate) images: Puller,
    pub(crate) creations: Semaphore,
    pub(crate) node_facts: NodeFacts,
    /// What the machine is short of.
    pub(crate) pressure: watch::Sender<Pressure>,
    pub(crate) evictions: Evictions,
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
        Self {
            host: Host::read(),
            unified_cgroups: cgroups::is_v2(),
            events: Recorder::new(store.clone(), &settings.node_name, settings.report_events),
            images: Puller::new(Arc::clone(&runtime), settings.parallel_pulls),
            creations: Semaphore::new(PARALLEL_CREATIONS),
            node_facts: NodeFacts { address: settings.node_address, runtime: runtime.kind() },
            pressure: watch::Sender::new(Pressure::default()),
            evictions: Evictions::default(),
            admission: Admission::default(),
            settings,
            runtime,
            store,
            connection,
        }
    }

    /// What the machine has for pods.
    pub(crate) fn capacity(&self) -> Capacity {
        Capacity { cpu_milli: self.host.cpus.saturating_mul(1000), memory: self.host.memory }
    }

    /// What a pod with these addresses may learn about itself.
    pub(crate) fn facts(&self, pod: &[std::net::IpAddr]) -> Facts {
        Facts {
            node: self.settings.node_name.clone(),
            host: self.settings.node_address,
            pod: pod.to_vec(),
            cpu_milli: self.host.cpus.saturating_mul(1000),
            memory: self.host.memory,
        }
    }
}
