//! Free-form configuration (`configData`, `anomalyDetection`) as `google.protobuf.Any`.
//!
//! Mappers made with KubeEdge's framework read StringValue, BoolValue, Int32Value, Int64Value and FloatValue, and skip
//! everything else in silence.

use std::collections::BTreeMap;

use prost::{DecodeError, Message};
use prost_types::Any;
use serde_json::{Map, Number, Value};

use crate::v1beta1::CustomizedValue;

/// An `Any` that is no value.
#[derive(Debug, thiserror::Error)]
pub enum WrongValue {
    /// The bytes are not what the type says.
    #[error(transparent)]
    Bytes(#[from] DecodeError),
    /// It is of another type.
    #[error("{0} is none of protobuf's wrappers of a text, a number or a truth value")]
    Type(String),
}

const PREFIX: &str = "type.googleapis.com/google.protobuf.";

/// The value as a mapper reads it; nothing for `null`. An integer is an Int64Value, another number a FloatValue, a list
/// or an object the text of its JSON: KubeEdge does not deliver a device that has one.
#[must_use]
pub fn to_any(value: &Value) -> Option<Any> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(flag) => wrap("BoolValue", flag),
        Value::String(text) => wrap("StringValue", text),
        Value::Number(number) => match number.as_i64() {
            Some(integer) => wrap("Int64Value", &integer),
            None => float(number),
        },
        Value::Array(_) | Value::Object(_) => wrap("StringValue", &value.to_string()),
    })
}

/// The value in a wrapper of any of protobuf's well-known types.
///
/// # Errors
/// The bytes are no such value, or it is of another type.
pub fn from_any(any: &Any) -> Result<Value, WrongValue> {
    let bytes = any.value.as_slice();
    let kind = any.type_url.rsplit('.').next().unwrap_or_default();
    Ok(match kind {
        "StringValue" => String::decode(bytes)?.into(),
        "BoolValue" => bool::decode(bytes)?.into(),
        "Int32Value" => i32::decode(bytes)?.into(),
        "Int64Value" => i64::decode(bytes)?.into(),
        "UInt32Value" => u32::decode(bytes)?.into(),
        "UInt64Value" => u64::decode(bytes)?.into(),
        "FloatValue" => shortest(f32::decode(bytes)?),
        "DoubleValue" => f64::decode(bytes)?.into(),
        _ => return Err(WrongValue::Type(any.type_url.clone())),
    })
}

/// All of an object, keys with `null` left out.
#[must_use]
pub fn to_customized(data: &Map<String, Value>) -> CustomizedValue {
    CustomizedValue { data: to_map(data) }
}

/// The same without the message around it.
#[must_use]
pub fn to_map(data: &Map<String, Value>) -> BTreeMap<String, Any> {
    data.iter().filter_map(|(key, value)| Some((key.clone(), to_any(value)?))).collect()
}

/// Back again; what is no value that we know is left out.
#[must_use]
pub fn from_map(data: &BTreeMap<String, Any>) -> Map<String, Value> {
    data.iter().filter_map(|(key, any)| Some((key.clone(), from_any(any).ok()?))).collect()
}

fn wrap(kind: &str, value: &impl Message) -> Any {
    Any { type_url: format!("{PREFIX}{kind}"), value: value.encode_to_vec() }
}

/// Single precision is all that framework mappers read.
#[expect(clippy::cast_possible_truncation, reason = "that is the wire's precision")]
fn float(number: &Number) -> Any {
    wrap("FloatValue", &(number.as_f64().unwrap_or_default() as f32))
}

/// 0.1 as a single is 0.1, not 0.10000000149.
fn shortest(single: f32) -> Value {
    single.to_string().parse::<f64>().map_or(Value::Null, Value::from)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn framework_mappers_can_read_what_is_sent() {
        let sent =
            |value: Value| to_any(&value).map(|any| any.type_url.rsplit('.').next().unwrap().to_owned());
        assert_eq!(sent(json!("a")).as_deref(), Some("StringValue"));
        assert_eq!(sent(json!(true)).as_deref(), Some("BoolValue"));
        assert_eq!(sent(json!(9600)).as_deref(), Some("Int64Value"));
        assert_eq!(sent(json!(0.1)).as_deref(), Some("FloatValue"));
        assert_eq!(sent(json!([1, 2])).as_deref(), Some("StringValue"));
        assert_eq!(sent(json!(null)), None);
    }

    #[test]
    fn a_tenth_comes_back_as_a_tenth() {
        assert_eq!(from_any(&to_any(&json!(0.1)).unwrap()).unwrap(), json!(0.1));
    }

    proptest! {
        #[test]
        fn texts_integers_and_truths_come_back_as_they_were(text in ".*", integer: i64, truth: bool) {
            let data = json!({"text": text, "integer": integer, "truth": truth});
            let data = data.as_object().unwrap();
            prop_assert_eq!(&from_map(&to_map(data)), data);
        }

        #[test]
        fn hostile_bytes_are_refused_or_read_and_never_panic(
            kind in "(String|Bool|Int32|Int64|UInt32|UInt64|Float|Double|Struct)Value",
            bytes: Vec<u8>,
        ) {
            let _ = from_any(&Any { type_url: format!("{PREFIX}{kind}"), value: bytes });
        }
    }
}
