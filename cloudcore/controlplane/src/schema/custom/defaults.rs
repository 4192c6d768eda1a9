//! Defaulting: top-down, so that a default can hold fields that have defaults themselves. A null where nulls are not allowed gives
//! way to the default, or goes.

use serde_json::Value;

use super::Schema;

impl Schema {
    /// Fills in what is missing.
    pub fn apply_defaults(&self, value: &mut Value) {
        match value {
            Value::Object(map) => {
                for (name, schema) in &self.properties {
                    let Some(default) = schema.default.as_deref() else { continue };
                    if map.get(&**name).is_none_or(|value| schema.refuses(value)) {
                        map.insert(name.to_string(), default.clone());
                    }
                }
                let mut gone = Vec::new();
                for (key, value) in map.iter_mut() {
                    let Some(schema) = self.property(key).or_else(|| self.additional_schema()) else {
                        continue;
                    };
                    match schema.default.as_deref() {
                        Some(default) if schema.refuses(value) => *value = default.clone(),
                        None if schema.refuses(value) => gone.push(key.clone()),
                        _ => {}
                    }
                    schema.apply_defaults(value);
                }
                for key in gone {
                    map.shift_remove(&key);
                }
            }
            Value::Array(items) => {
                let Some(schema) = &self.items else { return };
                for item in items {
                    if let Some(default) = schema.default.as_deref()
                        && schema.refuses(item)
                    {
                        *item = default.clone();
                    }
                    schema.apply_defaults(item);
                }
            }
            _ => {}
        }
    }

    /// Whether this is a null that may not be here.
    fn refuses(&self, value: &Value) -> bool {
        // A schema without a type says nothing about nulls.
        value.is_null() && !self.nullable && (self.kind.is_some() || self.int_or_string)
    }
}
