//! One API object, serialised once and shared by every session that sends it.

use std::hash::{DefaultHasher, Hash, Hasher};

use proto::message::{Content, ContentError};
use proto::resource::{ObjectKey, ResourceKind};
use serde_json::{Map, Value};

/// Conditions that the node's own agent writes: it need not be told of them.
const OWN_POD_CONDITIONS: [&str; 7] = [
    "ContainersReady",
    "DisruptionTarget",
    "Initialized",
    "PodReadyToStartContainers",
    "PodResizeInProgress",
    "PodResizePending",
    "Ready",
];

/// What devicecontroller writes into the status of a Device.
const OWN_DEVICE_STATUS: [&str; 3] = ["conditions", "health", "lastReportTime"];

/// An object as an edge should have it.
#[derive(Debug, Clone)]
pub struct Object {
    /// Where it lives; equal keys replace each other.
    pub key: ObjectKey,
    /// Tells an object from its namesake that was deleted before it.
    pub uid: String,
    /// The API's version of it.
    pub resource_version: String,
    /// Differs between two versions exactly when the edge must hear of the newer one. Status that the edge itself
    /// reported does not count: echoing it would double the traffic of every report.
    pub digest: u64,
    /// What goes over the wire: the whole object without its field managers.
    pub content: Content,
}

/// Why an object from the API cannot be sent to an edge.
#[derive(Debug, thiserror::Error)]
pub enum MalformedObject {
    /// The API server always sets these; without them nothing can be ordered or told apart.
    #[error("{kind} {name:?} from the Kubernetes API has no metadata.{field}; it is not sent to any edge")]
    Missing {
        /// The object's kind.
        kind: String,
        /// Its name, if it has one.
        name: String,
        /// The field that is missing.
        field: &'static str,
    },
    /// The object does not turn into JSON text.
    #[error("{kind} {name:?} from the Kubernetes API does not serialise: {source}")]
    Json {
        /// The object's kind.
        kind: String,
        /// Its name.
        name: String,
        /// What is wrong with it.
        source: ContentError,
    },
}

// === impl Object ===

impl Object {
    /// Takes an object as the API returned it. `api_version` and `kind` are set on it, as lists leave them out.
    ///
    /// # Errors
    /// If the object lacks what every stored object has.
    pub fn from_api(
        resource: ResourceKind,
        api_version: &str,
        kind: &str,
        value: Value,
    ) -> Result<Self, MalformedObject> {
        let Value::Object(mut fields) = value else {
            return Err(MalformedObject::Missing { kind: kind.into(), name: String::new(), field: "name" });
        };
        let text = |fields: &Map<String, Value>, field: &'static str| {
            let name = || {
                fields
                    .get("metadata")
                    .and_then(|m| m.get("name"))
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned()
            };
            fields
                .get("metadata")
                .and_then(|metadata| metadata.get(field))
                .and_then(Value::as_str)
                .map(str::to_owned)
                .ok_or_else(|| MalformedObject::Missing { kind: kind.into(), name: name(), field })
        };
        let name = text(&fields, "name")?;
        let uid = text(&fields, "uid")?;
        let resource_version = text(&fields, "resourceVersion")?;
        let namespace = fields
            .get("metadata")
            .and_then(|m| m.get("namespace"))
            .and_then(Value::as_str)
            .map(str::to_owned);
        if let Some(Value::Object(metadata)) = fields.get_mut("metadata") {
            metadata.shift_remove("managedFields");
        }
        fields.shift_remove("kind");
        fields.shift_remove("apiVersion");
        let mut whole = Map::with_capacity(fields.len() + 2);
        whole.insert("kind".into(), kind.into());
        whole.insert("apiVersion".into(), api_version.into());
        whole.append(&mut fields);
        if resource == ResourceKind::Device {
            strip_own_status(&mut whole);
        }
        let digest = digest(&resource, &whole);
        let content = Content::json(&whole).map_err(|source| MalformedObject::Json {
            kind: kind.into(),
            name: name.clone(),
            source,
        })?;
        Ok(Self {
            key: ObjectKey { namespace, kind: resource, name },
            uid,
            resource_version,
            digest,
            content,
        })
    }

    /// The version as a number, for ordering two reads of the same object; 0 for one that is not a number.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.resource_version.parse().unwrap_or(0)
    }
}

