//! From JSON to CEL values, as the schema sees them: what it does not know cannot be looked at.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cel::Value as Cel;
use cel::objects::{Key, Map};
use serde_json::Value;

use super::super::{Kind, Schema};
use crate::schema::Json;

/// Words that mean something in the language.
const KEYWORDS: &[&str] = &[
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
];

/// How a property is called in expressions, if it can be.
pub(super) fn escape(name: &str) -> Option<String> {
    let first = name.bytes().next()?;
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-/".contains(&byte);
    if first.is_ascii_digit() || !name.bytes().all(fits) {
        return None;
    }
    if KEYWORDS.contains(&name) {
        return Some(format!("__{name}__"));
    }
    let escaped = name.replace("__", "__underscores__");
    Some(escaped.replace('.', "__dot__").replace('-', "__dash__").replace('/', "__slash__"))
}

/// The value as the schema sees it. `is_resource` adds what every object has.
pub(super) fn convert(schema: &Schema, value: &Value, is_resource: bool) -> Cel {
    match value {
        Value::Null => Cel::Null,
        Value::Bool(truth) => Cel::Bool(*truth),
        Value::Number(number) if schema.kind == Some(Kind::Number) => {
            Cel::Float(number.as_f64().unwrap_or_default())
        }
        Value::Number(number) => number
            .as_i64()
            .map(Cel::Int)
            .or_else(|| {
                number
                    .as_f64()
                    .filter(|one| one.fract() == 0.0 && one.abs() < 9e15)
                    .map(|one| Cel::Int(one as i64))
            })
            .unwrap_or_else(|| Cel::Float(number.as_f64().unwrap_or_default())),
        Value::String(text) => text_of(schema, text),
        Value::Array(items) => {
            let nothing = Schema::default();
            let below = schema.items.as_deref().unwrap_or(&nothing);
            Cel::List(Arc::new(items.iter().map(|item| convert(below, item, below.embedded)).collect()))
        }
        Value::Object(map) => {
            let mut out = HashMap::new();
            for (name, value) in map {
                let found = if let Some(below) = schema.property(name) {
                    escape(name).map(|name| (name, below))
                } else {
                    schema.additional_schema().map(|below| (name.clone(), below))
                };
                if let Some((name, below)) = found
                    && !value.is_null()
                {
                    out.insert(Key::from(name), convert(below, value, below.embedded));
                }
            }
            if is_resource {
                add_identity(value, &mut out);
            }
            Cel::Map(Map { map: Arc::new(out) })
        }
    }
}

/// The value of a document of whose schema nothing is known: names are as they are written, texts are texts.
pub(super) fn dynamic(value: &Value) -> Cel {
    match value {
        Value::Null => Cel::Null,
        Value::Bool(truth) => Cel::Bool(*truth),
        Value::Number(number) => {
            number.as_i64().map_or_else(|| Cel::Float(number.as_f64().unwrap_or_default()), Cel::Int)
        }
        Value::String(text) => Cel::String(Arc::new(text.clone())),
        Value::Array(items) => Cel::List(Arc::new(items.iter().map(dynamic).collect())),
        Value::Object(map) => {
            let entries = map.iter().map(|(name, value)| (Key::from(name.as_str()), dynamic(value)));
            Cel::Map(Map { map: Arc::new(entries.collect::<HashMap<_, _>>()) })
        }
    }
}

fn text_of(schema: &Schema, text: &str) -> Cel {
    let plain = || Cel::String(Arc::new(text.to_owned()));
    let format = schema.rules.as_deref().and_then(|rules| rules.format.as_deref());
    if schema.int_or_string {
        return plain();
    }
    match format {
        Some("date-time") => {
            chrono::DateTime::parse_from_rfc3339(text).map_or_else(|_| plain(), Cel::Timestamp)
        }
        Some("date") => chrono::DateTime::parse_from_rfc3339(&format!("{text}T00:00:00Z"))
            .map_or_else(|_| plain(), Cel::Timestamp),
        Some("duration") => super::library::duration(text).map_or_else(plain, Cel::Duration),
        Some("byte") => STANDARD.decode(text).map_or_else(|_| plain(), |bytes| Cel::Bytes(Arc::new(bytes))),
        _ => plain(),
    }
}

/// `apiVersion`, `kind`, `metadata.name` and `metadata.generateName` can always be looked at, no other metadata.
fn add_identity(object: &Value, out: &mut HashMap<Key, Cel>) {
    let text = |pointer: &str| Cel::String(Arc::new(object.text(pointer).to_owned()));
    let mut metadata = HashMap::new();
    for name in ["name", "generateName"] {
        if object.has(&format!("/metadata/{name}")) {
            metadata.insert(Key::from(name), text(&format!("/metadata/{name}")));
        }
    }
    for name in ["apiVersion", "kind"] {
        if object.has(&format!("/{name}")) {
            out.insert(Key::from(name), text(&format!("/{name}")));
        }
    }
    out.insert(Key::from("metadata"), Cel::Map(Map { map: Arc::new(metadata) }));
}
