//! Service accounts.

use k8s_openapi::api::core::v1::ServiceAccount;

use super::super::descriptor::{Descriptor, Subresource};

pub(super) const SERVICE_ACCOUNT: Descriptor = Descriptor {
    short_names: &["sa"],
    subresources: &[Subresource {
        name: "token",
        body: Some(("authentication.k8s.io", "v1", "TokenRequest")),
        verbs: &["create"],
    }],
    ..Descriptor::of::<ServiceAccount>()
};
