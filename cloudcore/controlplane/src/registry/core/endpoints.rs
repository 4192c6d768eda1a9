//! Endpoints, the old form of endpoint slices.

use k8s_openapi::api::core::v1::Endpoints;
use serde_json::Value;

use super::super::descriptor::Descriptor;
use crate::schema::Json;
use crate::table;

pub(super) const ENDPOINTS: Descriptor = Descriptor {
    short_names: &["ep"],
    create_on_update: true,
    deprecation: Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"),
    default,
    printer: table::ENDPOINTS,
    ..Descriptor::of::<Endpoints>()
};

fn default(endpoints: &mut Value) {
    for subset in endpoints.list_mut("/subsets") {
        for port in subset.list_mut("/ports") {
            port.default_to("protocol", "TCP");
        }
    }
}
