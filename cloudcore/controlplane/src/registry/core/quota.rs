//! Limit ranges and resource quotas: stored; nothing enforces them yet.

use k8s_openapi::api::core::v1::{LimitRange, ResourceQuota};

use super::super::descriptor::{Descriptor, STATUS};
use crate::table;

pub(super) const LIMIT_RANGE: Descriptor = Descriptor {
    short_names: &["limits"],
    create_on_update: true,
    printer: table::NAME_AND_CREATED_AT,
    ..Descriptor::of::<LimitRange>()
};

pub(super) const RESOURCE_QUOTA: Descriptor = Descriptor {
    short_names: &["quota"],
    subresources: &[STATUS],
    printer: table::RESOURCE_QUOTA,
    ..Descriptor::of::<ResourceQuota>()
};
