//! The group `autoscaling`: stored, so that charts that bring an autoscaler install.

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;

use super::descriptor::{Descriptor, STATUS};
use crate::schema::Json;
use crate::table;

/// The kinds of `autoscaling/v2`.
pub(super) const KINDS: &[Descriptor] = &[Descriptor {
    short_names: &["hpa"],
    categories: &["all"],
    subresources: &[STATUS],
    default: |autoscaler| {
        if let Some(spec) = autoscaler.child("spec") {
            spec.default_to("minReplicas", 1);
        }
    },
    printer: table::AUTOSCALER,
    ..Descriptor::of::<HorizontalPodAutoscaler>()
}];
