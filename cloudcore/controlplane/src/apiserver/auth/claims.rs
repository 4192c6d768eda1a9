//! What tokens say, in Kubernetes' names.

use serde::{Deserialize, Serialize};

/// An object by name and uid.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) uid: String,
}

/// The claim `kubernetes.io`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Kubernetes {
    pub(super) namespace: String,
    pub(super) serviceaccount: Named,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) pod: Option<Named>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) secret: Option<Named>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) node: Option<Named>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) warnafter: Option<i64>,
}

/// The claims of tokens that were asked for.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Claims {
    pub(super) aud: Vec<String>,
    pub(super) exp: i64,
    pub(super) iat: i64,
    pub(super) iss: String,
    pub(super) jti: String,
    pub(super) nbf: i64,
    pub(super) sub: String,
    #[serde(rename = "kubernetes.io")]
    pub(super) kubernetes: Kubernetes,
}

/// The claims of tokens in secrets, which have no end.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LegacyClaims {
    pub(super) iss: String,
    #[serde(rename = "kubernetes.io/serviceaccount/namespace")]
    pub(super) namespace: String,
    #[serde(rename = "kubernetes.io/serviceaccount/secret.name")]
    pub(super) secret: String,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.name")]
    pub(super) name: String,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.uid")]
    pub(super) uid: String,
    pub(super) sub: String,
}
