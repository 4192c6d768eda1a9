//! Persistent volumes and claims as the scheduler sees them.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;

use super::labels::NodeTerm;

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

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Claim {
    pub(crate) class: Option<String>,
    /// The volume that it is bound to.
    pub(crate) volume: Option<String>,
    pub(crate) going: bool,
}

/// Where a volume can be used: anywhere, or where one of the terms matches.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Volume {
    pub(crate) terms: Option<Vec<NodeTerm>>,
    /// The class of the volume while no claim has it.
    pub(crate) free_in: Option<String>,
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
        let spec = claim.spec.as_ref();
        Self {
            class: spec.and_then(|spec| spec.storage_class_name.clone()),
            volume: spec.and_then(|spec| spec.volume_name.clone()).filter(|name| !name.is_empty()),
            going: claim.metadata.deletion_timestamp.is_some(),
        }
    }
}

impl Volume {
    pub(crate) fn of(volume: &PersistentVolume) -> Self {
        let spec = volume.spec.as_ref();
        let required = spec.and_then(|spec| spec.node_affinity.as_ref()?.required.as_ref());
        let free = spec.is_some_and(|spec| spec.claim_ref.is_none());
        Self {
            terms: required.map(|one| one.node_selector_terms.iter().filter_map(NodeTerm::new).collect()),
            free_in: spec.filter(|_| free).map(|spec| spec.storage_class_name.clone().unwrap_or_default()),
        }
    }
}

impl Class {
    pub(crate) fn of(class: &StorageClass) -> Self {
        Self {
            waits: class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer"),
            provisioned: class.provisioner != "kubernetes.io/no-provisioner",
        }
    }
}
