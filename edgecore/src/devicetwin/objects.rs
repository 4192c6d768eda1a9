//! Device and DeviceModel objects as the engine wants them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use proto::devices::{AccessMode, Device, DeviceModel, PropertyType};
use serde::de::DeserializeOwned;
use tracing::warn;

use super::engine::{Desired, DeviceId, Model, Objects, Rule};
use crate::metamanager::StoredObject;

/// What the objects of this node say. An object that cannot be read is skipped and said in the log; the others count.
pub(super) fn read(devices: &[StoredObject], models: &[StoredObject], node: &str) -> Objects {
    let models: HashMap<(Option<&str>, &str), Arc<Model>> = models
        .iter()
        .filter_map(|stored| {
            let model: DeviceModel = parse(stored)?;
            Some(((stored.key.namespace.as_deref(), stored.key.name.as_str()), Arc::new(rules(&model))))
        })
        .collect();
    let read = |stored: &StoredObject| {
        let device: Device = parse(stored)?;
        if device.spec.node_name.as_deref().is_some_and(|name| !name.is_empty() && name != node) {
            return None;
        }
        let namespace = stored.key.namespace.as_deref();
        let id = DeviceId::new(namespace.unwrap_or("default"), &stored.key.name).ok()?;
        let model = device.spec.device_model_ref.as_ref();
        let model = model.and_then(|reference| models.get(&(namespace, reference.name.as_str())));
        let description = device.metadata.labels.as_ref().and_then(|labels| labels.get("description"));
        let desired = Desired {
            uid: stored.uid.clone(),
            description: description.cloned(),
            model: model.cloned().unwrap_or_default(),
            values: values(&device),
        };
        Some((id, desired))
    };
    Objects(devices.iter().filter_map(read).collect())
}

/// The object, or a word in the log about why it cannot be read.
pub(crate) fn parse<T: DeserializeOwned>(stored: &StoredObject) -> Option<T> {
    // Owned: the object's tree is what serde reads from.
    match serde_json::from_value(stored.object.clone()) {
        Ok(object) => Some(object),
        Err(error) => {
            warn!(object = ?stored.key, "skipped, it cannot be read: {error}");
            None
        }
    }
}

fn rules(model: &DeviceModel) -> Model {
    let rule = |property: &proto::devices::ModelProperty| {
        let word = match property.kind? {
            PropertyType::Int => "INT",
            PropertyType::Float => "FLOAT",
            PropertyType::Double => "DOUBLE",
            PropertyType::Boolean => "BOOLEAN",
            PropertyType::Bytes => "BYTES",
            PropertyType::String | PropertyType::Stream => "STRING",
        };
        let access = match property.access_mode {
            Some(AccessMode::ReadOnly) => "ReadOnly",
            Some(AccessMode::ReadWrite) | None => "ReadWrite",
        };
        let rule = Rule::new(word, access, property.minimum.as_deref(), property.maximum.as_deref());
        Some((property.name.clone(), rule))
    };
    Model { rules: model.spec.properties.iter().filter_map(rule).collect() }
}

fn values(device: &Device) -> BTreeMap<String, (String, Option<String>)> {
    let wanted = |property: &proto::devices::DeviceProperty| {
        let desired = property.desired.as_ref().filter(|desired| !desired.value.is_empty())?;
        let type_word = desired.metadata.get("type").cloned();
        Some((property.name.clone(), (desired.value.clone(), type_word)))
    };
    device.spec.properties.iter().filter_map(wanted).collect()
}
