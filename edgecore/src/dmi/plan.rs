//! What a mapper has to be told so that it has what it should have. Pure.

use std::collections::BTreeMap;

use dmi::v1beta1 as wire;
use prost::Message;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::catalog::Shelf;

/// What a mapper has: names, and digests of what it was told about them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Told {
    models: BTreeMap<String, String>,
    devices: BTreeMap<String, String>,
}

/// One call of a mapper.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Call {
    /// `namespace/name` of what it is about.
    pub name: String,
    /// What is said about it.
    pub what: What,
}

/// What a mapper can be told.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum What {
    CreateModel(wire::DeviceModel),
    UpdateModel(wire::DeviceModel),
    RemoveModel,
    RegisterDevice(wire::Device),
    UpdateDevice(wire::Device),
    RemoveDevice,
}

// === impl Told ===

impl Told {
    /// It was given all of this.
    pub(super) fn all_of(shelf: &Shelf) -> Self {
        let models = shelf.models.iter().map(|(name, model)| (name.clone(), digest(model)));
        let devices = shelf.devices.iter().map(|(name, device)| (name.clone(), digest(device)));
        Self { models: models.collect(), devices: devices.collect() }
    }

    /// What is missing, in the order in which it must be said: no device without its model.
    pub(super) fn missing(&self, shelf: &Shelf) -> Vec<Call> {
        let mut calls = Vec::new();
        let mut call = |name: &String, what| calls.push(Call { name: name.clone(), what });
        for name in self.devices.keys().filter(|name| !shelf.devices.contains_key(*name)) {
            call(name, What::RemoveDevice);
        }
        for (name, model) in &shelf.models {
            match self.models.get(name) {
                None => call(name, What::CreateModel(model.clone())),
                Some(told) if *told != digest(model) => call(name, What::UpdateModel(model.clone())),
                Some(_) => {}
            }
        }
        for (name, device) in &shelf.devices {
            match self.devices.get(name) {
                None => call(name, What::RegisterDevice(device.clone())),
                Some(told) if *told != digest(device) => call(name, What::UpdateDevice(device.clone())),
                Some(_) => {}
            }
        }
        for name in self.models.keys().filter(|name| !shelf.models.contains_key(*name)) {
            call(name, What::RemoveModel);
        }
        calls
    }

    /// The mapper has taken it.
    pub(super) fn take(&mut self, call: &Call) {
        let name = call.name.clone();
        match &call.what {
            What::CreateModel(model) | What::UpdateModel(model) => {
                self.models.insert(name, digest(model));
            }
            What::RegisterDevice(device) | What::UpdateDevice(device) => {
                self.devices.insert(name, digest(device));
            }
            What::RemoveModel => {
                self.models.remove(&name);
            }
            What::RemoveDevice => {
                self.devices.remove(&name);
            }
        }
    }
}

fn digest(message: &impl Message) -> String {
    hex::encode(&Sha256::digest(message.encode_to_vec())[..16])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shelf(models: &[(&str, &str)], devices: &[(&str, &str)]) -> Shelf {
        let model = |(name, unit): &(&str, &str)| {
            let properties = vec![wire::ModelProperty { unit: (*unit).into(), ..Default::default() }];
            let spec = Some(wire::DeviceModelSpec { properties, ..Default::default() });
            ((*name).to_owned(), wire::DeviceModel { spec, ..Default::default() })
        };
        let device = |(name, reference): &(&str, &str)| {
            let spec = wire::DeviceSpec { device_model_reference: (*reference).into(), ..Default::default() };
            ((*name).to_owned(), wire::Device { spec: Some(spec), ..Default::default() })
        };
        Shelf { models: models.iter().map(model).collect(), devices: devices.iter().map(device).collect() }
    }

    fn words(calls: &[Call]) -> Vec<String> {
        let word = |call: &Call| {
            let word = match call.what {
                What::CreateModel(_) => "create",
                What::UpdateModel(_) => "update model",
                What::RemoveModel => "remove model",
                What::RegisterDevice(_) => "register",
                What::UpdateDevice(_) => "update",
                What::RemoveDevice => "remove",
            };
            format!("{word} {}", call.name)
        };
        calls.iter().map(word).collect()
    }

    #[test]
    fn models_come_before_devices_and_go_after_them() {
        let old = shelf(&[("d/m1", "C"), ("d/m2", "C")], &[("d/a", "m1"), ("d/b", "m2")]);
        let new = shelf(&[("d/m2", "K"), ("d/m3", "K")], &[("d/b", "m3"), ("d/c", "m3")]);
        let mut told = Told::all_of(&old);
        let calls = told.missing(&new);
        assert_eq!(
            words(&calls),
            [
                "remove d/a",
                "update model d/m2",
                "create d/m3",
                "update d/b",
                "register d/c",
                "remove model d/m1"
            ]
        );
        calls.iter().for_each(|call| told.take(call));
        assert_eq!(told, Told::all_of(&new));
        assert!(told.missing(&new).is_empty());
    }

    #[test]
    fn what_was_refused_is_said_again() {
        let wanted = shelf(&[("d/m", "C")], &[("d/a", "m"), ("d/b", "m")]);
        let mut told = Told::default();
        for call in told.missing(&wanted).iter().filter(|call| call.name != "d/a") {
            told.take(call);
        }
        assert_eq!(words(&told.missing(&wanted)), ["register d/a"]);
    }
}
