//! Config maps, secrets and tokens that a pod refers to: which ones, and what was found. No I/O here.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ConfigMap, Container, PersistentVolume, PersistentVolumeClaim, Pod, Secret, ServiceAccountTokenProjection,
};

use super::pod::{members, policy};

/// Names that a pod refers to, in its own namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct References {
    /// Config maps.
    pub config_maps: BTreeSet<String>,
    /// Secrets, pull secrets included.
    pub secrets: BTreeSet<String>,
    /// Service-account tokens.
    pub tokens: BTreeSet<TokenRequest>,
    /// Claims of persistent volumes.
    pub claims: BTreeSet<String>,
}

/// A claim and what it is bound to.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// The claim.
    pub claim: PersistentVolumeClaim,
    /// The volume; `None` while the claim is not bound.
    pub volume: Option<Result<PersistentVolume, Absent>>,
}

/// A token that a projected volume asks for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TokenRequest {
    /// For whom it is; empty means the API server's default.
    pub audience: String,
    /// How long it is to live.
    pub seconds: i64,
}

impl TokenRequest {
    /// What the projection asks for.
    pub fn of(projection: &ServiceAccountTokenProjection) -> Self {
        Self {
            audience: projection.audience.clone().unwrap_or_default(),
            seconds: projection.expiration_seconds.unwrap_or(3600),
        }
    }
}

/// A token that was issued.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    /// The token itself.
    pub text: String,
    /// When to ask for a new one.
    pub renew: Timestamp,
}

/// Why an object is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Absent {
    /// The API says that there is none.
    NotFound,
    /// It is not on this node and the cloud is away. What is optional counts as missing then, so that a node that
    /// boots alone starts its pods.
    Offline,
    /// Nobody could say; asked again later.
    Unavailable(String),
}

impl Absent {
    /// Whether a pod that can do without the object goes on without it.
    pub fn is_optional(&self) -> bool {
        matches!(self, Self::NotFound | Self::Offline)
    }

    /// What it means for a pod that cannot do without the object of that kind and name.
    pub fn missing(self, kind: &'static str, name: &str) -> Missing {
        let name = name.to_owned();
        match self {
            Self::NotFound => Missing::NotFound { kind, name },
            other => Missing::Unavailable { kind, name, why: other.words() },
        }
    }

    /// Why it could not be had, in words.
    pub fn words(self) -> String {
        match self {
            Self::NotFound => "it does not exist".into(),
            Self::Offline => "the cloud is not connected".into(),
            Self::Unavailable(why) => why,
        }
    }
}

/// An object that a pod cannot do without could not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// It does not exist.
    #[error("{kind} {name:?} not found")]
    NotFound {
        /// `configmap`, `secret` or `service account token`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// It could not be fetched.
    #[error("{kind} {name:?} is not on this node and could not be fetched: {why}")]
    Unavailable {
        /// `configmap`, `secret` or `service account token`.
        kind: &'static str,
        /// Its name.
        name: String,
        /// What stood in the way.
        why: String,
    },
}

/// The objects that a pod refers to, as far as they could be had.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    /// By name.
    pub config_maps: BTreeMap<String, Result<ConfigMap, Absent>>,
    /// By name.
    pub secrets: BTreeMap<String, Result<Secret, Absent>>,
    /// By request.
    pub tokens: BTreeMap<TokenRequest, Result<Token, Absent>>,
    /// By name.
    pub claims: BTreeMap<String, Result<Claim, Absent>>,
    /// The node's labels, where a claim needs them.
    pub node_labels: BTreeMap<String, String>,
}

impl Objects {
    /// The config map; nothing if there is none and the pod can do without.
    pub fn needed_config_map(
        &self,
        name: &str,
        optional: Option<bool>,
    ) -> Result<Option<&ConfigMap>, Missing> {
        needed(lookup(&self.config_maps, &name.to_owned()), "configmap", name, optional)
    }

