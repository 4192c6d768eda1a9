//! Kubernetes' controllers and scheduler, as clients of its API.
//!
//! Owns: what makes pods of Deployments and other workloads, binds them to nodes, says which of them answer for a service, notices
//! nodes that went silent, gives claims their volumes, and clears up after owners that are gone. One folder a controller; what several of them need is in `cache`, `claim`, `events`, `hash`, `history`,
//! `pods`, `run`, `status` and `writes`.
//! Every controller is level-triggered: it looks at the caches, does what is missing through the API, and can be killed
//! anywhere. It may call: a [`kube::Client`] and nothing else, so it works the same beside any Kubernetes API. Called by:
//! cloudcore, which starts it with the embedded control plane only, because a real cluster has its own.

mod cache;
mod claim;
mod context;
mod cronjob;
mod daemonset;
mod deployment;
mod disruption;
mod endpoints;
mod error;
mod events;
mod garbage;
mod hash;
mod history;
mod job;
mod node;
mod pods;
mod replicaset;
mod run;
mod scheduler;
mod statefulset;
mod status;
mod volumes;
mod writes;

pub use context::Settings;

use kube::Client;
use tasks::TaskSet;

use crate::context::Context;

/// Starts all controllers and the scheduler on `tasks`. They run until `tasks` is cancelled.
///
/// While the API cannot be reached they wait and try again. Must be called within a tokio runtime.
pub fn start(client: Client, settings: Settings, tasks: &TaskSet) {
    let context = Context::start(client, settings, tasks);
    cronjob::start(&context, tasks);
    daemonset::start(&context, tasks);
    deployment::start(&context, tasks);
    disruption::start(&context, tasks);
    endpoints::start(&context, tasks);
    garbage::start(&context, tasks);
    job::start(&context, tasks);
    node::start(&context, tasks);
    replicaset::start(&context, tasks);
    scheduler::start(&context, tasks);
    statefulset::start(&context, tasks);
    volumes::start(&context, tasks);
}
