//! Messages to JSON objects.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Buf;
use prost::encoding::{WireType, decode_key, decode_varint};
use serde_json::{Map, Value, json};

use super::ProtobufError;
use super::numbers::{self, Target};
use super::zeros::is_absent;
use crate::schema::types::{Field, StructId, Type, Types};

/// Deeper than any object.
const DEEPEST: usize = 64;
/// Times that carry microseconds.
const MICRO: &[&str] = &["acquireTime", "eventTime", "lastObservedTime", "renewTime"];

/// One value as it stands in the bytes.
#[derive(Clone, Copy)]
pub(super) enum Wire<'b> {
    Number(u64),
    Fixed(f64),
    Bytes(&'b [u8]),
}

/// Reads a message field by field.
pub(super) fn fields<'b>(
    mut bytes: &'b [u8],
    mut each: impl FnMut(u32, Wire<'b>) -> Result<(), ProtobufError>,
) -> Result<(), ProtobufError> {
    let short = || ProtobufError::Malformed("unexpected EOF".to_owned());
    while !bytes.is_empty() {
        let (number, wire) = decode_key(&mut bytes)?;
        let value = match wire {
            WireType::Varint => Wire::Number(decode_varint(&mut bytes)?),
            WireType::SixtyFourBit => Wire::Fixed(bytes.try_get_f64_le().map_err(|_| short())?),
            WireType::ThirtyTwoBit => Wire::Fixed(bytes.try_get_f32_le().map_err(|_| short())?.into()),
            WireType::LengthDelimited => {
                let length = usize::try_from(decode_varint(&mut bytes)?).map_err(|_| short())?;
                let (value, rest) = bytes.split_at_checked(length).ok_or_else(short)?;
                bytes = rest;
                Wire::Bytes(value)
            }
            WireType::StartGroup | WireType::EndGroup => {
                return Err(ProtobufError::Malformed("groups are not supported".to_owned()));
            }
        };
        each(number, value)?;
    }
    Ok(())
}

/// UTF-8 or an error.
pub(super) fn text(bytes: &[u8]) -> Result<String, ProtobufError> {
    std::str::from_utf8(bytes)
        .map(ToOwned::to_owned)
        .map_err(|error| ProtobufError::Malformed(error.to_string()))
}

/// The first field that is bytes.
fn first_bytes(bytes: &[u8]) -> Result<&[u8], ProtobufError> {
    let mut found = &[][..];
    fields(bytes, |number, value| {
        if let (1, Wire::Bytes(value)) = (number, value) {
            found = value;
        }
        Ok(())
    })?;
    Ok(found)
}

/// Turns messages into JSON with the types of the kinds.
pub(super) struct Reader<'t> {
    pub(super) types: &'t Types,
}

