//! What nodes ask and report, answered with what the API says.
//!
//! Every request gets a reply. The node is the connection's, proved by its certificate; a request for an object that
//! is not that node's gets `Forbidden`, a count and a line in the log.

mod event;
mod lease;
mod node;
mod pod;
mod read;

use kube::api::DynamicObject;
use proto::answer::Answer;
use proto::message::{Content, Message, Operation};
use proto::pki::NodeName;
use proto::resource::{ObjectKey, Resource, ResourceKind};
use serde_json::Value;
use tracing::warn;

use super::EdgeController;
use crate::cloudhub::session::Reply;
use crate::kubeapi::{Failure, failure};

impl EdgeController {
    /// Deals with one request of `node`.
    pub async fn handle(&self, node: &NodeName, request: Message) -> Reply {
        let key = match &request.route.resource {
            Resource::Object(key) => key.clone(),
            Resource::KubeCa => return self.kube_ca().await,
            other => return unsupported(&other.to_string(), &request.route.operation),
        };
        match (&key.kind, &request.route.operation) {
            (ResourceKind::Node, Operation::Insert) => self.insert_node(node, &key, &request.content).await,
            (ResourceKind::Node, Operation::Update) => self.update_node(node, &key, &request.content).await,
            (ResourceKind::Node, Operation::Query) => self.query_node(node, &key).await,
            (ResourceKind::NodePatch, _) => self.patch_node(node, &key, &request.content).await,
            (ResourceKind::Pod, Operation::Insert) => {
                self.insert_mirror_pod(node, &key, &request.content).await
            }
            (ResourceKind::Pod, Operation::Delete) => self.delete_pod(node, &key, &request.content).await,
            (ResourceKind::PodPatch, _) => self.patch_pod(node, &key, &request.content).await,
            (ResourceKind::Lease, Operation::Query) => self.query_lease(node, &key).await,
            (ResourceKind::Lease, Operation::Insert) => self.insert_lease(node, &key, &request.content).await,
            (ResourceKind::Lease, Operation::Update) => self.update_lease(node, &key, &request.content).await,
            (ResourceKind::Event, operation) => {
                self.record_event(node, &key, operation, &request.content).await
            }
            (ResourceKind::ServiceAccountToken, Operation::Query) => {
                self.token(node, &key, &request.content).await
            }
            (ResourceKind::Pod, Operation::Query) => self.query_pod(node, &key).await,
            (_, Operation::Query) => self.read(node, &key).await,
            (_, operation) => unsupported(&key.to_string(), operation),
        }
    }

    /// The refusal of something that is not the node's, counted and logged.
    fn forbid(&self, node: &NodeName, key: &ObjectKey, why: &str) -> Failure {
        self.metrics.forbidden.inc();
        warn!(%node, object = %key, "a node asked for what is not its own: {why}");
        let message = format!("{} {:?} is forbidden to node {node}: {why}", key.kind, key.name);
        failure(403, "Forbidden", &message)
    }
}

/// The reply to a write.
fn written(result: Result<DynamicObject, Failure>, with_version: bool) -> Reply {
    match result {
        Ok(object) => match Answer::object(&object) {
            Ok(answer) => {
                let resource_version = object.metadata.resource_version.filter(|_| with_version);
                Reply::Written { answer, resource_version }
            }
            Err(error) => Reply::WriteFailed(failure(500, "InternalError", &error.to_string())),
        },
        Err(status) => Reply::WriteFailed(status),
    }
}

/// A patch as edges send it: JSON text in a JSON string; an object is taken too.
fn patch(content: &Content) -> Result<Value, Failure> {
    let patch: Value = content.parse_lenient().map_err(|error| bad_request(&error.to_string()))?;
    if patch.is_object() {
        return Ok(patch);
    }
    Err(bad_request("a patch must be a JSON object, or a string that holds one"))
}

/// An object as an edge sends it, with the name and place that its resource says.
fn object(
    content: &Content,
    key: &ObjectKey,
    api: &kube::api::ApiResource,
) -> Result<DynamicObject, Failure> {
    let mut object: DynamicObject = content.parse().map_err(|error| bad_request(&error.to_string()))?;
    object.types = Some(kube::api::TypeMeta { api_version: api.api_version.clone(), kind: api.kind.clone() });
    object.metadata.name = Some(key.name.clone());
    object.metadata.namespace.clone_from(&key.namespace);
    Ok(object)
}

fn bad_request(message: &str) -> Failure {
    failure(400, "BadRequest", message)
}

fn unsupported(what: &str, operation: &Operation) -> Reply {
    let message = format!("cloudcore does not serve {operation} of {what}");
    Reply::failed(405, "MethodNotAllowed", &message)
}
