//! The group `coordination.k8s.io`: leases, the heartbeats of nodes and leaders.

use k8s_openapi::api::coordination::v1::Lease;
use serde_json::Value;

use super::descriptor::Descriptor;
use crate::schema::{Errors, Json, Path};
use crate::table;

pub(super) const KINDS: &[Descriptor] = &[Descriptor {
    create_on_update: true,
    unconditional_update: false,
    validate,
    printer: table::LEASE,
    ..Descriptor::of::<Lease>()
}];

fn validate(lease: &Value, errors: &mut Errors) {
    let root = Path::Root;
    let spec = root.field("spec");
    if let Some(seconds) = lease.int("/spec/leaseDurationSeconds")
        && seconds <= 0
    {
        errors.invalid(&spec.field("leaseDurationSeconds"), seconds, "must be greater than 0");
    }
    if let Some(count) = lease.int("/spec/leaseTransitions")
        && count < 0
    {
        errors.invalid(&spec.field("leaseTransitions"), count, "must be greater than or equal to 0");
    }
    if lease.has("/spec/holderIdentity") && lease.text("/spec/holderIdentity").is_empty() {
        errors.invalid(&spec.field("holderIdentity"), "", "must not be empty");
    }
}
