//! Persistent volumes and claims as the scheduler sees them.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt;

use super::labels::{Labels, NodeTerm};
use crate::cache::is_going;
use crate::volumes::SELECTED_NODE;
use crate::volumes::claim::{is_bound, volume_of, waits_for_pod};
use crate::volumes::matching::{Offer, Wish};

/// Claims, volumes and classes.
#[derive(Debug, Default)]
pub(crate) struct Volumes {
    /// By namespace and name.
    pub(crate) claims: HashMap<(String, String), Claim>,
    /// By name.
    pub(crate) volumes: HashMap<String, Volume>,
    /// By name.
    pub(crate) classes: HashMap<String, Class>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Claim {
    pub(crate) wish: Wish,
    /// The volume that it names.
    pub(crate) volume: Option<String>,
    /// Whether it has that volume.
    pub(crate) bound: bool,
    /// Whether it had one that is gone.
    pub(crate) lost: bool,
    /// The node for which its volume is being made.
    pub(crate) selected: Option<String>,
    pub(crate) going: bool,
}

/// Where a volume can be used: anywhere, or where one of the terms matches.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Volume {
    pub(crate) terms: Option<Vec<NodeTerm>>,
    pub(crate) offer: Offer,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Class {
    /// `WaitForFirstConsumer`: bound only when a pod comes.
    pub(crate) waits: bool,
    /// Whether somebody makes volumes of it on demand.
    pub(crate) provisioned: bool,
}

impl Claim {
    pub(crate) fn of(claim: &PersistentVolumeClaim) -> Self {
        Self {
            wish: Wish::of(claim),
            volume: volume_of(claim).map(str::to_owned),
            bound: is_bound(claim) && volume_of(claim).is_some(),
            lost: claim.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Lost")),
            selected: claim.annotations().get(SELECTED_NODE).cloned(),
            going: is_going(claim),
        }
    }
}

impl Volume {
    pub(crate) fn of(volume: &PersistentVolume) -> Self {
        let spec = volume.spec.as_ref();
        let required = spec.and_then(|spec| spec.node_affinity.as_ref()?.required.as_ref());
        Self {
            terms: required.map(|one| one.node_selector_terms.iter().filter_map(NodeTerm::new).collect()),
            offer: Offer::of(volume),
        }
    }

    /// Whether it can be used on a node.
    pub(crate) fn reaches(&self, node: &str, labels: &Labels) -> bool {
        self.terms.as_ref().is_none_or(|terms| terms.iter().any(|term| term.matches(node, labels)))
    }
}

impl Class {
    pub(crate) fn of(class: &StorageClass) -> Self {
        Self { waits: waits_for_pod(class), provisioned: class.provisioner != "kubernetes.io/no-provisioner" }
    }
}
