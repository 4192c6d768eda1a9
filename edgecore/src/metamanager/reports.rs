//! The rows that the cloud must learn, as the messages that tell them.

use k8s_openapi::api::core::v1::{Event, PodStatus};
use proto::message::{Content, Group, Message, Operation, Route, Source};
use proto::resource::{ObjectKey, ResourceKind};
use serde_json::{Map, Value, json};

use crate::edgehub::RowKey;

use super::StoreError;

/// How uids begin that a node gives by itself, to pods that it has from a file: the API knows them by name only.
pub const STATIC_UID: &str = "static-";

/// What a row tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The newest status of a pod; kept after the cloud has it, for restarts.
    Pod,
    /// A pod whose containers are gone, so that the cloud may drop the object. Removed when confirmed.
    Gone,
    /// The newest status of the node.
    Node,
    /// An event. Kept for a while after the cloud has it, so that a repetition is sent as an update.
    Event,
}

impl Kind {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Pod => "pod",
            Self::Gone => "gone",
            Self::Node => "node",
            Self::Event => "event",
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        [Self::Pod, Self::Gone, Self::Node, Self::Event].into_iter().find(|kind| kind.as_str() == text)
    }
}

/// A row to be written.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    pub(super) kind: Kind,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) payload: String,
}

impl Row {
    pub(super) fn key(&self) -> RowKey {
        row_key(self.kind, &self.namespace, &self.name, &self.uid)
    }
}

/// One row per incarnation of a pod, one for the node, one per event.
pub(super) fn row_key(kind: Kind, namespace: &str, name: &str, uid: &str) -> RowKey {
    match kind {
        Kind::Pod | Kind::Gone => RowKey(format!("{}/{namespace}/{name}/{uid}", kind.as_str())),
        Kind::Node => RowKey("node".into()),
        Kind::Event => RowKey(format!("event/{namespace}/{name}")),
    }
}

pub(super) fn pod(namespace: &str, name: &str, uid: &str, status: &PodStatus) -> Result<Row, StoreError> {
    let payload = serde_json::to_string(status)
        .map_err(|error| StoreError::shape(format_args!("the status of pod {namespace}/{name}"), error))?;
    Ok(Row { kind: Kind::Pod, namespace: namespace.into(), name: name.into(), uid: uid.into(), payload })
}

pub(super) fn gone(namespace: &str, name: &str, uid: &str) -> Row {
    let payload = String::new();
    Row { kind: Kind::Gone, namespace: namespace.into(), name: name.into(), uid: uid.into(), payload }
}

pub(super) fn node(node: &str, patch: &Value) -> Row {
    let payload = patch.to_string();
    Row { kind: Kind::Node, namespace: String::new(), name: node.into(), uid: String::new(), payload }
}

pub(super) fn event(event: &Event) -> Result<Row, StoreError> {
    let metadata = &event.metadata;
    let (Some(namespace), Some(name)) = (&metadata.namespace, &metadata.name) else {
        return Err(StoreError::shape("an event", "it needs metadata.namespace and metadata.name"));
    };
    let payload = serde_json::to_string(event)
        .map_err(|error| StoreError::shape(format_args!("the event {namespace}/{name}"), error))?;
    let uid = metadata.uid.clone().unwrap_or_default();
    Ok(Row { kind: Kind::Event, namespace: namespace.clone(), name: name.clone(), uid, payload })
}

/// The node's status without what changes at every heartbeat: when only that changed, the disk is spared.
pub(super) fn without_heartbeat(payload: &str) -> Value {
    let mut patch: Value = serde_json::from_str(payload).unwrap_or_default();
    if let Some(conditions) = patch.pointer_mut("/status/conditions").and_then(Value::as_array_mut) {
        for condition in conditions.iter_mut().filter_map(Value::as_object_mut) {
            condition.shift_remove("lastHeartbeatTime");
        }
    }
    patch
}

