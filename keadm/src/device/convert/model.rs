//! A DeviceModel: the type of a property becomes a word, its bounds become texts.

use proto::devices::{AccessMode, DeviceModel, DeviceModelSpec, ModelProperty, PropertyType, value};
use serde_json::Value;

use super::fields::Fields;
use super::told::Told;

/// The types of v1alpha2. It has no streams.
const TYPES: [(&str, PropertyType); 6] = [
    ("int", PropertyType::Int),
    ("float", PropertyType::Float),
    ("double", PropertyType::Double),
    ("string", PropertyType::String),
    ("boolean", PropertyType::Boolean),
    ("bytes", PropertyType::Bytes),
];

/// The spec of a model.
pub(super) fn convert(mut top: Fields, told: &mut Told) -> DeviceModel {
    let mut model = DeviceModel::default();
    if let Some(mut spec) = top.object("spec", told) {
        let properties = spec.objects("properties", told);
        model.spec = DeviceModelSpec {
            // Since KubeEdge v1.12.
            protocol: spec.text("protocol", told).filter(|protocol| !protocol.is_empty()),
            properties: properties.into_iter().map(|fields| property(fields, told)).collect(),
            ..DeviceModelSpec::default()
        };
        spec.end(told);
    }
    top.take("status");
    top.end(told);
    model
}

fn property(mut fields: Fields, told: &mut Told) -> ModelProperty {
    let text = |text: Option<String>| text.filter(|text| !text.is_empty());
    let mut property = ModelProperty {
        name: super::name_of(&mut fields, "name", told),
        description: text(fields.text("description", told)),
        ..ModelProperty::default()
    };
    if let Some(mut types) = fields.object("type", told) {
        let path = types.path().to_owned();
        let mut found = Vec::new();
        for (word, kind) in TYPES {
            let Some(mut one) = types.object(word, told) else { continue };
            found.push(word);
            property.kind = Some(kind);
            property.access_mode = access(&mut one, told);
            bounds(&mut one, &mut property, told);
            property.unit = text(one.text("unit", told));
            default(&mut one, told);
            one.end(told);
        }
        if found.len() > 1 {
            let what = format!("has several types: {}", found.join(", "));
            told.wrong(&path, &what, "a property is of one type", "leave the one that is meant");
        }
        types.end(told);
    }
    fields.end(told);
    property
}

fn access(fields: &mut Fields, told: &mut Told) -> Option<AccessMode> {
    let word = fields.text("accessMode", told).filter(|word| !word.is_empty())?;
    match word.as_str() {
        "ReadWrite" => Some(AccessMode::ReadWrite),
        "ReadOnly" => Some(AccessMode::ReadOnly),
        _ => {
            let cause = format!("it is {word:?}");
            told.wrong(&fields.at("accessMode"), "is no access mode", &cause, "write ReadWrite or ReadOnly");
            None
        }
    }
}

fn bounds(fields: &mut Fields, property: &mut ModelProperty, told: &mut Told) {
    let mut bound = |key: &str| {
        let found = fields.take(key)?;
        let text = number(&found);
        if text.is_none() {
            told.wrong(&fields.at(key), "is no number", &format!("it is {found}"), "correct it");
        }
        text
    };
    let (minimum, maximum) = (bound("minimum"), bound("maximum"));
    // Tools that write every field write Go's zeros.
    if minimum.as_deref() == Some("0") && maximum.as_deref() == Some("0") {
        told.note(format!(
            "{}.minimum and .maximum are both 0, which says nothing, and are left out",
            fields.path()
        ));
        return;
    }
    (property.minimum, property.maximum) = (minimum, maximum);
}

/// A number as the texts of v1beta1 have it: 40 for 40.0.
fn number(found: &Value) -> Option<String> {
    match found {
        Value::Number(number) if number.is_f64() => {
            let value = number.as_f64().filter(|value| value.is_finite())?;
            // Beyond, all its digits would be written.
            Some(if value.abs() < 1e15 { value.to_string() } else { number.to_string() })
        }
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) => value::number(text.trim()).map(|_| text.trim().to_owned()),
        _ => None,
    }
}

fn default(fields: &mut Fields, told: &mut Told) {
    let Some(value) = fields.take("defaultValue") else { return };
    let is_zero = value == Value::Bool(false) || value.as_f64() == Some(0.0) || value.as_str() == Some("");
    if !is_zero {
        told.lost(
            &fields.at("defaultValue"),
            &format!("it is {value}, and models of v1beta1 have no default"),
            "write it as spec.properties[].desired.value of the Devices that are to have it",
        );
    }
}
