//! Deletes what lost its owners, and lets owners go that wait for what they own.
//!
//! Owns: the graph of who owns whom, from a metadata-only watch of every kind that the API serves, custom ones included as they come and
//! go. May call: the API. Called by: `start`. Source: Kubernetes v1.36 `pkg/controller/garbagecollector`.
//!
//! The graph only says what may be worth a look. Whether something is deleted is decided from live reads of the object and of each of its
//! owners ([`verdict`]), and the deletion holds only for the very version that was read.

mod absent;
mod collector;
mod graph;
mod kinds;
mod lean;
mod queue;
mod verdict;
mod work;

use tasks::{Restart, TaskSet};

use crate::context::Context;

/// Starts the collector on `tasks`.
pub(crate) fn start(context: &Context, tasks: &TaskSet) {
    let (client, events) = (context.client.clone(), context.recorder("garbage-collector-controller"));
    tasks.spawn("garbage collector", Restart::on_failure(), move |token| {
        collector::run(client.clone(), events.clone(), token)
    });
}
