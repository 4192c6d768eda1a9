//! What a device model demands of a property.

use std::collections::BTreeMap;

use proto::devices::value::number;

use super::twin::ValueType;

/// The rules of a model, by property. A property without a rule is taken as KubeEdge takes it: by the type that
/// its first reporter names.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Model {
    /// By property.
    pub rules: BTreeMap<String, Rule>,
}

/// What a model says about one property.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rule {
    /// What values must look like.
    pub value_type: ValueType,
    /// Reported by the device, never set from outside.
    pub read_only: bool,
    /// The least number allowed.
    pub minimum: Option<f64>,
    /// The greatest number allowed.
    pub maximum: Option<f64>,
}

impl Rule {
    /// From the model's words. A bound that is no number bounds nothing.
    #[must_use]
    pub fn new(type_word: &str, access_mode: &str, minimum: Option<&str>, maximum: Option<&str>) -> Self {
        let value_type = match type_word.to_ascii_uppercase().as_str() {
            "INT" => ValueType::Int,
            "FLOAT" => ValueType::Float,
            "DOUBLE" => ValueType::Double,
            "BOOLEAN" => ValueType::Boolean,
            "BYTES" => ValueType::Bytes,
            _ => ValueType::String,
        };
        let bound = |text: Option<&str>| text.and_then(|text| number(text.trim()));
        Self {
            value_type,
            read_only: access_mode == "ReadOnly",
            minimum: bound(minimum),
            maximum: bound(maximum),
        }
    }
}
