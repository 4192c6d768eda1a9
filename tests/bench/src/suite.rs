use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;

use crate::{Measure, acid, device, disk, fleet, load, mapper, memory, plane, pod, reconnect};

/// What can be measured on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Benchmark {
    /// Resident memory of both agents with one pod and one device.
    Memory,
    /// Pod create → Ready and delete → gone.
    Pod,
    /// A node with 0, 10 and 50 pods: memory, processor, all of them created at once, all of them after a cold boot.
    Load,
    /// MQTT publish → DeviceStatus in a watch: latency and highest sustained rate.
    Device,
    /// Many devices: 100 on one node, 1,000 on ten nodes, 10,000 twins on one.
    Fleet,
    /// Reports of a mapper over DMI: how many are taken, and how soon.
    Mapper,
    /// Restart of the cloud → node connected again.
    Reconnect,
    /// Bytes that an idle edge node writes.
    Disk,
    /// Sizes of the binaries.
    Size,
    /// The embedded control plane: writes, lists, watches, memory, disk, start.
    Plane,
    /// A Deployment of 500 replicas onto 50 nodes.
    Schedule,
    /// New kinds, and 200 watchers while 500 objects a second change.
    Storm,
    /// A Deployment on a real node from its creation to its end.
    Acid,
}

/// The names of all measures, as promises refer to them.
pub const NAMES: [&str; 53] = [
    "cloud.reconnect",
    "cloudcore.rss",
    "cloudcore.size",
    "deployment.acid",
    "dmi.p99",
    "dmi.rate",
    "edge.boot-50",
    "edge.cpu-0",
    "edge.cpu-10",
    "edge.cpu-50",
    "edge.ready-50",
    "edge.rss-0",
    "edge.rss-10",
    "edge.rss-50",
    "edgecore.idle-writes",
    "edgecore.rss",
    "edgecore.size",
    "fleet.cpu-cloud",
    "fleet.cpu-edge",
    "fleet.p50",
    "fleet.p99",
    "fleet.rate",
    "fleet.rss-twins",
    "fleet.states",
    "keadm.size",
    "plane.cpu-restart",
    "plane.crd",
    "plane.create-1",
    "plane.create-64",
    "plane.create-8",
    "plane.disk",
    "plane.list-json",
    "plane.list-paged",
    "plane.list-table",
    "plane.ready-empty",
    "plane.ready-objects",
    "plane.rss-idle",
    "plane.rss-objects",
    "plane.rss-restart",
    "plane.rss-watchers",
    "plane.schedule",
    "plane.storm-p99",
    "plane.storm-rate",
    "plane.update-1",
    "plane.update-64",
    "plane.update-8",
    "plane.watch-p50",
    "plane.watch-p99",
    "pod.gone",
    "pod.ready",
    "twin.p50",
    "twin.p99",
    "twin.rate",
];

/// What a run may choose.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How long the node idles while its writes are counted.
    pub idle: Duration,
    /// How many pods are created and deleted one after the other.
    pub pods: usize,
}

impl Benchmark {
    /// Runs the measurement on an installation of its own.
    ///
    /// # Errors
    /// When the installation cannot be started or does not get where the measurement begins.
    pub async fn run(self, settings: Settings) -> Result<Vec<Measure>> {
        match self {
            Self::Memory => memory::run().await,
            Self::Pod => pod::run(settings.pods).await,
            Self::Load => load::run().await,
            Self::Device => device::run().await,
            Self::Fleet => fleet::run().await,
            Self::Mapper => mapper::run().await,
            Self::Reconnect => reconnect::run().await,
            Self::Disk => disk::run(settings.idle).await,
            Self::Size => disk::sizes(),
            Self::Plane => plane::run().await,
            Self::Schedule => plane::schedule().await,
            Self::Storm => plane::storm().await,
            Self::Acid => acid::run().await,
        }
    }
}
