//! A node as the scheduler sees it: what it offers, and what is taken.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node as Object, Taint};

use super::labels::Labels;
use super::pod::Footprint;
use super::resources::{Requests, Resources};

/// A node's own part, which changes seldom: a heartbeat leaves it as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Facts {
    pub(crate) labels: Labels,
    pub(crate) taints: Vec<Taint>,
    pub(crate) unschedulable: bool,
    pub(crate) allocatable: Resources,
    /// How many pods it takes.
    pub(crate) pods: i64,
    /// Sizes in bytes by name; an image has several names.
    pub(crate) images: HashMap<String, i64>,
}

/// A node with the pods that are, or are about to be, bound to it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Node {
    /// None while pods are bound to a node that is not there.
    pub(crate) facts: Option<Facts>,
    pub(crate) taken: Requests,
    /// By uid.
    pub(crate) pods: BTreeMap<String, Arc<Footprint>>,
}

impl Facts {
    pub(crate) fn of(node: &Object) -> Self {
        let status = node.status.clone().unwrap_or_default();
        let offered = status.allocatable.as_ref().or(status.capacity.as_ref());
        let pods = offered.and_then(|list| proto::quantity::whole(&list.get("pods")?.0).ok()).unwrap_or(0);
        let spec = node.spec.as_ref();
        let images = status.images.iter().flatten().flat_map(|image| {
            let size = image.size_bytes.unwrap_or(0);
            image.names.iter().flatten().map(move |name| (name.clone(), size))
        });
        Self {
            labels: node.metadata.labels.clone().unwrap_or_default(),
            taints: spec.and_then(|spec| spec.taints.clone()).unwrap_or_default(),
            unschedulable: spec.and_then(|spec| spec.unschedulable).unwrap_or(false),
            allocatable: Resources::offered(offered),
            pods,
            images: images.collect(),
        }
    }
}

impl Node {
    /// Counts a pod in.
    pub(super) fn add(&mut self, pod: Arc<Footprint>) {
        self.taken.needed.add(&pod.requests.needed);
        self.taken.scored.add(&pod.requests.scored);
        self.pods.insert(pod.identity.uid.clone(), pod);
    }

    /// Counts a pod out.
    pub(super) fn remove(&mut self, uid: &str) -> Option<Arc<Footprint>> {
        let pod = self.pods.remove(uid)?;
        self.taken.needed.subtract(&pod.requests.needed);
        self.taken.scored.subtract(&pod.requests.scored);
        Some(pod)
    }
}
