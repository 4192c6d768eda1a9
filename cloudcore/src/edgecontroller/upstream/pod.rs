//! Pods on a node: their status, their end, and mirrors of static pods.

use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use proto::message::Content;
use proto::pki::NodeName;
use proto::resource::ObjectKey;
use serde::Deserialize;
use serde_json::Value;

use super::{bad_request, object, patch, written};
use crate::cloudhub::session::Reply;
use crate::edgecontroller::EdgeController;
use crate::kubeapi::{Failure, Kind, failure, json, status_of};

/// Marks a pod in the API that only mirrors a file on the node.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// What an edge says about a deletion; the rest of Kubernetes' DeleteOptions does not apply.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct DeleteOptions {
    grace_period_seconds: Option<u32>,
    preconditions: Option<Precondition>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Precondition {
    uid: Option<String>,
    resource_version: Option<String>,
}

impl EdgeController {
    pub(super) async fn patch_pod(&self, node: &NodeName, key: &ObjectKey, content: &Content) -> Reply {
        let patched = async {
            let change = patch(content)?;
            let uid = self.own_pod(node, key).await?;
            if let Some(expected) = change.pointer("/metadata/uid").and_then(Value::as_str)
                && expected != uid
            {
                let message = format!(
                    "Operation cannot be fulfilled on pods {:?}: the UID in the precondition ({expected}) does not match \
                     the UID in record ({uid}): the pod was deleted and created again",
                    key.name
                );
                return Err(failure(409, "Conflict", &message));
            }
            let api = Kind::pod().api(&self.client, key.namespace.as_deref());
            api.patch_status(&key.name, &PatchParams::default(), &Patch::Strategic(change))
                .await
                .map_err(status_of)
        };
        written(patched.await, true)
    }

    pub(super) async fn delete_pod(&self, node: &NodeName, key: &ObjectKey, content: &Content) -> Reply {
        let deleted = async {
            let options = delete_options(content)?;
            self.own_pod(node, key).await?;
            let params = DeleteParams {
                grace_period_seconds: options.grace_period_seconds,
                preconditions: options
                    .preconditions
                    .map(|only| Preconditions { uid: only.uid, resource_version: only.resource_version }),
                ..DeleteParams::default()
            };
            let api = Kind::pod().api(&self.client, key.namespace.as_deref());
            api.delete(&key.name, &params).await.map(drop).map_err(status_of)
        };
        match deleted.await {
            // Gone, or gone and replaced by a namesake: what the node wanted is so.
            Err(status) if !status.is_not_found() && !status.is_conflict() => Reply::Failed(status),
            _ => Reply::Done,
        }
    }

    pub(super) async fn query_pod(&self, node: &NodeName, key: &ObjectKey) -> Reply {
        let found = async {
            self.own_pod(node, key).await?;
            let kind = Kind::pod();
            let api = kind.api(&self.client, key.namespace.as_deref());
            let found = api.get(&key.name).await.map_err(status_of)?;
            kind.object(json(&found)).map_err(|error| bad_request(&error.to_string()))
        };
        match found.await {
            Ok(object) => {
                Reply::Found { content: object.content, resource_version: Some(object.resource_version) }
            }
            Err(status) => Reply::Failed(status),
        }
    }

    pub(super) async fn insert_mirror_pod(
        &self,
        node: &NodeName,
        key: &ObjectKey,
        content: &Content,
    ) -> Reply {
        let created = async {
            let kind = Kind::pod();
            let new = object(content, key, &kind.api)?;
            let here = new.data.pointer("/spec/nodeName").and_then(Value::as_str) == Some(node.as_str());
            let mirrors = new.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(MIRROR));
            if !here || !mirrors {
                return Err(self.forbid(node, key, "a node may only create mirror pods of its own"));
            }
            let api = kind.api(&self.client, key.namespace.as_deref());
            api.create(&PostParams::default(), &new).await.map_err(status_of)
        };
        written(created.await, true)
    }

    /// The uid of the pod, if it runs on the node.
    async fn own_pod(&self, node: &NodeName, key: &ObjectKey) -> Result<String, Failure> {
        let namespace = key.namespace.as_deref().unwrap_or_default();
        let known = self.index().pod(namespace, &key.name).map(|pod| (pod.node.clone(), pod.uid.clone()));
        let (at, uid) = match known {
            Some((at, uid)) => (at.to_string(), uid),
            // Not in the index: just gone, just come, or on a node that is no edge node.
            None => {
                let pod =
                    Kind::pod().api(&self.client, Some(namespace)).get(&key.name).await.map_err(status_of)?;
                let at =
                    pod.data.pointer("/spec/nodeName").and_then(Value::as_str).unwrap_or_default().to_owned();
                (at, pod.metadata.uid.unwrap_or_default())
            }
        };
        if at == node.as_str() {
            return Ok(uid);
        }
        Err(self.forbid(node, key, "the pod does not run on this node"))
    }
}

/// DeleteOptions, or in the legacy form the bare uid.
fn delete_options(content: &Content) -> Result<DeleteOptions, Failure> {
    if content.is_null() {
        return Ok(DeleteOptions::default());
    }
    if let Some(uid) = content.as_str() {
        let preconditions = Some(Precondition { uid: Some(uid.into_owned()), resource_version: None });
        return Ok(DeleteOptions { grace_period_seconds: Some(0), preconditions });
    }
    content.parse().map_err(|error| bad_request(&error.to_string()))
}
