//! Devices and their twins: what sensors report is validated, on disk and answered here, with or without the cloud.
//!
//! Owns: devicetwin.db and the engine over it. May call: metamanager, for Device and DeviceModel objects, and a
//! [`Voice`] (eventbus) to speak. Called by: eventbus and dmi with requests; edgehub, which pulls reports through the
//! [`Outbox`](crate::edgehub::Outbox) that [`Handle`] is.

pub mod engine;
mod handle;
mod objects;
mod presence;
mod store;
mod worker;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use tasks::{Restart, TaskSet};
use tokio::sync::{Mutex, mpsc, watch};

pub use handle::{Handle, Verdict};
pub use presence::Presence;
pub use store::StoreError;

use crate::edgehub::Connection;
use crate::metamanager;
use crate::metrics::Metrics;
use engine::{Change, Device, DeviceId, Engine, Limits, Notice};
use store::Store;
use worker::Worker;

/// Requests that wait for the batch before them; who comes when it is full waits.
const QUEUE: usize = 1024;

/// Where answers and news are said. Saying must not block: whoever cannot keep up loses messages, with a count.
pub trait Voice: Send + Sync + 'static {
    /// Publishes the notice.
    fn say(&self, notice: &Notice);
}

/// Where the store lives and what bounds it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// devicetwin.db.
    pub path: PathBuf,
    /// The name of this node.
    pub node: String,
    /// What one device may ask of us.
    pub limits: Limits,
    /// Where requests are counted.
    pub metrics: Metrics,
}

impl Settings {
    /// `devicetwin.db` beside the object store's file, with the usual bounds.
    #[must_use]
    pub fn beside(data_source: &std::path::Path, node: impl Into<String>) -> Self {
        let path = data_source.with_file_name("devicetwin.db");
        Self { path, node: node.into(), limits: Limits::default(), metrics: Metrics::default() }
    }
}

/// Opens the store and runs the worker on `tasks`. Devices come from `objects`; without it (tests) from nowhere.
/// `connection` says when the cloud could have taken a removed device's last reports.
pub async fn open(
    settings: Settings,
    objects: Option<metamanager::Handle>,
    connection: Option<watch::Receiver<Connection>>,
    voice: Arc<dyn Voice>,
    tasks: &TaskSet,
) -> Result<Handle, StoreError> {
    let store = Store::open(settings.path).await?;
    let engine = Engine::new(store.load().await?, settings.limits, fastrand::u64(..));
    let (commands, queue) = mpsc::channel(QUEUE);
    let (changed, changes) = watch::channel(0);
    let Settings { node, metrics, .. } = settings;
    let presence = Presence::new(connection.clone());
    let teller = presence.clone();
    tasks.spawn("presence", Restart::on_failure(), move |token| teller.clone().run(token));
    let worker = Worker {
        engine,
        store,
        node,
        commands: queue,
        changed,
        objects,
        connection,
        voice,
        metrics,
        presence: presence.clone(),
    };
    // The state outlives a panic of one run; only one run at a time holds it.
    let worker = Arc::new(Mutex::new(worker));
    tasks.spawn("worker", Restart::on_failure(), move |token| {
        let worker = Arc::clone(&worker);
        async move { worker.lock().await.run(token).await }
    });
    Ok(Handle { commands, changed: changes, presence })
}

/// Puts devices into the store before it is [opened](open); those that are there already stay as they are.
pub(crate) async fn put_in(
    settings: &Settings,
    devices: BTreeMap<DeviceId, Device>,
) -> Result<(), StoreError> {
    if devices.is_empty() {
        return Ok(());
    }
    let store = Store::open(settings.path.clone()).await?;
    let known = store.load().await?;
    let newest = known.values().map(Device::newest_change).max().unwrap_or(0);
    let fresh = devices.into_iter().filter(|(id, _)| !known.contains_key(id));
    let changes: Vec<Change> = fresh.map(|(id, device)| Change::first(&id, device.after(newest))).collect();
    let written = store.write(&changes).await;
    store.close().await;
    written
}
