//! Which nodes a pod may run on: one file a rule, in the order in which Kubernetes asks them; the first that says no counts.
//!
//! What a rule needs to know of the whole cluster is looked up once a pod, in [`Question::new`], not once a node.

mod affinity;
mod fit;
mod pods;
mod ports;
mod spread;
mod taints;
mod unschedulable;
mod volumes;

use std::collections::BTreeSet;

pub(super) use spread::{included, selected};
pub(super) use volumes::{Choice, choose};

use super::node::{Facts, Node};
use super::pending::Pending;
use super::reason::{Fault, Rejection};
use super::snapshot::Snapshot;

/// A pod that asks for a node, and what was looked up for it.
pub(crate) struct Question<'s> {
    snapshot: &'s Snapshot,
    pod: &'s Pending,
    /// The only nodes that can do, if the pod names any.
    named: Option<BTreeSet<String>>,
    relations: pods::Relations,
    spread: Vec<spread::Count<'s>>,
}

/// A node, as the rules see it.
#[derive(Clone, Copy)]
pub(crate) struct Candidate<'s> {
    pub(crate) name: &'s str,
    pub(crate) node: &'s Node,
    pub(crate) facts: &'s Facts,
}

impl<'s> Question<'s> {
    /// Looks up what the rules need.
    ///
    /// # Errors
    /// If no node can do because of the pod itself.
    pub(crate) fn new(snapshot: &'s Snapshot, pod: &'s Pending) -> Result<Self, Fault> {
        let named = affinity::named(pod)?;
        volumes::look(snapshot, pod)?;
        Ok(Self {
            named,
            relations: pods::Relations::of(snapshot, pod),
            spread: spread::count(snapshot, pod),
            snapshot,
            pod,
        })
    }

    /// Whether the pod may run on a node.
    ///
    /// # Errors
    /// If not: for what reasons.
    pub(crate) fn filter(&self, on: Candidate<'_>) -> Result<(), Rejection> {
        if self.named.as_ref().is_some_and(|named| !named.contains(on.name)) {
            return Err(super::reason::Reason::NotNamed.alone(true));
        }
        node_rules(self.snapshot, self.pod, on)?;
        volumes::filter(self.snapshot, self.pod, on)?;
        spread::filter(&self.spread, on)?;
        self.relations.filter(on)
    }
}

/// The rules that look at nothing but the node and what is on it.
pub(crate) fn node_rules(snapshot: &Snapshot, pod: &Pending, on: Candidate<'_>) -> Result<(), Rejection> {
    unschedulable::filter(pod, on)?;
    taints::filter(pod, on)?;
    affinity::filter(pod, on)?;
    ports::filter(snapshot, pod, on)?;
    fit::filter(snapshot, pod, on)
}
