//! A property on the command line: `NAME:TYPE[:rw][,KEY=VALUE…]`.

use std::str::FromStr;

use proto::devices::{AccessMode, PropertyType};
use serde_json::{Map, Value};

/// A property as it was given.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Property {
    pub(super) name: String,
    pub(super) kind: PropertyType,
    pub(super) access: AccessMode,
    pub(super) minimum: Option<String>,
    pub(super) maximum: Option<String>,
    pub(super) unit: Option<String>,
    pub(super) description: Option<String>,
    pub(super) desired: Option<String>,
    /// Milliseconds between two readings.
    pub(super) cycle: Option<i64>,
    /// How the mapper finds it: `visitors.configData`.
    pub(super) visitors: Map<String, Value>,
}

/// The text is no property.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidProperty {
    #[error("write NAME:TYPE, for example temperature:float or setpoint:int:rw,min=5,max=90")]
    Shape,
    #[error("{0:?} is no type: int, float, double, boolean, string, bytes or stream")]
    Type(String),
    #[error("{0:?} is neither ro (the default) nor rw")]
    Access(String),
    #[error("{0:?} is not KEY=VALUE")]
    Pair(String),
    #[error("cycle={0:?} is no number of milliseconds from 1")]
    Cycle(String),
    #[error("{0} is given twice")]
    Twice(String),
}

impl FromStr for Property {
    type Err = InvalidProperty;

    fn from_str(text: &str) -> Result<Self, InvalidProperty> {
        let mut parts = text.split(',').map(str::trim);
        let mut head = parts.next().unwrap_or_default().split(':');
        let (Some(name), Some(kind), access, None) = (head.next(), head.next(), head.next(), head.next())
        else {
            return Err(InvalidProperty::Shape);
        };
        if name.is_empty() {
            return Err(InvalidProperty::Shape);
        }
        let access = match access {
            None | Some("ro") => AccessMode::ReadOnly,
            Some("rw") => AccessMode::ReadWrite,
            Some(other) => return Err(InvalidProperty::Access(other.to_owned())),
        };
        let mut property = Self {
            name: name.to_owned(),
            kind: property_type(kind).ok_or_else(|| InvalidProperty::Type(kind.to_owned()))?,
            access,
            minimum: None,
            maximum: None,
            unit: None,
            description: None,
            desired: None,
            cycle: None,
            visitors: Map::new(),
        };
        for pair in parts.filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').ok_or_else(|| InvalidProperty::Pair(pair.to_owned()))?;
            property.set(key.trim(), value.trim())?;
        }
        Ok(property)
    }
}

impl Property {
    fn set(&mut self, key: &str, value: &str) -> Result<(), InvalidProperty> {
        let text = |place: &mut Option<String>| place.replace(value.to_owned()).is_some();
        let twice = match key {
            "min" => text(&mut self.minimum),
            "max" => text(&mut self.maximum),
            "unit" => text(&mut self.unit),
            "description" => text(&mut self.description),
            "desired" => text(&mut self.desired),
            "cycle" => {
                let cycle = value.parse().ok().filter(|cycle| *cycle > 0);
                let cycle = cycle.ok_or_else(|| InvalidProperty::Cycle(value.to_owned()))?;
                self.cycle.replace(cycle).is_some()
            }
            "" => return Err(InvalidProperty::Pair(format!("={value}"))),
            key => self.visitors.insert(key.to_owned(), scalar(value)).is_some(),
        };
        if twice { Err(InvalidProperty::Twice(key.to_owned())) } else { Ok(()) }
    }
}

/// The words of the model, in any letter case.
fn property_type(text: &str) -> Option<PropertyType> {
    serde_json::from_value(Value::String(text.to_uppercase())).ok()
}

/// A number or a truth is one; everything else is text.
pub(super) fn scalar(text: &str) -> Value {
    match text {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        text => match text.parse::<serde_json::Number>() {
            Ok(number) => Value::Number(number),
            Err(_) => Value::String(text.to_owned()),
        },
    }
}

/// `KEY=VALUE`, for the protocol's configuration.
pub(super) fn pair(text: &str) -> Result<(String, Value), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), scalar(value.trim()))),
        _ => Err("write KEY=VALUE, for example ip=10.0.0.9".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_property_says_what_it_is_and_how_it_is_found() {
        let text = "setpoint:int:rw, min=5,max=90 ,unit=celsius,desired=65,cycle=1000,register=HoldingRegister,offset=10,scale=0.1,isSwap=true";
        let property: Property = text.parse().unwrap();
        assert_eq!((property.kind, property.access), (PropertyType::Int, AccessMode::ReadWrite));
        assert_eq!(
            (property.minimum.as_deref(), property.desired.as_deref(), property.cycle),
            (Some("5"), Some("65"), Some(1000))
        );
        let visitors = json!({"register": "HoldingRegister", "offset": 10, "scale": 0.1, "isSwap": true});
        assert_eq!(Value::Object(property.visitors), visitors);
    }

    #[test]
    fn what_is_none_is_told_apart() {
        use InvalidProperty::*;
        for (text, error) in [
            ("temperature", Shape),
            (":float", Shape),
            ("a:float:rw:x", Shape),
            ("a:number", Type("number".into())),
            ("a:float:w", Access("w".into())),
            ("a:float,min", Pair("min".into())),
            ("a:float,cycle=0", Cycle("0".into())),
            ("a:float,min=1,min=2", Twice("min".into())),
        ] {
            assert_eq!(text.parse::<Property>(), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,40}|[a:,=rw]{0,20}") {
            let _ = text.parse::<Property>();
            let _ = pair(&text);
        }
    }
}
