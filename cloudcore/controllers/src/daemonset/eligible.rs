//! Which nodes a daemon set is for.
//!
//! Source: Kubernetes v1.36 `pkg/controller/daemon/daemon_controller.go` (`NodeShouldRunDaemonPod`).

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Node, Taint};
use kube::ResourceExt;

use super::pod::{own_template, template};
use crate::scheduler::Pending;

/// What a set asks of nodes.
pub(super) struct Rules {
    pod: Pending,
    /// The template may name one node itself.
    node: Option<String>,
}

/// What a set's pods may do on a node.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Place {
    /// A new one may come.
    pub(super) run: bool,
    /// One that is there may stay.
    pub(super) stay: bool,
}

impl Rules {
    /// Nothing for a set without a template, which the API does not make.
    pub(super) fn of(set: &DaemonSet) -> Option<Self> {
        let node = own_template(set)?.spec.as_ref()?.node_name.clone().filter(|name| !name.is_empty());
        Some(Self { pod: Pending::of(&template(set)?)?, node })
    }

    pub(super) fn place(&self, node: &Node) -> Place {
        let (name, none) = (node.name_any(), Default::default());
        let labels = node.metadata.labels.as_ref().unwrap_or(&none);
        if self.node.as_ref().is_some_and(|wanted| *wanted != name) || !self.pod.wants(&name, labels) {
            return Place::default();
        }
        let taints = taints(node);
        let stay = self.pod.untolerated(taints, &["NoExecute"]).is_none();
        Place { run: stay && self.pod.untolerated(taints, &["NoSchedule"]).is_none(), stay }
    }
}

fn taints(node: &Node) -> &[Taint] {
    node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default()
}

/// Tells the changes of nodes that matter from heartbeats. Bounded by the number of nodes.
#[derive(Default)]
pub(super) struct Known(Mutex<HashMap<String, Node>>);

impl Known {
    /// Whether a set may think otherwise of a node than before. `is_there` is false when the node is gone.
    pub(super) fn changed(&self, node: &Node, is_there: bool) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_there {
            return known.remove(&node.name_any()).is_some();
        }
        let mut facts = Node::default();
        facts.metadata.uid = node.metadata.uid.clone();
        facts.metadata.labels = node.metadata.labels.clone();
        facts.spec = node.spec.clone();
        known.insert(node.name_any(), facts.clone()).is_none_or(|before| before != facts)
    }
}
