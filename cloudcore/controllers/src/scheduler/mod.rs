//! The scheduler: gives every pod that has no node the node that suits it best.
//!
//! Owns: what is taken on which node, who waits, and the choice. May call: the API, through `api`; the caches. Called by: the
//! crate's `start`.
//!
//! [`snapshot`] is the cluster, kept up with one change at a time, decisions that the API has not confirmed included.
//! [`filter`] says which nodes can, [`score`] which is best, [`decide`] puts both together, [`preempt`] looks for pods that have
//! to go, [`queue`] says whose turn it is: all without I/O. [`task`] takes changes from the [`feed`], [`see`] notes them, and the [`worker`] carries out what is decided.
//! Source of the rules: Kubernetes v1.36 `pkg/scheduler` with its default configuration; all nodes are looked at, however many.

mod api;
mod decide;
mod feed;
mod filter;
mod kin;
mod labels;
mod node;
mod pending;
mod pod;
mod preempt;
mod queue;
mod reason;
mod resources;
mod score;
mod see;
mod snapshot;
mod task;
#[cfg(test)]
mod tests;
mod volumes;
mod worker;

pub(crate) use pending::Pending;
pub(crate) use task::start;

/// The name by which pods ask for this scheduler, and which its events carry.
const SCHEDULER: &str = "default-scheduler";

/// The reason of the event that says why a pod has no node.
const FAILED: &str = "FailedScheduling";
