//! Which node should have which device and model: a pure index.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use proto::pki::NodeName;
use proto::resource::{ObjectKey, ResourceKind};
use serde_json::Value;

use crate::desired::Object;

/// A device's place. Its DeviceStatus has the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct DeviceId {
    /// The namespace of the device and of its model.
    pub namespace: String,
    /// The device's name.
    pub name: String,
}

/// What is known of a device.
#[derive(Debug, Clone)]
pub(super) struct Device {
    /// Tells it from its namesakes.
    pub uid: String,
    /// The node that owns it, if one does.
    pub node: Option<NodeName>,
    /// The names of its properties; reports about others are left out.
    pub properties: BTreeSet<String>,
    model: Option<ObjectKey>,
    protocol: String,
    object: Arc<Object>,
}

/// A device as those see it who say how it is.
#[derive(Debug)]
pub(super) struct Subject {
    pub(super) id: DeviceId,
    pub(super) device: Arc<Object>,
    pub(super) node: Option<NodeName>,
    pub(super) protocol: String,
    /// What it says its model is.
    pub(super) model_name: Option<String>,
    /// The model, if there is one of that name.
    pub(super) model: Option<Arc<Object>>,
}

/// What the index wants done.
#[derive(Debug)]
pub(super) enum Effect {
    /// The node should have this.
    Put(NodeName, Arc<Object>),
    /// The node has this, and should be sent it once more: a KubeEdge edge could not use it before.
    Again(NodeName, ObjectKey),
    /// The node should not have this any more.
    Remove(NodeName, ObjectKey),
    /// There should be a DeviceStatus for this device.
    Ensure(DeviceId),
    /// The device is gone, and its DeviceStatus should go with it.
    Forget(DeviceId),
}

/// The index. See the module.
#[derive(Debug, Default)]
pub(super) struct Index {
    devices: HashMap<DeviceId, Device>,
    models: HashMap<ObjectKey, Arc<Object>>,
    /// How many devices of each node use a model, whether the model exists or not.
    users: HashMap<ObjectKey, BTreeMap<NodeName, usize>>,
}

// === impl Device ===

impl Device {
    /// The node that is sent it. Without a model no edge can do anything with it.
    fn target(&self) -> Option<&NodeName> {
        self.node.as_ref().filter(|_| self.model.is_some())
    }
}

// === impl Index ===

impl Index {
    /// A device exists at this version.
    pub(super) fn applied_device(&mut self, object: Object, spec: &Value) -> Vec<Effect> {
        let id = DeviceId {
            namespace: object.key.namespace.clone().unwrap_or_default(),
            name: object.key.name.clone(),
        };
        let text =
            |pointer: &str| spec.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
        let names = spec.get("properties").and_then(Value::as_array).into_iter().flatten();
        let object = Arc::new(object);
        let device = Device {
            protocol: text("/protocol/protocolName").unwrap_or_default().to_owned(),
            object: Arc::clone(&object),
            uid: object.uid.clone(),
            node: text("/nodeName").and_then(|node| node.parse().ok()),
            properties: names
                .filter_map(|property| property.get("name")?.as_str().map(str::to_owned))
                .collect(),
            model: text("/deviceModelRef/name")
                .map(|model| ObjectKey::namespaced(&id.namespace, ResourceKind::DeviceModel, model)),
        };
        let key = object.key.clone();
        let before = self.devices.insert(id.clone(), device.clone());
        let mut effects = Vec::new();
        if before.as_ref().is_some_and(|before| before.uid != device.uid) {
            effects.push(Effect::Forget(id.clone()));
        }
        if before.as_ref().is_none_or(|before| before.uid != device.uid) && device.node.is_some() {
            effects.push(Effect::Ensure(id));
        }
        // The model is taken before the old one is released, and comes before the device that needs it.
        if let (Some(node), Some(model)) = (&device.node, &device.model) {
            effects.extend(self.take(node, model));
        }
        if let Some(node) = device.target() {
            effects.push(Effect::Put(node.clone(), object));
        }
        if let Some(before) = before {
            if let Some(old) = before.target().filter(|old| device.target() != Some(*old)) {
                effects.push(Effect::Remove(old.clone(), key));
            }
            effects.extend(self.release(&before));
        }
        effects
    }

