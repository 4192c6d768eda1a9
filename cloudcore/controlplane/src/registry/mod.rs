//! What the server serves: one `Resource` per group, version and kind, with the rules for its objects.
//!
//! Built-in kinds have a `Descriptor` each, in the file of their family (`core`, `apps`, ...); custom kinds come and go with
//! their CRDs. Pure: calls `schema` and `table` (for columns), does no I/O. The API server asks it about every request.

pub(crate) mod admission;
mod apiextensions;
mod apps;
mod autoscaling;
mod batch;
mod certificates;
mod checks;
mod coordination;
mod core;
mod crds;
mod custom;
mod descriptor;
mod meta;
pub mod names;
mod network;
mod policy;
mod rbac;
mod resource;
mod reviews;
mod storage;
mod told;

use std::sync::{Arc, PoisonError, RwLock};

use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::policy::v1::Eviction;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::DeleteOptions;

pub(crate) use certificates::{
    requested as requested_certificate, validate_conditions as validate_certificate_conditions,
};
pub(crate) use core::classify_pod;
pub use custom::ScalePaths;
pub use descriptor::{Dependents, Descriptor, Subresource};
pub use resource::Resource;

use crate::schema::types::{RootSchema, Types};

/// Every served resource. Cheap to clone; readers take a snapshot and never wait for a writer's work.
#[derive(Clone)]
pub struct Registry {
    current: Arc<RwLock<Arc<Snapshot>>>,
    types: Arc<Types>,
}

/// What was served at one moment.
#[derive(Default)]
pub struct Snapshot {
    /// Changes with every change of the set, and is never what another process had: part of ETags, by which clients keep what
    /// they have read from this address, for hours and over restarts.
    pub generation: u64,
    /// In discovery order: core first, then groups by preference, resources by name.
    pub resources: Vec<Arc<Resource>>,
}

/// What is sent to subresources and along with a DELETE: no resources of their own, but their types must be known.
const BODIES: &[RootSchema] = &[
    |generator| generator.subschema_for::<DeleteOptions>(),
    |generator| generator.subschema_for::<Eviction>(),
    |generator| generator.subschema_for::<Scale>(),
    |generator| generator.subschema_for::<TokenRequest>(),
];

/// All built-in kinds: core first, then the groups in the order in which clients should prefer them.
fn descriptors() -> impl Iterator<Item = &'static Descriptor> {
    let families: [&'static [Descriptor]; 19] = [
        core::KINDS,
        told::APIS,
        apps::KINDS,
        core::EVENTS,
        reviews::AUTHENTICATION,
        reviews::AUTHORIZATION,
        autoscaling::KINDS,
        batch::KINDS,
        certificates::KINDS,
        network::NETWORKING,
        policy::POLICY,
        rbac::KINDS,
        storage::KINDS,
        admission::KINDS,
        apiextensions::KINDS,
        policy::SCHEDULING,
        coordination::KINDS,
        policy::NODE,
        network::DISCOVERY,
    ];
    families.into_iter().flatten()
}

impl Registry {
    /// The built-in kinds.
    pub fn new() -> Self {
        let types =
            Arc::new(Types::compile(descriptors().map(|one| one.schema).chain(BODIES.iter().copied())));
        let resources = descriptors()
            .filter_map(|descriptor| Resource::built_in(descriptor, &types))
            .map(Arc::new)
            .collect();
        let generation = fastrand::u64(..u64::MAX / 2);
        Self { current: Arc::new(RwLock::new(Arc::new(Snapshot { generation, resources }))), types }
    }

    /// What is served now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The resource at `/apis/GROUP/VERSION/PLURAL`.
    pub fn resolve(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Resource>> {
        self.snapshot().resolve(group, version, plural).cloned()
    }

    /// The resource that serves a kind.
    pub fn resolve_kind(&self, group: &str, version: &str, kind: &str) -> Option<Arc<Resource>> {
        let snapshot = self.snapshot();
        let mut all = snapshot.resources.iter();
        all.find(|one| one.group == group && one.version == version && one.kind == kind).cloned()
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

impl Snapshot {
    /// The resource at `/apis/GROUP/VERSION/PLURAL`.
    pub fn resolve(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Resource>> {
        self.resources.iter().find(|one| one.plural == plural && one.group == group && one.version == version)
    }
}

#[cfg(test)]
mod tests;
