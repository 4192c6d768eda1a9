//! One look at one object: reads what is so now, and does what follows.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, Preconditions};
use kube::core::PartialObjectMeta;
use kube::{Api, Client};
use serde_json::json;

use super::absent::Absent;
use super::graph::{Item, Place, Uid};
use super::kinds::{Kinds, Served};
use super::verdict::{Standing, Verdict, unblocked, verdict};
use crate::error::Error;

/// The finalizer of an owner that waits until its dependents are gone.
const FOREGROUND: &str = "foregroundDeletion";
/// The finalizer of an owner that waits until its dependents forgot it.
const ORPHAN: &str = "orphan";
/// How many dependents are made to forget their owner at once.
const AT_ONCE: usize = 16;

/// What a look came to.
pub(super) enum Outcome {
    Done,
    /// The object is not there.
    NotThere,
    /// These have to be looked at first.
    First(Vec<Uid>),
}

/// A look has to be repeated.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Api(#[from] Error),
    /// The kind may come yet, and an owner of an unknown kind may be there.
    #[error("{0} is not served")]
    Unserved(String),
}

/// The API, as the collector uses it.
#[derive(Clone)]
pub(super) struct Worker {
    pub(super) client: Client,
    pub(super) kinds: Arc<Kinds>,
    pub(super) absent: Arc<Absent>,
}

type Metadata = PartialObjectMeta<DynamicObject>;

// === impl Worker ===

impl Worker {
    /// Deletes the object if nobody owns it any more; lets it go if nothing is left that it waits for.
    pub(super) async fn examine(&self, item: &Item) -> Result<Outcome, Failure> {
        if item.going && !item.waits {
            return Ok(Outcome::Done);
        }
        let api = self.api(&item.place)?;
        let Some(live) = self.live(&api, &item.place, &item.uid).await? else {
            return Ok(Outcome::NotThere);
        };
        if item.waits {
            if !item.blocking.is_empty() {
                return Ok(Outcome::First(item.idle.clone()));
            }
            self.finalize(&api, &item.place, &live, FOREGROUND).await?;
            return Ok(Outcome::Done);
        }
        let mut standings = Vec::new();
        for owner in live.owner_references.iter().flatten() {
            let Some(standing) = self.standing(&item.place, owner).await? else { return Ok(Outcome::Done) };
            standings.push(standing);
        }
        match verdict(item, &live, &standings) {
            Verdict::Keep => Ok(Outcome::Done),
            Verdict::Disown(left) => {
                tracing::debug!(object = %item.place, "owners are gone, others are there");
                self.set_owners(&api, &item.place, &live, &left).await?;
                Ok(Outcome::Done)
            }
            Verdict::Delete { policy, unblock } => {
                let mut version = live.resource_version.clone();
                if unblock {
                    let changed = self.set_owners(&api, &item.place, &live, &unblocked(&live)).await?;
                    version = changed.and_then(|changed| changed.metadata.resource_version);
                }
                tracing::info!(object = %item.place, ?policy, "nobody owns it any more: deleting it");
                let params = DeleteParams {
                    propagation_policy: Some(policy),
                    preconditions: Some(Preconditions {
                        uid: Some(item.uid.to_string()),
                        resource_version: version,
                    }),
                    ..DeleteParams::default()
                };
                match api.delete(&item.place.name, &params).await {
                    Err(kube::Error::Api(status)) if status.code == 404 => Ok(Outcome::NotThere),
                    result => {
                        result.map_err(Error::api("delete an object without owners"))?;
                        Ok(Outcome::Done)
                    }
                }
            }
        }
    }

    /// Makes all `dependents` forget their owner, and then lets the owner go.
    pub(super) async fn orphan(
        &self,
        owner: &Item,
        dependents: Vec<(Uid, Place)>,
    ) -> Result<Outcome, Failure> {
        let forget = |(uid, place): (Uid, Place)| async move {
            let api = self.api(&place)?;
            let Some(live) = self.live(&api, &place, &uid).await? else { return Ok(()) };
            let mut left = live.owner_references.clone().unwrap_or_default();
            let before = left.len();
            left.retain(|reference| *reference.uid != *owner.uid);
            if left.len() != before {
                self.set_owners(&api, &place, &live, &left).await?;
            }
            Ok::<(), Failure>(())
        };
        futures::stream::iter(dependents)
            .map(forget)
            .buffer_unordered(AT_ONCE)
            .try_for_each(|()| async { Ok(()) })
            .await?;
        let api = self.api(&owner.place)?;
        if let Some(live) = self.live(&api, &owner.place, &owner.uid).await? {
            self.finalize(&api, &owner.place, &live, ORPHAN).await?;
        }
        Ok(Outcome::Done)
    }