    /// A device is gone.
    pub(super) fn deleted_device(&mut self, id: &DeviceId) -> Vec<Effect> {
        let Some(device) = self.devices.remove(id) else { return Vec::new() };
        let mut effects = Vec::new();
        if let Some(node) = device.target() {
            let key = ObjectKey::namespaced(&id.namespace, ResourceKind::Device, &id.name);
            effects.push(Effect::Remove(node.clone(), key));
        }
        effects.extend(self.release(&device));
        effects.push(Effect::Forget(id.clone()));
        effects
    }

    /// A model exists at this version.
    pub(super) fn applied_model(&mut self, object: Object) -> Vec<Effect> {
        let object = Arc::new(object);
        let before = self.models.insert(object.key.clone(), object.clone());
        let users = self.users.get(&object.key).into_iter().flat_map(BTreeMap::keys);
        let mut effects: Vec<_> = users.map(|node| Effect::Put(node.clone(), object.clone())).collect();
        if before.is_none() && !effects.is_empty() {
            // They were there before it. A KubeEdge edge gives its mapper no device without a model, and does not look again.
            let waiting =
                self.devices.iter().filter(|(_, device)| device.model.as_ref() == Some(&object.key));
            effects.extend(waiting.filter_map(|(id, device)| {
                let key = ObjectKey::namespaced(&id.namespace, ResourceKind::Device, &id.name);
                Some(Effect::Again(device.target()?.clone(), key))
            }));
        }
        effects
    }

    /// A model is gone.
    pub(super) fn deleted_model(&mut self, key: &ObjectKey) -> Vec<Effect> {
        self.models.remove(key);
        let users = self.users.get(key).into_iter().flat_map(BTreeMap::keys);
        users.map(|node| Effect::Remove(node.clone(), key.clone())).collect()
    }

    /// What is known of a device.
    pub(super) fn device(&self, id: &DeviceId) -> Option<&Device> {
        self.devices.get(id)
    }

    /// All devices.
    pub(super) fn subjects(&self) -> Vec<Subject> {
        let subject = |(id, device): (&DeviceId, &Device)| Subject {
            id: id.clone(),
            device: Arc::clone(&device.object),
            node: device.node.clone(),
            protocol: device.protocol.clone(),
            model_name: device.model.as_ref().map(|model| model.name.clone()),
            model: device.model.as_ref().and_then(|model| self.models.get(model)).cloned(),
        };
        self.devices.iter().map(subject).collect()
    }

    /// What the API no longer listed after a watch began anew.
    pub(super) fn devices_missing_from(&self, seen: &HashSet<(String, String)>) -> Vec<DeviceId> {
        let gone = |id: &&DeviceId| !seen.contains(&(id.namespace.clone(), id.name.clone()));
        self.devices.keys().filter(gone).cloned().collect()
    }

    /// As [`Index::devices_missing_from`], for models.
    pub(super) fn models_missing_from(&self, seen: &HashSet<(String, String)>) -> Vec<ObjectKey> {
        let gone =
            |key: &&ObjectKey| !seen.contains(&(key.namespace.clone().unwrap_or_default(), key.name.clone()));
        self.models.keys().filter(gone).cloned().collect()
    }

