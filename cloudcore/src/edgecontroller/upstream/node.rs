//! A node's own object: registration, labels, status.

use kube::api::{Patch, PatchParams, PostParams};
use proto::message::Content;
use proto::pki::NodeName;
use proto::resource::ObjectKey;
use serde_json::{Map, Value, json};
use tracing::debug;

use super::{bad_request, object, patch, written};
use crate::cloudhub::session::Reply;
use crate::edgecontroller::EdgeController;
use crate::kubeapi::{Failure, Kind, json as to_json, status_of};

/// Labels that say what a node may be trusted with: only administrators set them.
const RESTRICTED: &str = "node-restriction.kubernetes.io/";
/// KubeEdge notes here which cloudcore serves the node.
const SERVED_BY: &str = "cloudcore";

impl EdgeController {
    pub(super) async fn insert_node(&self, node: &NodeName, key: &ObjectKey, content: &Content) -> Reply {
        let kind = Kind::node();
        let created = async {
            self.own_node(node, key)?;
            let mut new = object(content, key, &kind.api)?;
            new.metadata.namespace = None;
            if let Some(labels) = new.metadata.labels.as_mut() {
                labels.retain(|label, _| !label.starts_with(RESTRICTED));
            }
            let annotations = new.metadata.annotations.get_or_insert_default();
            annotations.insert(SERVED_BY.into(), self.settings.address.clone());
            kind.api(&self.client, None).create(&PostParams::default(), &new).await.map_err(status_of)
        };
        let result = created.await;
        if result.as_ref().is_err_and(|status| status.is_already_exists()) {
            // An edge that was installed anew has no copy, and KubeEdge's keeps failing until it gets one.
            self.desired.again(node, &ObjectKey::node(node.as_str()));
        }
        written(result, false)
    }

    pub(super) async fn update_node(&self, node: &NodeName, key: &ObjectKey, content: &Content) -> Reply {
        let updated = async {
            self.own_node(node, key)?;
            let new: Value = content.parse().map_err(|error| bad_request(&error.to_string()))?;
            let metadata = new.get("metadata").and_then(Value::as_object);
            let field = |name: &str| metadata.and_then(|metadata| metadata.get(name)).cloned();
            let mut merged = Map::new();
            for name in ["labels", "annotations"] {
                merged.extend(field(name).filter(Value::is_object).map(|value| (name.to_owned(), value)));
            }
            let mut change = json!({ "metadata": merged });
            drop_restricted(&mut change);
            let api = Kind::node().api(&self.client, None);
            api.patch(&key.name, &PatchParams::default(), &Patch::Merge(change)).await.map_err(status_of)
        };
        match updated.await {
            Ok(object) => {
                Reply::Found { content: Content::ok(), resource_version: object.metadata.resource_version }
            }
            Err(status) => Reply::Failed(status),
        }
    }

    pub(super) async fn query_node(&self, node: &NodeName, key: &ObjectKey) -> Reply {
        let found = async {
            self.own_node(node, key)?;
            let kind = Kind::node();
            let found = kind.api(&self.client, None).get(&key.name).await.map_err(status_of)?;
            kind.object(to_json(&found)).map_err(|error| bad_request(&error.to_string()))
        };
        match found.await {
            Ok(object) => {
                Reply::Found { content: object.content, resource_version: Some(object.resource_version) }
            }
            Err(status) => Reply::Failed(status),
        }
    }

    pub(super) async fn patch_node(&self, node: &NodeName, key: &ObjectKey, content: &Content) -> Reply {
        let patched = async {
            self.own_node(node, key)?;
            let mut change = patch(content)?;
            drop_restricted(&mut change);
            let api = Kind::node().api(&self.client, None);
            api.patch_status(&key.name, &PatchParams::default(), &Patch::Strategic(change))
                .await
                .map_err(status_of)
        };
        written(patched.await, true)
    }

    /// Notes on the node object that this cloudcore serves it, if it does not say so already.
    pub async fn connected(&self, node: &NodeName) {
        let Some(known) = self.desired.get(node, &ObjectKey::node(node.as_str())) else { return };
        let Ok(known) = known.content.parse::<Value>() else { return };
        let note = known.pointer("/metadata/annotations").and_then(|all| all.get(SERVED_BY));
        if note.and_then(Value::as_str) == Some(self.settings.address.as_str()) {
            return;
        }
        let change = json!({"metadata": {"annotations": {SERVED_BY: self.settings.address}}});
        let api = Kind::node().api(&self.client, None);
        if let Err(error) = api.patch(node.as_str(), &PatchParams::default(), &Patch::Merge(change)).await {
            debug!(%node, "its annotation could not be written: {}", status_of(error).message);
        }
    }

    fn own_node(&self, node: &NodeName, key: &ObjectKey) -> Result<(), Failure> {
        if key.name == node.as_str() {
            return Ok(());
        }
        Err(self.forbid(node, key, "a node may only touch its own node object"))
    }
}

fn drop_restricted(change: &mut Value) {
    if let Some(Value::Object(labels)) = change.pointer_mut("/metadata/labels") {
        labels.retain(|label, _| !label.starts_with(RESTRICTED));
    }
}
