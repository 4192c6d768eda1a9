//! Kinds whose objects are not stored but told when somebody asks: which APIs are here, and how the parts of the server are.

use k8s_openapi::api::core::v1::ComponentStatus;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;

use super::descriptor::Descriptor;
use crate::table;

const READ: &[&str] = &["get", "list"];

/// Old clients ask for it.
pub(super) const COMPONENT_STATUS: Descriptor = Descriptor {
    short_names: &["cs"],
    verbs: READ,
    deprecation: Some("v1 ComponentStatus is deprecated in v1.19+"),
    printer: table::COMPONENT_STATUS,
    ..Descriptor::of::<ComponentStatus>()
};

/// The kinds of `apiregistration.k8s.io/v1`. All APIs are this server's own.
pub(super) const APIS: &[Descriptor] = &[Descriptor {
    categories: &["api-extensions"],
    verbs: READ,
    printer: table::API_SERVICE,
    ..Descriptor::of::<APIService>()
}];