/// Hashes what the edge must know, and nothing that changes without it mattering there.
fn digest(resource: &ResourceKind, whole: &Map<String, Value>) -> u64 {
    let mut hasher = DefaultHasher::new();
    for (field, value) in whole {
        match field.as_str() {
            "metadata" if matches!(resource, ResourceKind::Device) => {
                // Labels of a device are for people, but for the one that edges show.
                for pointer in ["/uid", "/deletionTimestamp", "/labels/description"] {
                    value.pointer(pointer).map(Value::to_string).hash(&mut hasher);
                }
            }
            "metadata" => {
                for (field, value) in value.as_object().into_iter().flatten() {
                    if !matches!(field.as_str(), "resourceVersion" | "generation") {
                        field.hash(&mut hasher);
                        value.to_string().hash(&mut hasher);
                    }
                }
            }
            "status" if matches!(resource, ResourceKind::Pod) => {
                for (kind, status) in conditions(value).filter(|(kind, _)| !OWN_POD_CONDITIONS.contains(kind))
                {
                    (kind, status).hash(&mut hasher);
                }
                // Who else calls a pod not ready is to be heard by its agent, to be contradicted.
                is_denied(value).hash(&mut hasher);
            }
            // A node that someone else declared not ready must hear of it, to object.
            "status" if matches!(resource, ResourceKind::Node) => {
                for (kind, status) in conditions(value).filter(|(kind, _)| *kind == "Ready") {
                    (kind, status).hash(&mut hasher);
                }
            }
            _ => {
                field.hash(&mut hasher);
                value.to_string().hash(&mut hasher);
            }
        }
    }
    hasher.finish()
}

/// What cloudcore itself writes into a device's status: no edge needs it, and every report would be echoed.
fn strip_own_status(device: &mut Map<String, Value>) {
    if let Some(Value::Object(status)) = device.get_mut("status") {
        status.retain(|field, _| !OWN_DEVICE_STATUS.contains(&field.as_str()));
        if status.is_empty() {
            device.shift_remove("status");
        }
    }
}

/// Whether somebody else than the agent calls the pod not ready: its containers are, and no gate is missing.
fn is_denied(pod_status: &Value) -> bool {
    let has = |kind: &str, status: &str| conditions(pod_status).any(|condition| condition == (kind, status));
    let list = pod_status.get("conditions").and_then(Value::as_array);
    let gates = list
        .into_iter()
        .flatten()
        .any(|condition| condition["type"] == "Ready" && condition["reason"] == "ReadinessGatesNotReady");
    has("Ready", "False") && has("ContainersReady", "True") && !gates
}

fn conditions(status: &Value) -> impl Iterator<Item = (&str, &str)> {
    let list = status.get("conditions").and_then(Value::as_array);
    list.into_iter().flatten().filter_map(|condition| {
        Some((
            condition.get("type")?.as_str()?,
            condition.get("status").and_then(Value::as_str).unwrap_or(""),
        ))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(revision: &str, status: Value, labels: Value) -> Object {
        let value = json!({
            "metadata": {"name": "web", "namespace": "default", "uid": "u1", "resourceVersion": revision,
                         "labels": labels, "managedFields": [{"manager": "kubectl"}]},
            "spec": {"nodeName": "edge1"},
            "status": status,
        });
        Object::from_api(ResourceKind::Pod, "v1", "Pod", value).expect("a pod")
    }

    #[test]
    fn a_status_that_the_edge_reported_is_not_news_to_it() {
        let before = pod("5", json!({"phase": "Pending"}), json!({}));
        let ready = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
        let after = pod("6", ready, json!({}));
        assert_eq!(before.digest, after.digest);
    }

    #[test]
    fn that_somebody_else_calls_a_pod_not_ready_is_news() {
        let digest = |ready: &str, containers: &str, reason: &str| {
            let ready = json!({"type": "Ready", "status": ready, "reason": reason});
            let containers = json!({"type": "ContainersReady", "status": containers});
            pod("5", json!({"conditions": [ready, containers]}), json!({})).digest
        };
        let ready = digest("True", "True", "");
        assert_eq!(ready, digest("False", "False", "ContainersNotReady"));
        assert_eq!(ready, digest("False", "True", "ReadinessGatesNotReady"));
        assert_ne!(ready, digest("False", "True", ""));
        assert_ne!(ready, digest("False", "True", "ContainersNotReady"));
    }

    #[test]
    fn a_label_or_a_readiness_gate_is_news() {
        let before = pod("5", json!({}), json!({}));
        assert_ne!(before.digest, pod("6", json!({}), json!({"tier": "front"})).digest);
        let gate = json!({"conditions": [{"type": "example.com/gate", "status": "True"}]});
        assert_ne!(before.digest, pod("6", gate, json!({})).digest);
    }

    #[test]
    fn what_is_sent_names_its_kind_and_not_its_field_managers() {
        let object = pod("5", json!({}), json!({}));
        let sent: Value = object.content.parse().expect("json");
        assert_eq!(sent["kind"], "Pod");
        assert_eq!(sent["apiVersion"], "v1");
        assert!(sent["metadata"].get("managedFields").is_none());
    }

    #[test]
    fn an_object_without_a_uid_is_refused_by_name() {
        let value = json!({"metadata": {"name": "x", "resourceVersion": "1"}});
        let error = Object::from_api(ResourceKind::Secret, "v1", "Secret", value).expect_err("no uid");
        assert!(
            error.to_string().contains("Secret \"x\"") && error.to_string().contains("metadata.uid"),
            "{error}"
        );
    }
}