    /// The secret; nothing if there is none and the pod can do without.
    pub fn needed_secret(&self, name: &str, optional: Option<bool>) -> Result<Option<&Secret>, Missing> {
        needed(self.secret(name), "secret", name, optional)
    }

    /// The secret, or why not.
    pub fn secret(&self, name: &str) -> Result<&Secret, Absent> {
        lookup(&self.secrets, &name.to_owned())
    }

    /// The token, or why not.
    pub fn token(&self, request: &TokenRequest) -> Result<&Token, Absent> {
        lookup(&self.tokens, request)
    }

    /// The claim, or why not.
    pub fn claim(&self, name: &str) -> Result<&Claim, Absent> {
        lookup(&self.claims, &name.to_owned())
    }

    /// Whether everything referred to was found or is known not to exist.
    pub fn complete(&self) -> bool {
        let unknown =
            |absent: Option<&Absent>| matches!(absent, Some(Absent::Unavailable(_) | Absent::Offline));
        !(self.config_maps.values().any(|found| unknown(found.as_ref().err()))
            || self.secrets.values().any(|found| unknown(found.as_ref().err()))
            || self.claims.values().any(|found| unknown(found.as_ref().err()))
            || self.tokens.values().any(|found| unknown(found.as_ref().err())))
    }
}

fn lookup<'a, K: Ord, T>(map: &'a BTreeMap<K, Result<T, Absent>>, key: &K) -> Result<&'a T, Absent> {
    match map.get(key) {
        Some(Ok(object)) => Ok(object),
        Some(Err(absent)) => Err(absent.clone()),
        None => Err(Absent::Unavailable("not fetched yet".into())),
    }
}

fn needed<T>(
    found: Result<T, Absent>,
    kind: &'static str,
    name: &str,
    optional: Option<bool>,
) -> Result<Option<T>, Missing> {
    match found {
        Ok(object) => Ok(Some(object)),
        Err(absent) if absent.is_optional() && optional == Some(true) => Ok(None),
        Err(absent) => Err(absent.missing(kind, name)),
    }
}

impl References {
    /// Everything that the pod's environment, volumes and image pulls need.
    pub fn of(pod: &Pod) -> Self {
        let mut refs = Self::default();
        let spec = policy::spec(pod);
        for container in policy::inits(pod).iter().chain(&spec.containers).chain(&members::ephemerals(pod)) {
            refs.environment(container);
        }
        for secret in spec.image_pull_secrets.iter().flatten() {
            refs.secrets.insert(secret.name.clone());
        }
        for volume in spec.volumes.iter().flatten() {
            if let Some(name) = volume.config_map.as_ref().map(|source| &source.name) {
                refs.config_maps.insert(name.clone());
            }
            if let Some(name) = volume.secret.as_ref().and_then(|source| source.secret_name.as_ref()) {
                refs.secrets.insert(name.clone());
            }
            if let Some(source) = &volume.persistent_volume_claim {
                refs.claims.insert(source.claim_name.clone());
            }
            for source in volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten()) {
                refs.config_maps.extend(source.config_map.as_ref().map(|source| source.name.clone()));
                refs.secrets.extend(source.secret.as_ref().map(|source| source.name.clone()));
                refs.tokens.extend(source.service_account_token.as_ref().map(TokenRequest::of));
            }
        }
        refs
    }

    fn environment(&mut self, container: &Container) {
        for source in container.env_from.iter().flatten() {
            self.config_maps.extend(source.config_map_ref.as_ref().map(|reference| reference.name.clone()));
            self.secrets.extend(source.secret_ref.as_ref().map(|reference| reference.name.clone()));
        }
        for source in container.env.iter().flatten().filter_map(|variable| variable.value_from.as_ref()) {
            self.config_maps.extend(source.config_map_key_ref.as_ref().map(|key| key.name.clone()));
            self.secrets.extend(source.secret_key_ref.as_ref().map(|key| key.name.clone()));
        }
    }
}