    /// How many devices and models there are.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.devices.len(), self.models.len())
    }

    fn take(&mut self, node: &NodeName, model: &ObjectKey) -> Option<Effect> {
        let users = self.users.entry(model.clone()).or_default().entry(node.clone()).or_default();
        *users += 1;
        let first = *users == 1;
        self.models.get(model).filter(|_| first).map(|object| Effect::Put(node.clone(), object.clone()))
    }

    fn release(&mut self, device: &Device) -> Option<Effect> {
        let (node, model) = (device.node.as_ref()?, device.model.as_ref()?);
        let nodes = self.users.get_mut(model)?;
        let users = nodes.get_mut(node)?;
        *users -= 1;
        if *users > 0 {
            return None;
        }
        nodes.remove(node);
        if nodes.is_empty() {
            self.users.remove(model);
        }
        Some(Effect::Remove(node.clone(), model.clone()))
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(kind: ResourceKind, name: &str, uid: &str, revision: u64) -> Object {
        let value = json!({"metadata": {"name": name, "namespace": "d", "uid": uid, "resourceVersion": revision.to_string()}});
        Object::from_api(kind, "devices.kubeedge.io/v1beta1", "Any", value).expect("well-formed")
    }

    fn model(index: &mut Index, name: &str) -> Vec<String> {
        told(index.applied_model(object(ResourceKind::DeviceModel, name, name, 1)))
    }

    fn device(index: &mut Index, name: &str, uid: &str, node: &str, model: &str) -> Vec<String> {
        let spec =
            json!({"nodeName": node, "deviceModelRef": {"name": model}, "properties": [{"name": "t"}]});
        told(index.applied_device(object(ResourceKind::Device, name, uid, 1), &spec))
    }

    fn told(effects: Vec<Effect>) -> Vec<String> {
        let told = effects.into_iter().map(|effect| match effect {
            Effect::Put(node, object) => format!("{node}+{}", object.key.name),
            Effect::Again(node, key) => format!("{node}={}", key.name),
            Effect::Remove(node, key) => format!("{node}-{}", key.name),
            Effect::Ensure(id) => format!("ensure {id}"),
            Effect::Forget(id) => format!("forget {id}"),
        });
        told.collect()
    }

    #[test]
    fn a_device_comes_after_its_model_and_leaves_with_it() {
        let mut index = Index::default();
        assert!(model(&mut index, "m").is_empty());
        assert_eq!(device(&mut index, "a", "1", "n1", "m"), ["ensure d/a", "n1+m", "n1+a"]);
        assert_eq!(device(&mut index, "b", "2", "n1", "m"), ["ensure d/b", "n1+b"]);
        let id = |name: &str| DeviceId { namespace: "d".into(), name: name.into() };
        assert_eq!(told(index.deleted_device(&id("a"))), ["n1-a", "forget d/a"]);
        assert_eq!(told(index.deleted_device(&id("b"))), ["n1-b", "n1-m", "forget d/b"]);
    }

    #[test]
    fn a_model_that_comes_after_its_device_still_reaches_the_node() {
        let mut index = Index::default();
        assert_eq!(device(&mut index, "a", "1", "n1", "m"), ["ensure d/a", "n1+a"]);
        // And the device after it once more, but only then.
        assert_eq!(model(&mut index, "m"), ["n1+m", "n1=a"]);
        assert_eq!(model(&mut index, "m"), ["n1+m"]);
    }

    #[test]
    fn a_device_that_moves_is_deleted_there_and_inserted_here() {
        let mut index = Index::default();
        model(&mut index, "m");
        device(&mut index, "a", "1", "n1", "m");
        assert_eq!(device(&mut index, "a", "1", "n2", "m"), ["n2+m", "n2+a", "n1-a", "n1-m"]);
        assert_eq!(device(&mut index, "a", "1", "", "m"), ["n2-a", "n2-m"]);
    }

    #[test]
    fn a_namesake_of_a_deleted_device_starts_with_a_fresh_status() {
        let mut index = Index::default();
        device(&mut index, "a", "1", "n1", "m");
        assert_eq!(device(&mut index, "a", "2", "n1", "m"), ["forget d/a", "ensure d/a", "n1+a"]);
    }

    #[test]
    fn a_device_that_names_no_model_or_no_node_is_sent_to_nobody() {
        let mut index = Index::default();
        let spec = json!({"nodeName": "n1"});
        assert_eq!(
            told(index.applied_device(object(ResourceKind::Device, "a", "1", 1), &spec)),
            ["ensure d/a"]
        );
        assert_eq!(device(&mut index, "a", "1", "n1", "m"), ["n1+a"]);
        assert_eq!(
            told(index.applied_device(object(ResourceKind::Device, "a", "1", 2), &spec)),
            ["n1-a", "n1-m"]
        );
        assert!(told(index.applied_device(object(ResourceKind::Device, "b", "2", 1), &json!({}))).is_empty());
    }
}
