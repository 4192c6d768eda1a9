//! How the parts of a custom resource are owned: `x-kubernetes-list-type` and `x-kubernetes-map-type`.

use serde_json::Value;

use super::prune::META;
use super::{Additional, ListType, Schema};
use crate::schema::shape::{Child, Kind, Shape};

impl Schema {
    pub(in crate::schema) fn kind_of(&self, value: &Value) -> Kind {
        match (value, &self.list) {
            (Value::Object(_), _) if !self.atomic_map => Kind::Map,
            (Value::Array(_), ListType::Set) => Kind::Set,
            (Value::Array(_), ListType::Map(_)) => Kind::Keyed,
            _ => Kind::Leaf,
        }
    }

    pub(in crate::schema) fn child(&self, key: &str) -> Child<'_> {
        if let Some(property) = self.property(key) {
            return Child::Named(Shape::Custom(property));
        }
        match self.additional.as_deref() {
            Some(Additional::Schema(schema)) => Child::Free(Shape::Custom(schema)),
            Some(Additional::Any) => Child::Free(Shape::Untyped),
            None if self.preserve_unknown || self.embedded && META.contains(&key) => {
                Child::Free(Shape::Untyped)
            }
            None => Child::Undeclared,
        }
    }

    pub(in crate::schema) fn item(&self) -> Shape<'_> {
        self.items.as_deref().map_or(Shape::Untyped, Shape::Custom)
    }

    /// The fields that tell the items of a list apart, with what they are when left out.
    pub(in crate::schema) fn keys(&self) -> Vec<(&str, Option<Value>)> {
        let ListType::Map(keys) = &self.list else { return Vec::new() };
        let default = |key: &str| self.items.as_ref()?.property(key)?.default.as_deref().cloned();
        keys.iter().map(|key| (&**key, default(key))).collect()
    }
}
