//! Reading of a stored document only what its index is made of: a large store starts several times faster that way.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value};

/// The parts of a document at certain paths. A path stands for all that is below it.
#[derive(Clone, Copy)]
pub(super) struct Skeleton<'a> {
    paths: &'a [&'a str],
    /// Where in the document this is: the first so many names of the paths.
    within: &'a [&'a str],
}

impl<'a> Skeleton<'a> {
    pub(super) fn read(json: &[u8], paths: &'a [&'a str]) -> Result<Value, serde_json::Error> {
        // What is passed over would not be looked at so closely.
        let text = std::str::from_utf8(json).map_err(serde_json::Error::custom)?;
        let mut reader = serde_json::Deserializer::from_str(text);
        let value = Skeleton { paths, within: &[] }.deserialize(&mut reader)?;
        reader.end()?;
        Ok(value)
    }

    /// What of the paths lies below here.
    fn rests(&self) -> impl Iterator<Item = impl Iterator<Item = &'a str>> {
        let within = self.within;
        self.paths.iter().filter_map(move |path| {
            let mut names = path.split('.');
            within.iter().all(|name| names.next() == Some(name)).then_some(names)
        })
    }

    /// Whether everything here is wanted.
    fn is_whole(&self) -> bool {
        self.rests().any(|mut rest| rest.next().is_none())
    }

    fn wants(&self, key: &str) -> bool {
        self.rests().any(|mut rest| rest.next() == Some(key))
    }
}

impl<'de> DeserializeSeed<'de> for Skeleton<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        if self.is_whole() {
            return serde::Deserialize::deserialize(from);
        }
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Skeleton<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a document")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            if self.wants(&key) {
                let within: Vec<&str> = self.within.iter().copied().chain([key.as_str()]).collect();
                let inner = access.next_value_seed(Skeleton { paths: self.paths, within: &within })?;
                map.insert(key, inner);
            } else {
                access.next_value::<IgnoredAny>()?;
            }
        }
        Ok(Value::Object(map))
    }

    // Something else stands where a map should; for the index it is nothing.
    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        while access.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::Null)
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Value, E> {
        Ok(Value::Null)
    }
}
