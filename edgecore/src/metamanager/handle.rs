//! What other modules hold of the store.

use std::sync::Arc;

use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{Event, PodStatus};
use proto::message::{Content, Group, Message, Operation, Route, Source};
use proto::resource::{ObjectKey, ResourceKind};
use proto::session::{Held, Outcome};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::warn;

use crate::edgehub;

use super::reports::{self, Kind, Row};
use super::shared::Shared;
use super::sql::{self, ObjectRow};
use super::tokens::PodToken;
use super::writer::{Command, Write};
use super::{FetchError, Settings, StoreError, fetch, tokens};

/// An object as the cloud sent it.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredObject {
    /// Its name.
    pub key: ObjectKey,
    /// Its incarnation.
    pub uid: String,
    /// Its version.
    pub resource_version: String,
    /// All of it.
    pub object: Value,
}

/// Reads and writes the store. Cheap to clone. It is also the [`edgehub::Outbox`] of what this node reports.
#[derive(Debug, Clone)]
pub struct Handle {
    pub(super) shared: Arc<Shared>,
    pub(super) writes: mpsc::Sender<Command>,
    pub(super) hub: edgehub::Handle,
    pub(super) settings: Arc<Settings>,
}

impl Handle {
    // --- what the cloud wants of this node

    /// The object as last pushed or fetched.
    pub async fn get(&self, key: &ObjectKey) -> Result<Option<StoredObject>, StoreError> {
        sql::object(&self.shared.pool(), key).await?.map(stored).transpose()
    }

    /// All objects of a kind, ordered by key.
    pub async fn list(&self, kind: &ResourceKind) -> Result<Vec<StoredObject>, StoreError> {
        sql::objects(&self.shared.pool(), kind).await?.into_iter().map(stored).collect()
    }

    /// What `read` makes of each object of the kind, given its key and uid. An object that is not a `T` is skipped and said in
    /// the log; the others count. Of thousands of objects, only one is in memory whole at a time.
    pub async fn read_each<T: DeserializeOwned, R>(
        &self,
        kind: &ResourceKind,
        mut read: impl FnMut(&ObjectKey, &str, T) -> Option<R>,
    ) -> Result<Vec<R>, StoreError> {
        let rows = sql::objects(&self.shared.pool(), kind).await?;
        let read = |row: ObjectRow| match serde_json::from_str(&row.json) {
            Ok(object) => read(&row.key, &row.uid, object),
            Err(error) => {
                warn!(object = ?row.key, "skipped, it cannot be read: {error}");
                None
            }
        };
        Ok(rows.into_iter().filter_map(read).collect())
    }

    /// Changes after objects of the kind were written or removed; the reader lists again.
    #[must_use]
    pub fn changes(&self, kind: ResourceKind) -> watch::Receiver<u64> {
        self.shared.watch_kind(kind)
    }

    /// The object from the store, or from the cloud, which also puts it into the store. Persistent volumes and
    /// claims are asked from the cloud first, because nobody pushes them.
    pub async fn fetch(&self, key: &ObjectKey) -> Result<StoredObject, FetchError> {
        fetch::object(self, key).await
    }

    /// Asks the cloud to do something with an object, and waits for its answer.
    ///
    /// # Errors
    /// What the cloud says against it, or that there is no answer.
    pub async fn ask(
        &self,
        operation: Operation,
        key: &ObjectKey,
        content: Content,
    ) -> Result<Value, FetchError> {
        let route = Route::new(Source::Edged, Group::Meta, operation, key.clone().into());
        fetch::ask(self, Message::new(route, content), &key.to_string()).await
    }

    /// A token as the request wants it: the one kept for this same request while it has a fifth of its life left,
    /// else a fresh one; while the cloud is away, the kept one.
    pub async fn service_account_token(
        &self,
        namespace: &str,
        account: &str,
        request: TokenRequest,
    ) -> Result<PodToken, FetchError> {
        tokens::token(self, namespace, account, request).await
    }

    // --- what this node tells the cloud

