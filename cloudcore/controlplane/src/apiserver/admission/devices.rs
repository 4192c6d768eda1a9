//! Devices and their models, held against each other on write: what KubeEdge's admission webhook checks, and desired
//! values that the model does not allow.
//!
//! Only what is new is refused, as Kubernetes does when its rules become stricter: whoever writes a status, or sets
//! right one of two wrong values, is not held up by what was there before. What cannot be judged yet (the model comes
//! later, or changes later) is a condition of the Device instead, as everywhere on clusters that are not ours.

use proto::devices::check::{self, Finding};
use proto::devices::{Device, DeviceModel, GROUP, VERSION};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Api, Target, one};
use crate::schema::Json;
use crate::status::{FieldError, Status};

/// Refuses a Device or a DeviceModel that cannot work.
pub(super) fn check(api: &Api, target: &Target, old: Option<&Value>, new: &Value) -> Result<(), Status> {
    if target.resource.group != GROUP || target.resource.version != VERSION {
        return Ok(());
    }
    if old.is_some_and(|old| old.get("spec") == new.get("spec")) {
        return Ok(());
    }
    let found = |object: &Value| match target.resource.plural.as_str() {
        "devices" => device(api, target, object),
        "devicemodels" => read::<DeviceModel>(object).map(|model| check::model(&model)).unwrap_or_default(),
        _ => Vec::new(),
    };
    let mut known = old.map(&found).unwrap_or_default();
    let errors: Vec<FieldError> = found(new)
        .into_iter()
        .filter(|finding| finding.wrong.is_refused())
        .filter(|finding| match known.iter().position(|known| known.message == finding.message) {
            // Messages, not fields: a property that moves in the list is still the same.
            Some(at) => {
                known.swap_remove(at);
                false
            }
            None => true,
        })
        .map(|finding| {
            let value = new.pointer(&pointer(&finding.field)).cloned().unwrap_or_default();
            FieldError::invalid(finding.field, &value, &finding.message)
        })
        .collect();
    if errors.is_empty() {
        return Ok(());
    }
    Err(Status::invalid(GROUP, &target.resource.kind, new.text("/metadata/name"), &errors))
}

fn device(api: &Api, target: &Target, object: &Value) -> Vec<Finding> {
    let Some(device) = read::<Device>(object) else { return Vec::new() };
    let name = device.spec.device_model_ref.as_ref().map(|reference| reference.name.as_str());
    let model = name
        .filter(|name| !name.is_empty())
        .and_then(|name| one(api, GROUP, "devicemodels", &target.namespace, name))
        .and_then(|model| read::<DeviceModel>(&model));
    check::device(&device, model.as_ref())
}

/// What cannot be read breaks the schema, which says so better.
fn read<T: DeserializeOwned>(object: &Value) -> Option<T> {
    T::deserialize(object).ok()
}

/// `spec.properties[1].name` as a JSON pointer.
fn pointer(field: &str) -> String {
    format!("/{}", field.replace("].", "/").replace(['.', '['], "/"))
}