impl Reader<'_> {
    /// Reads a message of a struct's own.
    pub(super) fn object(
        &self,
        id: StructId,
        bytes: &[u8],
        out: &mut Map<String, Value>,
    ) -> Result<(), ProtobufError> {
        self.message(id, None, bytes, out, 0)
    }

    /// Reads the message `key` into an object of type `id`; they differ where a message is inlined in JSON.
    fn message(
        &self,
        id: StructId,
        key: Option<&str>,
        bytes: &[u8],
        out: &mut Map<String, Value>,
        depth: usize,
    ) -> Result<(), ProtobufError> {
        if depth > DEEPEST {
            return Err(ProtobufError::Malformed("messages are nested too deeply".to_owned()));
        }
        let Some(owner) = self.types.get(id) else { return Ok(()) };
        let key = key.unwrap_or_else(|| numbers::key(&owner.definition));
        fields(bytes, |number, wire| {
            match (numbers::target(key, number), wire) {
                (Some(Target::Inlined(key)), Wire::Bytes(bytes)) => {
                    self.message(id, Some(key), bytes, out, depth + 1)?;
                }
                (Some(Target::Field(name)), wire) => {
                    if let Some(field) = owner.field(name) {
                        self.field(owner.name(), field, wire, out, depth)?;
                    }
                }
                _ => {}
            }
            Ok(())
        })
    }

    fn field(
        &self,
        owner: &str,
        field: &Field,
        wire: Wire<'_>,
        out: &mut Map<String, Value>,
        depth: usize,
    ) -> Result<(), ProtobufError> {
        let name = &*field.name;
        match &field.ty {
            Type::List(item) => {
                let list = out.entry(name).or_insert_with(|| json!([]));
                let Value::Array(list) = list else { return Ok(()) };
                match (&**item, wire) {
                    // Numbers may come packed.
                    (Type::Int32 | Type::Int64 | Type::Bool, Wire::Bytes(mut packed)) => {
                        while !packed.is_empty() {
                            let number = Wire::Number(decode_varint(&mut packed)?);
                            list.push(self.value(item, name, number, depth)?);
                        }
                    }
                    _ => list.push(self.value(item, name, wire, depth)?),
                }
            }
            Type::Map(item) => {
                let Wire::Bytes(entry) = wire else { return Err(wrong(name)) };
                let (mut key, mut value) = (String::new(), None);
                fields(entry, |number, wire| {
                    match (number, wire) {
                        (1, Wire::Bytes(bytes)) => key = text(bytes)?,
                        (2, wire) => value = Some(self.value(item, name, wire, depth)?),
                        _ => {}
                    }
                    Ok(())
                })?;
                let map = out.entry(name).or_insert_with(|| json!({}));
                if let Value::Object(map) = map {
                    map.insert(key, value.unwrap_or_else(|| json!("")));
                }
            }
            ty => {
                let value = self.value(ty, name, wire, depth)?;
                if !is_absent(owner, name, &value) {
                    out.insert(name.to_owned(), value);
                }
            }
        }
        Ok(())
    }

    fn value(&self, ty: &Type, name: &str, wire: Wire<'_>, depth: usize) -> Result<Value, ProtobufError> {
        Ok(match (ty, wire) {
            (Type::String, Wire::Bytes(bytes)) => json!(text(bytes)?),
            (Type::Bytes, Wire::Bytes(bytes)) => json!(STANDARD.encode(bytes)),
            (Type::Bool, Wire::Number(number)) => json!(number != 0),
            // Negative numbers are sign-extended to 64 bits.
            (Type::Int32 | Type::Int64, Wire::Number(number)) => json!(number.cast_signed()),
            (Type::Double, Wire::Fixed(number)) => json!(number),
            (Type::Time, Wire::Bytes(bytes)) => time(bytes, MICRO.contains(&name))?,
            (Type::Quantity, Wire::Bytes(bytes)) => json!(text(first_bytes(bytes)?)?),
            (Type::IntOrString, Wire::Bytes(bytes)) => int_or_string(bytes)?,
            (Type::Any, Wire::Bytes(bytes)) => embedded(first_bytes(bytes)?)?,
            (Type::Struct(id), Wire::Bytes(bytes)) => {
                let mut out = Map::new();
                self.message(*id, None, bytes, &mut out, depth + 1)?;
                Value::Object(out)
            }
            // Some of Go's lists are messages with one repeated field.
            (Type::List(item), Wire::Bytes(bytes)) => {
                let mut list = Vec::new();
                fields(bytes, |_, wire| {
                    list.push(self.value(item, name, wire, depth + 1)?);
                    Ok(())
                })?;
                Value::Array(list)
            }
            _ => return Err(wrong(name)),
        })
    }
}

fn wrong(name: &str) -> ProtobufError {
    ProtobufError::Malformed(format!("wrong wire type for field {name}"))
}

fn time(bytes: &[u8], micro: bool) -> Result<Value, ProtobufError> {
    let (mut seconds, mut nanoseconds) = (0i64, 0i32);
    fields(bytes, |number, wire| {
        match (number, wire) {
            (1, Wire::Number(value)) => seconds = value.cast_signed(),
            (2, Wire::Number(value)) => nanoseconds = i32::try_from(value).unwrap_or_default(),
            _ => {}
        }
        Ok(())
    })?;
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    let time = jiff::Timestamp::new(seconds, nanoseconds)
        .map_err(|error| ProtobufError::Malformed(error.to_string()))?;
    let form = if micro { "%Y-%m-%dT%H:%M:%S%.6fZ" } else { "%Y-%m-%dT%H:%M:%SZ" };
    Ok(json!(time.strftime(form).to_string()))
}

fn int_or_string(bytes: &[u8]) -> Result<Value, ProtobufError> {
    let (mut is_text, mut number, mut string) = (false, 0i64, String::new());
    fields(bytes, |field, wire| {
        match (field, wire) {
            (1, Wire::Number(kind)) => is_text = kind == 1,
            (2, Wire::Number(value)) => number = value.cast_signed(),
            (3, Wire::Bytes(bytes)) => string = text(bytes)?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(if is_text { json!(string) } else { json!(number) })
}

fn embedded(raw: &[u8]) -> Result<Value, ProtobufError> {
    if raw.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(raw).map_err(|error| ProtobufError::Malformed(error.to_string()))
}