    /// The pod's newest status: on disk when this returns, told as soon as there is a link.
    pub async fn report_pod_status(
        &self,
        namespace: &str,
        name: &str,
        uid: &str,
        status: PodStatus,
    ) -> Result<(), StoreError> {
        self.report(reports::pod(namespace, name, uid, &status)?).await
    }

    /// As [`Handle::report_pod_status`], with the event that tells of it: after a crash both are on disk or neither is.
    pub async fn report_pod_status_telling(
        &self,
        namespace: &str,
        name: &str,
        uid: &str,
        status: PodStatus,
        event: &Event,
    ) -> Result<(), StoreError> {
        let rows = vec![reports::pod(namespace, name, uid, &status)?, reports::event(event)?];
        self.write(Write::Report(rows)).await.map(drop)
    }

    /// All containers of the pod are gone for good: the cloud may remove the object, after it has seen the last
    /// reported status. On disk when this returns.
    pub async fn report_pod_gone(&self, namespace: &str, name: &str, uid: &str) -> Result<(), StoreError> {
        self.report(reports::gone(namespace, name, uid)).await
    }

    /// What was reported last about this incarnation of the pod, before a restart of edgecore perhaps.
    pub async fn pod_status(
        &self,
        namespace: &str,
        name: &str,
        uid: &str,
    ) -> Result<Option<PodStatus>, StoreError> {
        let row = reports::row_key(Kind::Pod, namespace, name, uid);
        let mut connection = self.shared.pool().acquire().await?;
        let Some(stored) = sql::report(&mut connection, &row).await? else { return Ok(None) };
        let status = serde_json::from_str(&stored.row.payload)
            .map_err(|error| StoreError::shape(format_args!("the report {row}"), error))?;
        Ok(Some(status))
    }

    /// A strategic merge patch for `nodes/<this node>/status`. It replaces the one before it, sent or not, so it
    /// must carry all that this node says about itself. One that differs only in heartbeat times is sent but
    /// not written to disk.
    pub async fn report_node_status(&self, patch: Value) -> Result<(), StoreError> {
        self.report(reports::node(&self.settings.node, &patch)).await
    }

    /// Appends the event, or replaces the one of the same name. The log is bounded: the oldest go first.
    pub async fn record_event(&self, event: Event) -> Result<(), StoreError> {
        self.report(reports::event(&event)?).await
    }

    // --- for edgehub

    /// Stores what the cloud pushed, in one transaction. An outcome per message: `Done` only when it is on disk.
    pub async fn accept(&self, messages: Vec<Message>) -> Vec<Outcome> {
        let count = messages.len();
        match self.write(Write::Accept(messages)).await {
            Ok(outcomes) => outcomes,
            Err(error) => vec![Outcome::Retry(error.to_string()); count],
        }
    }

    /// Everything held, for the cloud to compare.
    pub async fn inventory(&self) -> Result<Vec<Held>, StoreError> {
        let held = sql::held(&self.shared.pool()).await?;
        Ok(held.into_iter().map(|(key, uid, resource_version)| Held { key, uid, resource_version }).collect())
    }

    /// Changes when the store was found corrupt and replaced by an empty one: the cloud must be told the inventory anew.
    #[must_use]
    pub fn rebuilds(&self) -> watch::Receiver<u64> {
        self.shared.rebuilds()
    }

    async fn report(&self, row: Row) -> Result<(), StoreError> {
        self.write(Write::Report(vec![row])).await.map(drop)
    }

    /// Hands a write to the writer and waits until it is on disk.
    pub(super) async fn write(&self, write: Write) -> Result<Vec<Outcome>, StoreError> {
        let (done, result) = oneshot::channel();
        self.writes.send(Command { write, done }).await.map_err(|_| StoreError::Closed)?;
        result.await.unwrap_or(Err(StoreError::Closed))
    }
}

fn stored(row: ObjectRow) -> Result<StoredObject, StoreError> {
    let object = serde_json::from_str(&row.json)
        .map_err(|error| StoreError::shape(format_args!("the object {}", row.key), error))?;
    Ok(StoredObject { key: row.key, uid: row.uid, resource_version: row.resource_version, object })
}
