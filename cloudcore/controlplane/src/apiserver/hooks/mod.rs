//! Who else is asked about a write: the webhooks and policies of `admissionregistration.k8s.io`.
//!
//! [`Api::mutate`] lets mutating webhooks change an object before the server's own rules see it for the last time, [`Api::judge`]
//! lets policies and validating webhooks refuse what would be stored. Both wait for others, so who calls them holds no lock, and
//! gives its turn away meanwhile. What the server
//! writes for itself, and the registrations themselves, are nobody else's business.
//!
//! May call: `store` (to read), `registry`, `patch`, the network. Called by: `objects`, and by subresources with bodies of their own.
//! Source: Kubernetes v1.36 `apiserver/pkg/admission/plugin/webhook` and `policy`.

mod caller;
mod matching;
mod mutating;
mod params;
mod policies;
mod policy;
mod question;
mod registrations;
mod reply;
mod service;
mod validating;
mod verdict;
mod webhook;
mod writes;

pub(super) use question::{Operation, Question};
pub(super) use registrations::Registrations;

use super::{Api, Target};
use crate::registry::admission::GROUP;

impl Api {
    /// Whether anybody is registered who could have something to say about writes to `target`.
    pub(super) fn has_hooks(&self, target: &Target) -> bool {
        self.has_mutators(target) || self.has_judges(target)
    }

    /// The same for those who may change objects.
    pub(super) fn has_mutators(&self, target: &Target) -> bool {
        is_public(target) && registrations::any(&self.store, &[registrations::MUTATING])
    }

    /// The same for those who may only refuse.
    pub(super) fn has_judges(&self, target: &Target) -> bool {
        is_public(target)
            && registrations::any(&self.store, &[registrations::VALIDATING, registrations::BINDINGS])
    }
}

/// Whether others are asked at all: a registration that stands in the way must always be removable.
fn is_public(target: &Target) -> bool {
    target.who.is_some() && target.resource.group != GROUP
}