    fn served(&self, place: &Place) -> Result<&Served, Failure> {
        let kind = &place.kind;
        self.kinds
            .find(&kind.api_version, &kind.kind)
            .ok_or_else(|| Failure::Unserved(format!("{} {}", kind.api_version, kind.kind)))
    }

    fn api(&self, place: &Place) -> Result<Api<Metadata>, Failure> {
        let served = self.served(place)?;
        Ok(if served.namespaced {
            Api::namespaced_with(self.client.clone(), &place.namespace, &served.resource)
        } else {
            Api::all_with(self.client.clone(), &served.resource)
        })
    }

    /// The metadata of the object with this uid; nothing if its place is empty or another's.
    async fn live(
        &self,
        api: &Api<Metadata>,
        place: &Place,
        uid: &str,
    ) -> Result<Option<ObjectMeta>, Failure> {
        let live = api.get_opt(&place.name).await.map_err(Error::api("read an object"))?;
        Ok(live.map(|live| live.metadata).filter(|live| live.uid.as_deref() == Some(uid)))
    }

    /// How the owner of an object at `place` is; nothing if it can never be told, because an object of the cluster names an owner that
    /// would be in some namespace.
    async fn standing(&self, place: &Place, owner: &OwnerReference) -> Result<Option<Standing>, Failure> {
        let at = |namespace: &Arc<str>| {
            let kind = super::graph::Kind {
                api_version: owner.api_version.as_str().into(),
                kind: owner.kind.as_str().into(),
            };
            Place { kind: Arc::new(kind), namespace: Arc::clone(namespace), name: owner.name.as_str().into() }
        };
        let uid: Uid = owner.uid.as_str().into();
        let (here, nowhere) = (at(&place.namespace), at(&Arc::from("")));
        if self.absent.has(&uid, &nowhere) || self.absent.has(&uid, &here) {
            return Ok(Some(Standing::Dangling));
        }
        let namespaced = self.served(&here)?.namespaced;
        if namespaced && place.namespace.is_empty() {
            tracing::debug!(object = %place, owner = %here, "an object of the cluster names an owner in a namespace");
            return Ok(None);
        }
        let live = self.live(&self.api(&here)?, &here, &owner.uid).await?;
        Ok(Some(match live {
            None => {
                self.absent.add(&uid, if namespaced { &here } else { &nowhere });
                Standing::Dangling
            }
            Some(live)
                if live.deletion_timestamp.is_some()
                    && live.finalizers.iter().flatten().any(|finalizer| finalizer == FOREGROUND) =>
            {
                Standing::Waiting
            }
            Some(_) => Standing::Solid,
        }))
    }

    async fn set_owners(
        &self,
        api: &Api<Metadata>,
        place: &Place,
        live: &ObjectMeta,
        owners: &[OwnerReference],
    ) -> Result<Option<Metadata>, Failure> {
        let owners = if owners.is_empty() { json!(null) } else { json!(owners) };
        self.change(api, place, live, json!({"ownerReferences": owners})).await
    }

    async fn finalize(
        &self,
        api: &Api<Metadata>,
        place: &Place,
        live: &ObjectMeta,
        finalizer: &str,
    ) -> Result<(), Failure> {
        let all = live.finalizers.as_deref().unwrap_or_default();
        let left: Vec<&String> = all.iter().filter(|one| *one != finalizer).collect();
        if left.len() == all.len() {
            return Ok(());
        }
        tracing::debug!(object = %place, finalizer, "nothing left to wait for");
        self.change(api, place, live, json!({"finalizers": left})).await.map(drop)
    }

    /// Changes metadata of the very version that was read; nothing if it is gone.
    async fn change(
        &self,
        api: &Api<Metadata>,
        place: &Place,
        live: &ObjectMeta,
        mut metadata: serde_json::Value,
    ) -> Result<Option<Metadata>, Failure> {
        metadata["uid"] = json!(live.uid);
        metadata["resourceVersion"] = json!(live.resource_version);
        let patch = Patch::Merge(json!({"metadata": metadata}));
        match api.patch(&place.name, &PatchParams::default(), &patch).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            result => Ok(Some(result.map_err(Error::api("change an object's metadata"))?)),
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}/{}", self.kind.kind, self.namespace, self.name)
    }
}
