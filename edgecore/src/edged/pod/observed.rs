//! What the runtime holds of one pod, in the order that questions are asked.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::net::IpAddr;

use super::policy::RestartPolicy;
use crate::edged::runtime::{Container, ContainerId, Sandbox, SandboxId};

/// Sandboxes and containers of one pod, newest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// All sandboxes, newest first.
    pub sandboxes: Vec<Sandbox>,
    /// All containers, newest first.
    pub containers: Vec<Container>,
    /// Addresses of the newest sandbox, if it is ready and has a network of its own.
    pub addresses: Vec<IpAddr>,
    /// Containers that were stopped in order to be started again: how they ended says nothing.
    pub condemned: BTreeSet<ContainerId>,
}

impl Observed {
    /// Sorts what a runtime listed.
    pub fn new(mut sandboxes: Vec<Sandbox>, mut containers: Vec<Container>, addresses: Vec<IpAddr>) -> Self {
        sandboxes.sort_by_key(|sandbox| Reverse((sandbox.attempt, sandbox.created)));
        containers.sort_by_key(|container| Reverse((container.created, container.attempt)));
        Self { sandboxes, containers, addresses, condemned: BTreeSet::new() }
    }

    /// The sandbox that containers may be started in: the newest one, if it is usable.
    pub fn current(&self, host_network: bool) -> Option<&Sandbox> {
        self.sandboxes.first().filter(|newest| newest.ready && (host_network || !self.addresses.is_empty()))
    }

    /// The newest container of that name.
    pub fn latest(&self, name: &str) -> Option<&Container> {
        self.containers.iter().find(|container| container.name == name)
    }

    /// The newest container of that name inside `sandbox`.
    pub fn latest_in(&self, name: &str, sandbox: &SandboxId) -> Option<&Container> {
        self.containers.iter().find(|container| container.name == name && container.sandbox == *sandbox)
    }

    /// Containers of that name that have ended, newest first.
    pub fn ended<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Container> {
        self.containers.iter().filter(move |container| container.name == name && container.exit().is_some())
    }

    /// Whether this container, which has ended, is followed by another one.
    pub fn restarts(&self, policy: RestartPolicy, container: &Container) -> bool {
        self.condemned.contains(&container.id) || container.exit().is_some_and(|exit| policy.restarts(exit))
    }

    /// Whether nothing of the pod is left in the runtime.
    pub fn is_empty(&self) -> bool {
        self.sandboxes.is_empty() && self.containers.is_empty()
    }
}
