//! The core group, `v1`.

mod account;
mod config;
mod endpoints;
mod event;
mod namespace;
mod node;
pub(super) mod pod;
mod quota;
mod service;
mod volume;

use k8s_openapi::api::core::v1::{Binding, PodTemplate};

pub(crate) use pod::classify as classify_pod;

use super::descriptor::Descriptor;

/// The kinds of the core group, by name.
pub(super) const KINDS: &[Descriptor] = &[
    Descriptor::review::<Binding>(),
    super::told::COMPONENT_STATUS,
    config::CONFIG_MAP,
    endpoints::ENDPOINTS,
    event::CORE_EVENT,
    quota::LIMIT_RANGE,
    namespace::NAMESPACE,
    node::NODE,
    volume::CLAIM,
    volume::VOLUME,
    pod::POD,
    Descriptor { generations: true, ..Descriptor::of::<PodTemplate>() },
    super::apps::REPLICATION_CONTROLLER,
    quota::RESOURCE_QUOTA,
    config::SECRET,
    account::SERVICE_ACCOUNT,
    service::SERVICE,
];

/// The group `events.k8s.io`: the same events in their newer shape.
pub(super) const EVENTS: &[Descriptor] = &[event::EVENT];
