//! What a node may read because a pod of its, or a job for it, uses it: config maps, secrets, volumes, tokens.

use k8s_openapi::api::authentication::v1::TokenRequest;
use kube::api::PostParams;
use proto::message::{Content, Operation};
use proto::pki::NodeName;
use proto::resource::{ObjectKey, ResourceKind};
use serde_json::Value;

use super::{bad_request, unsupported};
use crate::cloudhub::session::Reply;
use crate::desired::{Object, Plane};
use crate::edgecontroller::EdgeController;
use crate::kubeapi::{Failure, Kind, failure, json, status_of};
use crate::taskmanager::Grant;

/// Where a cluster publishes its CA.
const ROOT_CA: &str = "kube-root-ca.crt";

impl EdgeController {
    /// A config map, secret, claim, volume or attachment.
    pub(super) async fn read(&self, node: &NodeName, key: &ObjectKey) -> Reply {
        let Some(kind) = Kind::readable(&key.kind) else {
            return unsupported(&key.to_string(), &Operation::Query);
        };
        // What is pushed anyway is at hand.
        if let Some(object) = self.desired.get(node, key) {
            return found(&object);
        }
        match self.read_from_api(node, key, &kind).await {
            Ok(object) => found(&object),
            Err(status) => Reply::Failed(status),
        }
    }

    async fn read_from_api(&self, node: &NodeName, key: &ObjectKey, kind: &Kind) -> Result<Object, Failure> {
        if !self.desired.is_synced(Plane::Core) {
            let message = "cloudcore has just started and does not know the node's pods yet";
            return Err(failure(503, "ServiceUnavailable", message));
        }
        if kind.namespaced && !self.index().uses(node, key) {
            match self.grants.look_up(node, key) {
                Grant::Given => {}
                Grant::None => {
                    return Err(self.forbid(node, key, "no pod on this node uses it, and no job for it"));
                }
                Grant::Unknown => {
                    let message = "cloudcore has just started and does not know the jobs yet";
                    return Err(failure(503, "ServiceUnavailable", message));
                }
            }
        }
        let object =
            kind.api(&self.client, key.namespace.as_deref()).get(&key.name).await.map_err(status_of)?;
        let text = |pointer: &str| object.data.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let allowed = match key.kind {
            ResourceKind::PersistentVolume => {
                let claim = ObjectKey::namespaced(
                    text("/spec/claimRef/namespace"),
                    ResourceKind::PersistentVolumeClaim,
                    text("/spec/claimRef/name"),
                );
                self.index().uses(node, &claim)
            }
            ResourceKind::VolumeAttachment => text("/spec/nodeName") == node.as_str(),
            _ => true,
        };
        if !allowed {
            return Err(self.forbid(node, key, "no pod on this node uses it"));
        }
        kind.object(json(&object)).map_err(|error| bad_request(&error.to_string()))
    }

    /// A token for the service account of a pod on the node.
    pub(super) async fn token(&self, node: &NodeName, key: &ObjectKey, content: &Content) -> Reply {
        let issued = async {
            let request: TokenRequest = content.parse().map_err(|error| bad_request(&error.to_string()))?;
            let namespace = key.namespace.as_deref().unwrap_or_default();
            let bound = request.spec.as_ref().and_then(|spec| spec.bound_object_ref.as_ref());
            let pod = bound.filter(|bound| bound.kind.as_deref() == Some("Pod"));
            let pod = pod.and_then(|bound| Some((bound.name.as_deref()?, bound.uid.as_deref()?)));
            let Some(pod) = pod else {
                return Err(self.forbid(
                    node,
                    key,
                    "a node's token request must be bound to a pod by name and uid",
                ));
            };
            if !self.index().runs_as(node, namespace, &key.name, Some(pod)) {
                return Err(self.forbid(node, key, "no such pod on this node runs as the service account"));
            }
            let accounts = Kind::service_account().api(&self.client, Some(namespace));
            let token: Value = accounts
                .create_subresource("token", &key.name, &PostParams::default(), &request)
                .await
                .map_err(status_of)?;
            Content::json(&token).map_err(|error| bad_request(&error.to_string()))
        };
        match issued.await {
            Ok(content) => Reply::Found { content, resource_version: None },
            Err(status) => Reply::Failed(status),
        }
    }

    /// The cluster's own CA, as the cluster publishes it to pods.
    pub(super) async fn kube_ca(&self) -> Reply {
        let Some(kind) = Kind::readable(&ResourceKind::ConfigMap) else { return Reply::Done };
        match kind.api(&self.client, Some("kube-system")).get(ROOT_CA).await.map_err(status_of) {
            Ok(map) => match map.data.pointer("/data/ca.crt").and_then(Value::as_str) {
                Some(pem) => Reply::Found { content: Content::text(pem), resource_version: None },
                None => {
                    Reply::failed(404, "NotFound", "config map kube-system/kube-root-ca.crt has no ca.crt")
                }
            },
            Err(status) => Reply::Failed(status),
        }
    }
}

fn found(object: &Object) -> Reply {
    Reply::Found { content: object.content.clone(), resource_version: Some(object.resource_version.clone()) }
}
