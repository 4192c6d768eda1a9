//! An object of the input, from which one field after the other is taken, so that what is left is named.

use serde_json::{Map, Value};

use super::told::Told;

/// The fields that are left of an object, and where it stands.
#[derive(Debug)]
pub(super) struct Fields {
    path: String,
    map: Map<String, Value>,
}

impl Fields {
    /// The object itself.
    pub(super) fn top(map: Map<String, Value>) -> Self {
        Self { path: String::new(), map }
    }

    /// One that is not there.
    pub(super) fn none(path: &str) -> Self {
        Self { path: path.to_owned(), map: Map::new() }
    }

    /// Where this stands.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Where a field of this stands.
    pub(super) fn at(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Takes a field. `null` is none.
    pub(super) fn take(&mut self, key: &str) -> Option<Value> {
        self.map.shift_remove(key).filter(|value| !value.is_null())
    }

    /// Puts back what was looked at.
    pub(super) fn put(&mut self, key: &str, value: Value) {
        self.map.insert(key.to_owned(), value);
    }

    pub(super) fn text(&mut self, key: &str, told: &mut Told) -> Option<String> {
        match self.take(key)? {
            Value::String(text) => Some(text),
            other => self.no(key, &other, "a text", told),
        }
    }

    pub(super) fn integer(&mut self, key: &str, told: &mut Told) -> Option<i64> {
        let value = self.take(key)?;
        value.as_i64().or_else(|| self.no(key, &value, "an integer", told))
    }

    /// An object below this one.
    pub(super) fn object(&mut self, key: &str, told: &mut Told) -> Option<Self> {
        match self.take(key)? {
            Value::Object(map) => Some(Self { path: self.at(key), map }),
            other => self.no(key, &other, "an object", told),
        }
    }

    /// The objects of a list.
    pub(super) fn objects(&mut self, key: &str, told: &mut Told) -> Vec<Self> {
        let items = match self.take(key) {
            None => return Vec::new(),
            Some(Value::Array(items)) => items,
            Some(other) => return self.no(key, &other, "a list", told).unwrap_or_default(),
        };
        let mut objects = Vec::new();
        for (index, item) in items.into_iter().enumerate() {
            let key = format!("{key}[{index}]");
            match item {
                Value::Object(map) => objects.push(Self { path: self.at(&key), map }),
                other => {
                    let _: Option<()> = self.no(&key, &other, "an object", told);
                }
            }
        }
        objects
    }

    fn no<T>(&self, key: &str, found: &Value, wanted: &str, told: &mut Told) -> Option<T> {
        let shown: String = found.to_string().chars().take(40).collect();
        told.wrong(
            &self.at(key),
            &format!("is not {wanted}"),
            &format!("it is {shown}"),
            "correct it; KubeEdge does not take it either",
        );
        None
    }

    /// Whatever is left.
    pub(super) fn rest(self) -> Map<String, Value> {
        self.map
    }

    /// What is left is no field of v1alpha2.
    pub(super) fn end(self, told: &mut Told) {
        for (key, value) in &self.map {
            if !value.is_null() {
                told.lost(
                    &self.at(key),
                    "v1alpha2 has no such field, so KubeEdge drops it as well",
                    "correct its name or its place, or remove it",
                );
            }
        }
    }
}
