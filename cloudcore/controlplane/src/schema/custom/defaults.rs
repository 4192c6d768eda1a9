//! Defaulting: top-down, so that a default can hold fields that have defaults themselves.

use serde_json::Value;

use super::Schema;

impl Schema {
    /// Fills in what is missing.
    pub fn apply_defaults(&self, value: &mut Value) {
        match value {
            Value::Object(map) => {
                for (name, schema) in &self.properties {
                    let Some(default) = schema.default.as_deref() else { continue };
                    let present = map.get(&**name);
                    if present.is_none_or(|value| value.is_null() && !schema.nullable) {
                        map.insert(name.to_string(), default.clone());
                    }
                }
                for (key, value) in map.iter_mut() {
                    if let Some(schema) = self.property(key).or_else(|| self.additional_schema()) {
                        schema.fill(value);
                    }
                }
            }
            Value::Array(items) => {
                if let Some(schema) = &self.items {
                    items.iter_mut().for_each(|item| schema.fill(item));
                }
            }
            _ => {}
        }
    }

    /// A null where nulls are not allowed gives way to the default.
    fn fill(&self, value: &mut Value) {
        if value.is_null()
            && !self.nullable
            && let Some(default) = self.default.as_deref()
        {
            *value = default.clone();
        }
        self.apply_defaults(value);
    }
}
