//! Reading of a stored document only what is looked at: a large store starts several times faster that way, and large tables are
//! there sooner.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// The parts of a document at certain paths. A path stands for all that is below it, and goes through every item of a list.
#[derive(Debug, Default)]
pub(crate) struct Skeleton<'a> {
    /// Everything from here on.
    whole: bool,
    inner: Vec<(&'a str, Skeleton<'a>)>,
}

impl<'a> Skeleton<'a> {
    /// The parts at these paths, whose names are separated by dots.
    pub(crate) fn of(paths: impl IntoIterator<Item = &'a str>) -> Self {
        let mut root = Self::default();
        for path in paths {
            let mut here = &mut root;
            for name in path.split('.') {
                let at = here.inner.iter().position(|(known, _)| *known == name).unwrap_or_else(|| {
                    here.inner.push((name, Self::default()));
                    here.inner.len() - 1
                });
                here = &mut here.inner[at].1;
            }
            here.whole = true;
        }
        root
    }

    /// # Errors
    /// When it is not JSON.
    pub(crate) fn read(&self, json: &[u8]) -> Result<Value, serde_json::Error> {
        // What is passed over would not be looked at so closely.
        let text = std::str::from_utf8(json).map_err(serde_json::Error::custom)?;
        let mut reader = serde_json::Deserializer::from_str(text);
        let value = self.deserialize(&mut reader)?;
        reader.end()?;
        Ok(value)
    }
}

impl<'de> DeserializeSeed<'de> for &Skeleton<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        if self.whole {
            return serde::Deserialize::deserialize(from);
        }
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &Skeleton<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a document")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(found) = access.next_key_seed(Names(&self.inner))? {
            match found {
                Some((name, inner)) => {
                    map.insert((*name).to_owned(), access.next_value_seed(inner)?);
                }
                None => drop(access.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Value::Object(map))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(self)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    // Something else stands where a map should; it has nothing at the paths.
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

/// Finds a key among these without making a text of it.
struct Names<'s, 'a>(&'s [(&'a str, Skeleton<'a>)]);

impl<'de, 's, 'a> DeserializeSeed<'de> for Names<'s, 'a> {
    type Value = Option<&'s (&'a str, Skeleton<'a>)>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_str(self)
    }
}

impl<'s, 'a> Visitor<'_> for Names<'s, 'a> {
    type Value = Option<&'s (&'a str, Skeleton<'a>)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().find(|(name, _)| *name == key))
    }
}
