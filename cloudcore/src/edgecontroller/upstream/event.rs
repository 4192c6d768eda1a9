//! Events that a node reports about itself and its pods.

use kube::api::{Patch, PatchParams, PostParams};
use proto::message::{Content, Operation};
use proto::pki::NodeName;
use proto::resource::ObjectKey;
use proto::session::Outcome;
use serde::Deserialize;
use serde_json::Value;

use super::{bad_request, object};
use crate::cloudhub::session::Reply;
use crate::edgecontroller::EdgeController;
use crate::kubeapi::{Failure, Kind, is_passing, status_of};

/// An event that is already in the API, and what changed.
#[derive(Deserialize)]
struct EventPatch {
    event: Value,
    #[serde(rename = "patchData")]
    patch_data: String,
}

impl EdgeController {
    pub(super) async fn record_event(
        &self,
        node: &NodeName,
        key: &ObjectKey,
        operation: &Operation,
        content: &Content,
    ) -> Reply {
        let outcome = match self.write_event(node, key, operation, content).await {
            Ok(()) => Outcome::Done,
            Err(status) if status.is_already_exists() => Outcome::Done,
            Err(status) if is_passing(&status) => Outcome::Retry(status.message),
            Err(status) => Outcome::Rejected(status.message),
        };
        Reply::Report(outcome)
    }

    async fn write_event(
        &self,
        node: &NodeName,
        key: &ObjectKey,
        operation: &Operation,
        content: &Content,
    ) -> Result<(), Failure> {
        let kind = Kind::event();
        let api = kind.api(&self.client, key.namespace.as_deref());
        let change = match operation {
            Operation::Patch => {
                let change: EventPatch = content.parse().map_err(|error| bad_request(&error.to_string()))?;
                let patch: Value = serde_json::from_str(&change.patch_data)
                    .map_err(|error| bad_request(&format!("patchData is not JSON: {error}")))?;
                Some((change.event, patch))
            }
            _ => None,
        };
        let event = match &change {
            Some((event, _)) => Content::json(event).map_err(|error| bad_request(&error.to_string()))?,
            None => content.clone(),
        };
        let mut event = object(&event, key, &kind.api)?;
        self.own_event(node, key, &event.data)?;
        if let Some((_, patch)) = change {
            let patched = api.patch(&key.name, &PatchParams::default(), &Patch::Strategic(patch)).await;
            match patched.map_err(status_of) {
                Err(status) if status.is_not_found() => {}
                patched => return patched.map(drop),
            }
        }
        if *operation == Operation::Update {
            event.metadata.resource_version = None;
            match api.replace(&key.name, &PostParams::default(), &event).await.map_err(status_of) {
                Err(status) if status.is_not_found() => {}
                replaced => return replaced.map(drop),
            }
        }
        event.metadata.resource_version = None;
        event.metadata.uid = None;
        api.create(&PostParams::default(), &event).await.map(drop).map_err(status_of)
    }

    /// Events are about the node, its pods, or pods that are gone; never about another node or its pods.
    fn own_event(&self, node: &NodeName, key: &ObjectKey, event: &Value) -> Result<(), Failure> {
        let about = |field: &str| event.pointer(&format!("/involvedObject/{field}")).and_then(Value::as_str);
        let name = about("name").unwrap_or_default();
        let foreign = match about("kind").unwrap_or_default() {
            "Node" => name != node.as_str(),
            "Pod" => {
                let namespace = about("namespace").unwrap_or_default();
                let elsewhere = self.index().pod(namespace, name).is_some_and(|pod| pod.node != *node);
                elsewhere || key.namespace.as_deref() != Some(namespace)
            }
            "Device" | "DeviceModel" => false,
            _ => true,
        };
        if foreign {
            return Err(self.forbid(node, key, "the event is about something that is not on this node"));
        }
        Ok(())
    }
}
