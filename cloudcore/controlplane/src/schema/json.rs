//! Reading JSON documents by pointer without ceremony: what is absent or of another type reads as empty.

use serde_json::{Map, Value};

/// Look-ups by JSON pointer.
pub trait Json {
    /// The text there, or `""`.
    fn text(&self, pointer: &str) -> &str;
    /// The items there, or none.
    fn list(&self, pointer: &str) -> &[Value];
    /// The whole number there.
    fn int(&self, pointer: &str) -> Option<i64>;
    /// The truth there, or `false`.
    fn flag(&self, pointer: &str) -> bool;
    /// The object there.
    fn object(&self, pointer: &str) -> Option<&Map<String, Value>>;
    /// Whether something other than null is there.
    fn has(&self, pointer: &str) -> bool;
    /// Puts `value` under `key` unless something is there; does nothing to what is not an object.
    fn default_to(&mut self, key: &str, value: impl Into<Value>);
    /// Puts `value` under `key`; does nothing to what is not an object.
    fn put(&mut self, key: &str, value: impl Into<Value>);
    /// The object under `key`, made when it is missing.
    fn child(&mut self, key: &str) -> Option<&mut Value>;
    /// The items there, to change.
    fn list_mut(&mut self, pointer: &str) -> &mut [Value];
}

impl Json for Value {
    fn text(&self, pointer: &str) -> &str {
        self.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    fn list(&self, pointer: &str) -> &[Value] {
        self.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    fn int(&self, pointer: &str) -> Option<i64> {
        self.pointer(pointer).and_then(Value::as_i64)
    }

    fn flag(&self, pointer: &str) -> bool {
        self.pointer(pointer).and_then(Value::as_bool).unwrap_or_default()
    }

    fn object(&self, pointer: &str) -> Option<&Map<String, Value>> {
        self.pointer(pointer).and_then(Value::as_object)
    }

    fn has(&self, pointer: &str) -> bool {
        self.pointer(pointer).is_some_and(|value| !value.is_null())
    }

    fn default_to(&mut self, key: &str, value: impl Into<Value>) {
        if let Some(map) = self.as_object_mut()
            && map.get(key).is_none_or(Value::is_null)
        {
            map.insert(key.to_owned(), value.into());
        }
    }

    fn put(&mut self, key: &str, value: impl Into<Value>) {
        if let Some(map) = self.as_object_mut() {
            map.insert(key.to_owned(), value.into());
        }
    }

    fn child(&mut self, key: &str) -> Option<&mut Value> {
        self.default_to(key, Map::new());
        self.get_mut(key)
    }

    fn list_mut(&mut self, pointer: &str) -> &mut [Value] {
        self.pointer_mut(pointer).and_then(Value::as_array_mut).map_or(&mut [], Vec::as_mut_slice)
    }
}
