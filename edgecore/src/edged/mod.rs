//! Owns pods on this node: workers, volumes, images, events, status, the kubelet's read-only API; and the node's own
//! registration and heartbeat.
//!
//! May call: metamanager (objects, durable reports), edgehub (registration and lease only). Called by the binary, once.
//! Pods come from the store and statuses go to the store, so all of it works the same with and without the cloud.

pub mod admission;
pub mod cgroups;
pub mod clock;
pub mod config;
pub mod context;
pub mod dns;
pub mod downward;
pub mod events;
pub mod hooks;
pub mod housekeeping;
pub mod images;
mod leftovers;
mod manager;
pub mod node;
pub mod objects;
pub mod pod;
pub mod probes;
pub mod runtime;
mod server;
mod static_pods;
pub mod volumes;

use std::sync::Arc;

use axum::Router;
use proto::config::RuntimeApi;
use tasks::{Restart, TaskSet};
use tokio::sync::watch;
use tokio::time::Instant;

use self::config::Settings;
use self::context::Context;
use self::images::Puller;
use self::manager::Manager;
use self::node::{Outlook, RuntimeHealth};
use self::runtime::cri::Cri;
use self::runtime::docker::{self, Docker};
use self::runtime::{ContainerRuntime, RuntimeError};
pub use self::server::Pulse;
use crate::edgehub::Connection;
use crate::metamanager;

/// What others may see of the pods that run.
pub struct Running {
    /// What the node's status tells.
    pub outlook: Outlook,
    /// Whether the pods are looked after.
    pub pulse: Pulse,
    /// The kubelet's read-only API, to be served on loopback only: who reaches it reads every log.
    pub api: Router,
    /// Fetches images, with the pods' bound on how many at a time.
    pub images: Arc<Puller>,
}

/// Starts the node's pods on `tasks`. Returns at once: a runtime that is away is waited for.
///
/// # Errors
/// When the settings name no usable runtime socket.
pub fn start(
    settings: Settings,
    store: metamanager::Handle,
    connection: watch::Receiver<Connection>,
    tasks: &TaskSet,
) -> Result<Running, RuntimeError> {
    let runtime = runtime_of(&settings)?;
    Ok(start_with(settings, runtime, store, connection, tasks))
}

fn runtime_of(settings: &Settings) -> Result<Arc<dyn ContainerRuntime>, RuntimeError> {
    let limit = settings.runtime_timeout;
    let (api, endpoint) = settings.runtime_type.resolve(&settings.runtime_endpoint);
    Ok(match api {
        RuntimeApi::Cri => Arc::new(Cri::new(&endpoint, settings.image_endpoint.as_deref(), limit)?),
        RuntimeApi::Docker => {
            let options = docker::Options {
                limit,
                pause: settings.pause_image.clone(),
                log_max_size: settings.housekeeping.log_max_size,
                log_max_files: settings.housekeeping.log_max_files,
            };
            Arc::new(Docker::new(&endpoint, options)?)
        }
    })
}

/// The same on a runtime that is there already.
pub fn start_with(
    settings: Settings,
    runtime: Arc<dyn ContainerRuntime>,
    store: metamanager::Handle,
    connection: watch::Receiver<Connection>,
    tasks: &TaskSet,
) -> Running {
    let ctx = Arc::new(Context::new(settings, runtime, store, connection));
    let images = Arc::clone(&ctx.images);
    let (health, seen) = watch::channel(RuntimeHealth::Unknown);
    let outlook =
        Outlook { runtime: seen, pressure: ctx.pressure.subscribe(), images: ctx.listed_images.subscribe() };
    housekeeping::start(&ctx, tasks);
    let static_pods = static_pods::start(&ctx, &ctx.settings, tasks);
    let workers = Arc::new(tasks.child("pods"));
    let api = server::routes(&ctx, static_pods.clone());
    let beats = watch::Sender::new(Instant::now());
    let pulse = Pulse::new(beats.subscribe());
    tasks.spawn("pods", Restart::on_failure(), move |token| {
        // Each run has workers of its own, which end with it: never two for one pod.
        let manager = Manager::new(Arc::clone(&ctx), static_pods.clone(), &workers, health.clone());
        manager.run(token, beats.clone())
    });
    Running { outlook, pulse, api, images }
}
