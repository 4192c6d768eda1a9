//! Who answers for a service: Endpoints and EndpointSlices.
//!
//! Owns: the Endpoints and EndpointSlices of services that have a selector ([`service`]), the slices that mirror Endpoints which somebody
//! wrote by hand, and the end of Endpoints whose service is gone ([`mirror`]). What they say is decided in [`subsets`], [`slices`] and
//! [`packing`], which are pure. May call: the API, caches. Called by: the crate's `start`. Source: Kubernetes v1.36 `pkg/controller/endpoint`,
//! `pkg/controller/endpointslicemirroring` and `k8s.io/endpointslice`.

mod dress;
mod membership;
mod mirror;
mod packing;
mod pod;
mod service;
mod slices;
mod subsets;
mod trigger;
mod write;

use k8s_openapi::api::core::v1::Service;
use tasks::TaskSet;

use crate::context::Context;

/// Label of a slice: whose it is.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Label of a slice: who writes it.
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// Label of Endpoints and slices of services without an address.
const HEADLESS: &str = "service.kubernetes.io/headless";
/// Annotation: when the change happened that led to this state.
const TRIGGER: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// Looks after all services and all Endpoints, on `tasks`.
pub(crate) fn start(context: &Context, tasks: &TaskSet) {
    service::start(context, tasks);
    mirror::start(context, tasks);
}

fn cluster_ip(service: &Service) -> &str {
    service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()).unwrap_or_default()
}

fn is_headless(service: &Service) -> bool {
    matches!(cluster_ip(service), "" | "None")
}
