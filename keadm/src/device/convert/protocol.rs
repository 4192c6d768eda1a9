//! The typed protocols of v1alpha2 as `{protocolName, configData}`. Names of fields stay, places become flat: that is how KubeEdge's public
//! mappers for v1beta1 read them, and those that are here.

use proto::devices::{ProtocolConfig, Visitors};
use serde_json::{Map, Value, json};

use super::fields::Fields;
use super::told::Told;

const MODBUS: &str = "modbus";
const BLUETOOTH: &str = "bluetooth";
/// The protocols that v1alpha2 has types for.
const TYPED: [&str; 3] = [MODBUS, "opcua", BLUETOOTH];
const CUSTOMIZED: &str = "customizedProtocol";
/// Objects whose fields come to stand beside them.
const FLATTENED: [&str; 4] = ["com", "rtu", "tcp", "customizedValues"];

/// `spec.protocol` of a device.
pub(super) fn of_device(spec: &mut Fields, told: &mut Told) -> Option<ProtocolConfig> {
    let mut protocol = spec.object("protocol", told)?;
    let mut config = Config::default();
    let name = named(&mut protocol, &mut config, told);
    if let Some(common) = protocol.object("common", told) {
        let path = common.path().to_owned();
        let common = common.rest();
        if common.contains_key("com") && common.contains_key("tcp") {
            told.wrong(
                &path,
                "has both com and tcp",
                "a device is reached by one of them",
                "remove one of them",
            );
        }
        config.flatten(&path, common, told);
    }
    let path = protocol.path().to_owned();
    protocol.end(told);
    if name.is_none() && !config.0.is_empty() {
        told.wrong(
            &path,
            "names no protocol",
            "v1beta1 finds the mapper by the protocol's name",
            "add customizedProtocol.protocolName, with the protocol that the mapper registers for",
        );
    }
    (name.is_some() || !config.0.is_empty())
        .then(|| ProtocolConfig { protocol_name: name, config_data: config.data() })
}

/// How a property is accessed; `device` is the name of the device's protocol.
pub(super) fn of_property(visitor: &mut Fields, device: Option<&str>, told: &mut Told) -> Option<Visitors> {
    let mut config = Config::default();
    let name = named(visitor, &mut config, told);
    if let Some(values) = visitor.object("customizedValues", told) {
        let path = values.path().to_owned();
        config.flatten(&path, values.rest(), told);
    }
    let name = name.or_else(|| device.filter(|_| !config.0.is_empty()).map(str::to_owned));
    (name.is_some() || !config.0.is_empty())
        .then(|| Visitors { protocol_name: name, config_data: config.data() })
}

/// Takes the one protocol that is there.
fn named(fields: &mut Fields, config: &mut Config, told: &mut Told) -> Option<String> {
    let mut names: Vec<String> = Vec::new();
    for key in TYPED {
        let Some(mut typed) = fields.object(key, told) else { continue };
        match key {
            MODBUS => scale(&mut typed, told),
            BLUETOOTH => converter(&mut typed, config, told),
            _ => {}
        }
        let path = typed.path().to_owned();
        config.flatten(&path, typed.rest(), told);
        names.push(key.to_owned());
    }
    if let Some(mut customized) = fields.object(CUSTOMIZED, told) {
        let name = customized.text("protocolName", told).filter(|name| !name.is_empty());
        if let Some(values) = customized.object("configData", told) {
            let path = values.path().to_owned();
            config.keep(&path, values.rest(), told);
        }
        customized.end(told);
        names.extend(name);
    }
    if names.len() > 1 {
        told.wrong(
            if fields.path().is_empty() { "it" } else { fields.path() },
            &format!("names several protocols: {}", names.join(", ")),
            "there is one mapper for a device",
            "leave the one that is meant",
        );
    }
    names.into_iter().next()
}

/// Go's zero: a scale that was not given.
fn scale(modbus: &mut Fields, told: &mut Told) {
    let Some(scale) = modbus.take("scale") else { return };
    if scale.as_f64() == Some(0.0) {
        told.note(format!("{} is 0, which says nothing, and is left out", modbus.at("scale")));
    } else {
        modbus.put("scale", scale);
    }
}

/// A converter that only multiplies is a scale, as other mappers have it; any other stays as it is, for a mapper that knows it.
fn converter(bluetooth: &mut Fields, config: &mut Config, told: &mut Told) {
    let Some(converter) = bluetooth.take("dataConverter") else { return };
    let path = bluetooth.at("dataConverter");
    match factor(&converter) {
        Some(factor) => {
            told.note(format!("{path} only multiplies: it becomes configData.scale {factor}"));
            config.add(&path, "scale", json!(factor), told);
        }
        None => config.add(&path, "dataConverter", converter, told),
    }
}

fn factor(converter: &Value) -> Option<f64> {
    let converter = converter.as_object()?;
    let operations = converter.get("orderOfOperations")?.as_array()?;
    if converter.len() != 1 || operations.is_empty() {
        return None;
    }
    let factor = operations.iter().try_fold(1.0, |factor, operation| {
        let value = operation.get("operationValue")?.as_f64()?;
        match operation.get("operationType")?.as_str()? {
            "Multiply" => Some(factor * value),
            "Divide" => Some(factor / value),
            _ => None,
        }
    })?;
    (factor.is_finite() && factor != 0.0).then_some(factor)
}

/// A `configData` that is being put together.
#[derive(Debug, Default)]
struct Config(Map<String, Value>);

impl Config {
    fn data(self) -> Option<Map<String, Value>> {
        (!self.0.is_empty()).then_some(self.0)
    }

    /// Takes fields as they are, except that those of known objects come to stand beside them.
    fn flatten(&mut self, path: &str, fields: Map<String, Value>, told: &mut Told) {
        for (key, value) in fields {
            let at = format!("{path}.{key}");
            match value {
                Value::Object(inner) if FLATTENED.contains(&key.as_str()) => self.keep(&at, inner, told),
                value => self.add(&at, &key, value, told),
            }
        }
    }

    /// Takes fields as they are.
    fn keep(&mut self, path: &str, fields: Map<String, Value>, told: &mut Told) {
        for (key, value) in fields {
            self.add(&format!("{path}.{key}"), &key, value, told);
        }
    }

    fn add(&mut self, path: &str, key: &str, value: Value, told: &mut Told) {
        if value.is_null() || value.as_object().is_some_and(Map::is_empty) {
            return;
        }
        // Mappers find keys in any letter case.
        if let Some((other, before)) = self.0.iter().find(|(other, _)| other.eq_ignore_ascii_case(key)) {
            if *before != value {
                told.wrong(
                    path,
                    &format!("comes to stand beside another {other}"),
                    "configData of v1beta1 is flat, and the two differ",
                    "leave the one that the mapper is to have",
                );
            }
            return;
        }
        if value.is_object() || value.is_array() {
            told.note(format!(
                "{path} stays as it is, in configData.{key}: our edgecore hands it to mappers as a text of JSON, KubeEdge's does not deliver \
                 such a device"
            ));
        }
        self.0.insert(key.to_owned(), value);
    }
}