/// The message that tells the row. `known` says whether the cloud has an earlier version of it.
pub(super) fn message(row: &Row, known: bool) -> Result<Message, StoreError> {
    let Row { kind, namespace, name, uid, payload } = row;
    let shape =
        |error: &dyn std::fmt::Display| StoreError::shape(format_args!("the report {}", row.key()), error);
    let (operation, key, content) = match kind {
        Kind::Pod => {
            let status: Map<String, Value> = serde_json::from_str(payload).map_err(|error| shape(&error))?;
            let patch = pod_patch(uid, status);
            let key = ObjectKey::namespaced(namespace, ResourceKind::PodPatch, name);
            (Operation::Patch, key, Content::text(&patch.to_string()))
        }
        Kind::Gone => {
            let options = json!({"gracePeriodSeconds": 0, "preconditions": {"uid": uid}});
            let content = Content::json(&options).map_err(|error| shape(&error))?;
            (Operation::Delete, ObjectKey::namespaced(namespace, ResourceKind::Pod, name), content)
        }
        Kind::Node => {
            let key = ObjectKey::cluster(ResourceKind::NodePatch, name);
            (Operation::Patch, key, Content::text(payload))
        }
        Kind::Event => {
            let operation = if known { Operation::Update } else { Operation::Insert };
            let content = Content::from_json_text(payload.clone()).map_err(|error| shape(&error))?;
            (operation, ObjectKey::namespaced(namespace, ResourceKind::Event, name), content)
        }
    };
    Ok(Message::new(Route::new(Source::Edged, Group::Meta, operation, key.into()), content))
}

/// The whole status as a strategic merge patch: the kubelet's own fields are replaced, or cleared when absent;
/// conditions that others set stay.
fn pod_patch(uid: &str, mut status: Map<String, Value>) -> Value {
    const CLEARED: [&str; 6] = [
        "message",
        "reason",
        "podIP",
        "containerStatuses",
        "initContainerStatuses",
        "ephemeralContainerStatuses",
    ];
    for field in CLEARED {
        status.entry(field).or_insert(Value::Null);
    }
    // Conditions merge by type: the reason why a pod was not ready would stay when it is.
    for condition in status.get_mut("conditions").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(condition) = condition.as_object_mut() {
            for field in ["message", "reason"] {
                condition.entry(field).or_insert(Value::Null);
            }
        }
    }
    // These lists merge by key: without the directive an address that is gone would stay.
    for field in ["podIPs", "hostIPs"] {
        if let Some(list) = status.get_mut(field).and_then(Value::as_array_mut) {
            list.push(json!({"$patch": "replace"}));
        }
    }
    match uid.starts_with(STATIC_UID) {
        true => json!({"status": status}),
        false => json!({"metadata": {"uid": uid}, "status": status}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_status_is_a_patch_bound_to_the_pods_uid() {
        let status: PodStatus = serde_json::from_value(
            json!({"phase": "Running", "podIP": "10.0.0.9", "podIPs": [{"ip": "10.0.0.9"}],
                   "conditions": [{"type": "Ready", "status": "True"}]}),
        )
        .unwrap();
        let message = message(&pod("default", "web", "u1", &status).unwrap(), false).unwrap();
        assert_eq!(message.route.resource.to_string(), "default/podpatch/web");
        let patch: Value = serde_json::from_str(&message.content.as_str().unwrap()).unwrap();
        assert_eq!(patch["metadata"], json!({"uid": "u1"}));
        assert_eq!(patch["status"]["phase"], "Running");
        assert_eq!(patch["status"].get("reason"), Some(&Value::Null));
        let ready = json!([{"type": "Ready", "status": "True", "reason": null, "message": null}]);
        assert_eq!(patch["status"]["conditions"], ready);
        assert_eq!(patch["status"]["podIPs"], json!([{"ip": "10.0.0.9"}, {"$patch": "replace"}]));
    }

    #[test]
    fn a_pod_that_is_gone_is_deleted_without_grace_and_only_itself() {
        let message = message(&gone("default", "web", "u1"), false).unwrap();
        assert_eq!(message.route.resource.to_string(), "default/pod/web");
        assert_eq!(message.route.operation, Operation::Delete);
        assert_eq!(message.content.get(), r#"{"gracePeriodSeconds":0,"preconditions":{"uid":"u1"}}"#);
    }

    #[test]
    fn a_repeated_event_is_an_update() {
        let row = event(
            &serde_json::from_value(
                json!({"metadata": {"name": "e", "namespace": "default"}, "involvedObject": {}}),
            )
            .unwrap(),
        )
        .unwrap();
        assert_eq!(message(&row, false).unwrap().route.operation, Operation::Insert);
        assert_eq!(message(&row, true).unwrap().route.operation, Operation::Update);
    }

    #[test]
    fn two_heartbeats_differ_in_nothing_that_matters() {
        let beat = |time: &str, ready: &str| {
            let condition = json!({"type": "Ready", "status": ready, "lastHeartbeatTime": time});
            without_heartbeat(&json!({"status": {"conditions": [condition]}}).to_string())
        };
        assert_eq!(beat("10:00", "True"), beat("10:05", "True"));
        assert_ne!(beat("10:00", "True"), beat("10:05", "False"));
    }
}
