//! Kinds that are answered, never stored: who am I, may I.

use k8s_openapi::api::authentication::v1::{SelfSubjectReview, TokenReview};
use k8s_openapi::api::authorization::v1::{
    LocalSubjectAccessReview, SelfSubjectAccessReview, SelfSubjectRulesReview, SubjectAccessReview,
};

use super::descriptor::Descriptor;

/// The kinds of `authentication.k8s.io/v1`.
pub(super) const AUTHENTICATION: &[Descriptor] =
    &[Descriptor::review::<SelfSubjectReview>(), Descriptor::review::<TokenReview>()];

/// The kinds of `authorization.k8s.io/v1`.
pub(super) const AUTHORIZATION: &[Descriptor] = &[
    Descriptor::review::<LocalSubjectAccessReview>(),
    Descriptor::review::<SelfSubjectAccessReview>(),
    Descriptor::review::<SelfSubjectRulesReview>(),
    Descriptor::review::<SubjectAccessReview>(),
];
