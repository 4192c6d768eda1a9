//! Device and DeviceModel objects as the engine wants them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use proto::devices::{AccessMode, Device, DeviceModel, PropertyType};
use proto::resource::{ObjectKey, ResourceKind};

use super::engine::{Desired, DeviceId, Model, Objects, Rule};
use crate::metamanager;

/// What the objects of this node say.
pub(super) async fn read(
    store: &metamanager::Handle,
    node: &str,
) -> Result<Objects, metamanager::StoreError> {
    let model = |key: &ObjectKey, _: &str, model: DeviceModel| Some((name(key), Arc::new(rules(&model))));
    let models = store.read_each(&ResourceKind::DeviceModel, model).await?;
    let models: HashMap<(Option<String>, String), Arc<Model>> = models.into_iter().collect();
    let device = |key: &ObjectKey, uid: &str, device: Device| {
        if device.spec.node_name.as_deref().is_some_and(|name| !name.is_empty() && name != node) {
            return None;
        }
        let id = DeviceId::new(key.namespace.as_deref().unwrap_or("default"), &key.name).ok()?;
        let model = device.spec.device_model_ref.as_ref();
        let model = model.and_then(|reference| models.get(&(key.namespace.clone(), reference.name.clone())));
        let description = device.metadata.labels.as_ref().and_then(|labels| labels.get("description"));
        let desired = Desired {
            uid: uid.to_owned(),
            description: description.cloned(),
            model: model.cloned().unwrap_or_default(),
            values: values(&device),
        };
        Some((id, desired))
    };
    let devices = store.read_each(&ResourceKind::Device, device).await?;
    Ok(Objects(devices.into_iter().collect()))
}

fn name(key: &ObjectKey) -> (Option<String>, String) {
    (key.namespace.clone(), key.name.clone())
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
