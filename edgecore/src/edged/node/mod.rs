//! This node as the cloud sees it: registration, lease, status.
//!
//! Owns: the Node object's labels, addresses, capacity and conditions, and the lease that says the node is alive.
//! May call: edgehub (registration, lease), metamanager (the node's status is durable like any other report).
//! Called by: edged, which hands in what it knows of the runtime.

mod condition;
mod lease;
mod machine;
mod object;
mod registration;
mod reserve;
mod settings;
mod status;

use std::{convert::Infallible, future::pending, sync::Arc};

use k8s_openapi::api::core::v1::ContainerImage;
use tasks::{Restart, TaskSet};
use tokio::sync::watch;

pub(crate) use machine::{Amount, Machine};
pub use reserve::{Amounts, Reserve};
pub use settings::{Floor, NodeSettings, SettingsError};

use super::events::Recorder;
use super::housekeeping::Pressure;
use crate::{edgehub, metamanager};

/// What edged knows about the container runtime.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RuntimeHealth {
    /// Nobody has asked it yet.
    #[default]
    Unknown,
    /// It answers and its network is ready.
    Ready {
        /// Name and version as nodes report it: `containerd://1.6.20`.
        version: String,
    },
    /// It does not answer or cannot run pods.
    Broken {
        /// What is wrong and what to do.
        reason: String,
    },
}

/// Images as a node's status lists them; `None` while nobody has looked.
pub type Images = Option<Arc<Vec<ContainerImage>>>;

/// What edged knows of the machine that the node's status tells.
#[derive(Clone, Debug)]
pub struct Outlook {
    /// How the container runtime is.
    pub runtime: watch::Receiver<RuntimeHealth>,
    /// What the machine is short of.
    pub pressure: watch::Receiver<Pressure>,
    /// What need not be pulled any more.
    pub images: watch::Receiver<Images>,
}

/// Runs registration, lease and status on `tasks` until they are cancelled.
pub fn run(
    settings: NodeSettings,
    hub: edgehub::Handle,
    meta: metamanager::Handle,
    outlook: Outlook,
    tasks: &TaskSet,
) {
    let registrar =
        registration::Registrar::new(settings.clone(), hub.clone(), meta.clone(), outlook.clone());
    tasks.spawn("registration", Restart::on_failure(), move |token| {
        let mut registrar = registrar.clone();
        async move {
            token.run_until_cancelled(registrar.run()).await;
            Ok::<(), Infallible>(())
        }
    });
    let keeper = lease::Keeper::new(settings.clone(), hub, meta.clone());
    tasks.spawn("lease", Restart::on_failure(), move |token| {
        let mut keeper = keeper.clone();
        async move {
            token.run_until_cancelled(keeper.run()).await;
            Ok::<(), Infallible>(())
        }
    });
    let events = Arc::new(Recorder::new(meta.clone(), &settings.name, settings.report_events));
    let reporter = status::Reporter::new(settings, meta, outlook, events);
    tasks.spawn("status", Restart::on_failure(), move |token| {
        let mut reporter = reporter.clone();
        async move {
            token.run_until_cancelled(reporter.run()).await;
            Ok::<(), Infallible>(())
        }
    });
}

/// Waits for a change; for ever when nobody can change it any more.
async fn changed<T>(receiver: &mut watch::Receiver<T>) {
    if receiver.changed().await.is_err() {
        pending::<()>().await;
    }
}
