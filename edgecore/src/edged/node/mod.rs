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
mod settings;
mod status;

use std::{convert::Infallible, future::pending};

use tasks::{Restart, TaskSet};
use tokio::sync::watch;

pub(crate) use machine::{Amount, Machine};
pub use settings::{Floor, NodeSettings, SettingsError};

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

/// Runs registration, lease and status on `tasks` until they are cancelled.
pub fn run(
    settings: NodeSettings,
    hub: edgehub::Handle,
    meta: metamanager::Handle,
    runtime: watch::Receiver<RuntimeHealth>,
    tasks: &TaskSet,
) {
    let registrar =
        registration::Registrar::new(settings.clone(), hub.clone(), meta.clone(), runtime.clone());
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
    let reporter = status::Reporter::new(settings, meta, runtime);
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
