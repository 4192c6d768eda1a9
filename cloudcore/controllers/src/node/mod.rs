//! Notices nodes that fell silent, says so on the node and its pods, and removes the pods that do not tolerate it.
//!
//! Owns: the conditions that say Unknown, the taints that follow from conditions, the events about nodes, the deletion of pods by
//! `NoExecute` taints and of pods whose node is gone. May call: the API. Called by: `start`. Source: Kubernetes v1.36
//! `pkg/controller/{nodelifecycle,tainteviction,podgc,ttl}`.
//!
//! A node lives while its lease or its status changes; the times that it writes into them are never compared with a clock here. [`monitor`]
//! decides, [`lifecycle`] does. A pod on a silent node may still run: it is only ever asked to go, never taken out of the API, unless its
//! node's object is gone.

mod dress;
mod eviction;
mod lifecycle;
mod monitor;
mod podgc;
mod pods;
mod taints;
mod timetable;
mod zones;

use tasks::{Restart, TaskSet};

use crate::context::Context;

/// Starts the controllers of nodes on `tasks`.
pub(crate) fn start(context: &Context, tasks: &TaskSet) {
    let held = context.clone();
    tasks.spawn("node lifecycle", Restart::on_failure(), move |token| lifecycle::run(held.clone(), token));
    let held = context.clone();
    tasks.spawn("taint eviction", Restart::on_failure(), move |token| eviction::run(held.clone(), token));
    let held = context.clone();
    tasks.spawn("pod gc", Restart::on_failure(), move |token| podgc::run(held.clone(), token));
}
