//! Whether a Device and its DeviceModel make sense together. Asked by the embedded control plane on write, by
//! devicecontroller for the conditions of a Device, and by keadm before it writes one.

use std::collections::HashSet;
use std::fmt;

use super::{AccessMode, Device, DeviceModel, ModelProperty, value};

/// KubeEdge's webhook's words.
pub const NOT_UNIQUE: &str = "property names must be unique.";

/// Something that is wrong with a Device or a DeviceModel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Where, for example `spec.properties[1].desired.value`.
    pub field: String,
    /// What kind of thing it is.
    pub wrong: Wrong,
    /// What is wrong and what to do.
    pub message: String,
}

/// What kind of thing is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// Two properties have the same name.
    Duplicate,
    /// A name that no edge takes.
    Name,
    /// The model has no such property.
    NotInModel,
    /// A value that the model does not allow.
    Value,
    /// A value is desired of a property that can only be read.
    ReadOnly,
    /// A minimum or maximum that says nothing.
    Bound,
}

// === impl Wrong ===

impl Wrong {
    /// Whether an API server of ours refuses it. KubeEdge stores the rest, and parts of such a device work, so the
    /// rest becomes a condition.
    #[must_use]
    pub fn is_refused(self) -> bool {
        matches!(self, Self::Duplicate | Self::Value)
    }

    /// The word in conditions and events.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Duplicate => "DuplicateProperty",
            Self::Name => "BadPropertyName",
            Self::NotInModel => "PropertyNotInModel",
            Self::Value => "BadValue",
            Self::ReadOnly => "PropertyReadOnly",
            Self::Bound => "BadBound",
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// What is wrong with a device, as far as can be told: without its model, only what is wrong in any case.
#[must_use]
pub fn device(device: &Device, model: Option<&DeviceModel>) -> Vec<Finding> {
    let properties = &device.spec.properties;
    let mut findings = names(properties.iter().map(|property| property.name.as_str()));
    let Some(model) = model else { return findings };
    let model_name = model.metadata.name.as_deref().unwrap_or_default();
    for (index, property) in properties.iter().enumerate() {
        let at = |field: &str| format!("spec.properties[{index}].{field}");
        let Some(rule) = model.spec.properties.iter().find(|rule| rule.name == property.name) else {
            let known: Vec<&str> = model.spec.properties.iter().map(|rule| rule.name.as_str()).collect();
            let message = format!(
                "DeviceModel {model_name} has no property {:?}; it has {}",
                property.name,
                listed(&known)
            );
            findings.push(Finding { field: at("name"), wrong: Wrong::NotInModel, message });
            continue;
        };
        let desired = property.desired.as_ref().map(|desired| desired.value.as_str());
        if let Some(value) = desired.filter(|value| !value.is_empty()) {
            findings.extend(desired_value(&at("desired.value"), value, rule, model_name));
        }
    }
    findings
}

/// What is wrong with a model.
#[must_use]
pub fn model(model: &DeviceModel) -> Vec<Finding> {
    let properties = &model.spec.properties;
    let mut findings = names(properties.iter().map(|property| property.name.as_str()));
    for (index, property) in properties.iter().enumerate() {
        let at = |field: &str| format!("spec.properties[{index}].{field}");
        let mut bad = |field: &str, message: String| {
            findings.push(Finding { field: at(field), wrong: Wrong::Bound, message });
        };
        let bounds = [("minimum", &property.minimum), ("maximum", &property.maximum)];
        let mut read = [None; 2];
        for ((field, text), read) in bounds.into_iter().zip(&mut read) {
            let Some(text) = text.as_deref().map(str::trim).filter(|text| !text.is_empty()) else { continue };
            *read = value::number(text).filter(|number| !number.is_nan());
            if read.is_none() {
                bad(field, format!("{text:?} is no number, so it bounds nothing"));
            }
        }
        if let [Some(least), Some(most)] = read
            && least > most
        {
            bad("minimum", format!("{least} is above the maximum {most}, so no value fits"));
        }
    }
    findings
}

fn names<'a>(names: impl Iterator<Item = &'a str>) -> Vec<Finding> {
    let mut seen = HashSet::new();
    let mut findings = Vec::new();
    for (index, name) in names.enumerate() {
        let field = format!("spec.properties[{index}].name");
        if !seen.insert(name) {
            findings.push(Finding { field, wrong: Wrong::Duplicate, message: NOT_UNIQUE.to_owned() });
        } else if !value::is_property_name(name) {
            let message = format!("{name:?} is no name that an edge takes: 1 to 128 of a-zA-Z0-9-_.,:/@#");
            findings.push(Finding { field, wrong: Wrong::Name, message });
        }
    }
    findings
}

