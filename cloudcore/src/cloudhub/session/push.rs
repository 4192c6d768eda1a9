//! Messages that bring an object to an edge or take it away.

use std::collections::HashSet;
use std::sync::Arc;

use proto::devices::{Device, Member, MembershipUpdate};
use proto::message::{Content, Group, Message, MessageId, Operation, Route, Source};
use proto::resource::{ObjectKey, Resource, ResourceKind};
use serde_json::{Value, json};

use crate::desired::{Object, Plane};

/// What the edge should have under a key.
#[derive(Debug, Clone)]
pub(super) enum Target {
    /// This version.
    Present(Arc<Object>),
    /// Nothing any more.
    Gone {
        /// The uid of what it may still have.
        uid: String,
        /// The whole object, if it was known in this session: a KubeEdge mapper finds its device by it.
        last: Option<Arc<Object>>,
    },
}

/// The push for `target`. `known` says that the edge holds something under this key; `id` is that of an earlier push
/// of the same version.
pub(super) fn message(key: &ObjectKey, target: &Target, known: bool, id: Option<MessageId>) -> Message {
    let operation = match target {
        Target::Gone { .. } => Operation::Delete,
        // KubeEdge never inserts these two; both operations store the object.
        Target::Present(_) if known || matches!(key.kind, ResourceKind::Node | ResourceKind::Secret) => {
            Operation::Update
        }
        Target::Present(_) => Operation::Insert,
    };
    let (content, resource_version) = match target {
        Target::Present(object) | Target::Gone { last: Some(object), .. } => {
            (object.content.clone(), Some(object.resource_version.clone()))
        }
        Target::Gone { uid, last: None } => (skeleton(key, uid), None),
    };
    let source = match Plane::of(&key.kind) {
        Some(Plane::Devices) => Source::DeviceController,
        Some(Plane::Core) | None => Source::EdgeController,
    };
    let route = Route::new(source, Group::Resource, operation, Resource::Object(key.clone()));
    let mut message = Message::new(route, content);
    message.header.resource_version = resource_version;
    if let Some(id) = id {
        message.header.id = id;
    }
    message
}

/// A KubeEdge edge takes a device's reports only after it was told that the device is a member of its node.
pub(super) fn membership(
    key: &ObjectKey,
    target: &Target,
    members: &mut HashSet<ObjectKey>,
) -> Option<Message> {
    if key.kind != ResourceKind::Device {
        return None;
    }
    let id = format!("{}/{}", key.namespace.as_deref().unwrap_or_default(), key.name);
    let known = match target {
        Target::Present(object) | Target::Gone { last: Some(object), .. } => Some(object),
        Target::Gone { last: None, .. } => None,
    };
    let device = || {
        let description = known.and_then(|object| description(object));
        Some(vec![Member { id: id.clone(), name: key.name.clone(), description }])
    };
    let (added_devices, removed_devices) = match target {
        Target::Present(_) if members.insert(key.clone()) => (device(), None),
        Target::Present(_) => return None,
        Target::Gone { .. } => {
            members.remove(key);
            (None, device())
        }
    };
    let event_id = MessageId::new().to_string();
    let timestamp = tasks::clock::unix_ms();
    let content = MembershipUpdate { event_id, timestamp, added_devices, removed_devices };
    let route = Route::new(Source::DeviceController, Group::Twin, Operation::Update, Resource::Membership);
    Content::json(&content).ok().map(|content| Message::new(route, content))
}

/// A device's label `description`.
fn description(object: &Object) -> Option<String> {
    let device: Device = object.content.parse_lenient().ok()?;
    device.metadata.labels?.remove("description")
}

/// The least that names an object: what remains of one that is gone.
fn skeleton(key: &ObjectKey, uid: &str) -> Content {
    let (api_version, kind) = match &key.kind {
        ResourceKind::Node => ("v1", "Node"),
        ResourceKind::Pod => ("v1", "Pod"),
        ResourceKind::ConfigMap => ("v1", "ConfigMap"),
        ResourceKind::Secret => ("v1", "Secret"),
        ResourceKind::Device => ("devices.kubeedge.io/v1beta1", "Device"),
        ResourceKind::DeviceModel => ("devices.kubeedge.io/v1beta1", "DeviceModel"),
        _ => ("", ""),
    };
    let mut metadata = json!({"name": key.name, "uid": uid});
    if let Some(namespace) = &key.namespace {
        metadata["namespace"] = Value::from(namespace.as_str());
    }
    let object = json!({"kind": kind, "apiVersion": api_version, "metadata": metadata});
    Content::json(&object).unwrap_or_else(|_| Content::null())
}