fn desired_value(field: &str, value: &str, rule: &ModelProperty, model: &str) -> Option<Finding> {
    let finding = |wrong, message| Some(Finding { field: field.to_owned(), wrong, message });
    let name = &rule.name;
    if let Err(misfit) = rule.check(value) {
        let short: String = value.chars().take(64).collect();
        let message = format!("{short:?} does not fit property {name} of DeviceModel {model}: {misfit}");
        return finding(Wrong::Value, message);
    }
    if rule.access_mode == Some(AccessMode::ReadOnly) {
        let message =
            format!("property {name} is ReadOnly in DeviceModel {model}, so no value can be desired");
        return finding(Wrong::ReadOnly, message);
    }
    None
}

/// Names for a sentence: the first few of them.
fn listed(names: &[&str]) -> String {
    const MOST: usize = 8;
    match names.len() {
        0 => "none".to_owned(),
        count if count > MOST => format!("{} and {} more", names[..MOST].join(", "), count - MOST),
        _ => names.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn thermostat() -> DeviceModel {
        let value = json!({"metadata": {"name": "m"}, "spec": {"properties": [
            {"name": "t", "type": "FLOAT", "accessMode": "ReadOnly", "minimum": "-40", "maximum": "150"},
            {"name": "set", "type": "INT", "accessMode": "ReadWrite", "minimum": "5", "maximum": "30"},
            {"name": "led", "type": "BOOLEAN", "accessMode": "ReadWrite"},
            {"name": "blob", "type": "BYTES"},
            {"name": "free"},
        ]}});
        serde_json::from_value(value).unwrap()
    }

    fn found(properties: Value, model: Option<&DeviceModel>) -> Vec<(Wrong, String)> {
        let device_object: Device =
            serde_json::from_value(json!({"spec": {"properties": properties}})).unwrap();
        device(&device_object, model).into_iter().map(|f| (f.wrong, f.to_string())).collect()
    }

    #[test]
    fn a_device_is_held_against_its_model() {
        let model = thermostat();
        let want = |name: &str, value: &str| json!([{"name": name, "desired": {"value": value}}]);
        for (properties, wrong, words) in [
            (want("set", "20"), None, ""),
            (want("set", ""), None, ""),
            (want("free", "anything at all"), None, ""),
            (want("blob", "AQI="), None, ""),
            (want("set", "31"), Some(Wrong::Value), "above the model's maximum 30"),
            (want("set", "4"), Some(Wrong::Value), "below the model's minimum 5"),
            (want("set", "warm"), Some(Wrong::Value), "the value is not int or integer"),
            (want("led", "True"), Some(Wrong::Value), "the bool value must be true or false"),
            (want("blob", "A"), Some(Wrong::Value), "neither base64 nor hex"),
            (want("t", "20"), Some(Wrong::ReadOnly), "property t is ReadOnly in DeviceModel m"),
            (want("x", "1"), Some(Wrong::NotInModel), "it has t, set, led, blob, free"),
            (json!([{"name": "t"}, {"name": "t"}]), Some(Wrong::Duplicate), NOT_UNIQUE),
            (json!([{"name": "a b"}]), Some(Wrong::Name), "is no name that an edge takes"),
        ] {
            let found = found(properties.clone(), Some(&model));
            match wrong {
                None => assert!(found.is_empty(), "{properties}: {found:?}"),
                Some(wrong) => {
                    assert!(
                        found.iter().any(|(kind, text)| *kind == wrong && text.contains(words)),
                        "{properties}: {found:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn without_a_model_only_names_are_judged() {
        assert!(found(json!([{"name": "x", "desired": {"value": "?"}}]), None).is_empty());
        assert_eq!(found(json!([{"name": "x"}, {"name": "x"}]), None).len(), 1);
    }

    #[test]
    fn a_model_is_held_against_itself() {
        let bad = json!({"spec": {"properties": [
            {"name": "a", "minimum": "cold"}, {"name": "b", "minimum": "3", "maximum": "2"}, {"name": "a"},
        ]}});
        let bad: DeviceModel = serde_json::from_value(bad).unwrap();
        let wrong: Vec<Wrong> = model(&bad).into_iter().map(|finding| finding.wrong).collect();
        assert_eq!(wrong, [Wrong::Duplicate, Wrong::Bound, Wrong::Bound]);
        assert!(model(&thermostat()).is_empty());
    }
}
