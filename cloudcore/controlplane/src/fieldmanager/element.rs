//! One step of a path to a field: a name, the key of a list item, a member of a set, or an index.

use std::cmp::Ordering;
use std::fmt;

use serde_json::Value;

/// One step. Ordered as Kubernetes orders and writes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Element {
    /// `f:name`, an entry of a map.
    Field(Box<str>),
    /// `k:{"name":"c"}`, an item of a list of maps. Sorted by name.
    Key(Box<[(Box<str>, Value)]>),
    /// `v:"x"`, a member of a list that is a set.
    Value(Box<Value>),
    /// `i:3`, an item of any other list.
    Index(u64),
}

impl Element {
    /// A field.
    pub fn field(name: &str) -> Self {
        Self::Field(name.into())
    }

    /// An item that these fields tell apart.
    pub fn key(mut fields: Vec<(Box<str>, Value)>) -> Self {
        fields.sort_by(|a, b| a.0.cmp(&b.0));
        Self::Key(fields.into())
    }

    /// Reads `f:name` and the like; none when it is of an unknown sort, which readers skip.
    ///
    /// # Errors
    /// When the sort is known and the rest does not fit it.
    pub fn parse(text: &str) -> Result<Option<Self>, String> {
        let Some((sort, rest)) = text.split_once(':') else {
            return Err(format!("missing colon: {text:?}"));
        };
        let json = || serde_json::from_str::<Value>(rest).map_err(|error| error.to_string());
        Ok(Some(match sort {
            "f" => Self::field(rest),
            "v" => Self::Value(Box::new(json()?)),
            "i" => Self::Index(rest.parse().map_err(|_| format!("not an index: {rest:?}"))?),
            "k" => match json()? {
                Value::Object(map) => {
                    Self::key(map.into_iter().map(|(name, value)| (name.into(), value)).collect())
                }
                _ => return Err(format!("not a key: {rest:?}")),
            },
            _ => return Ok(None),
        }))
    }

    /// The form in `fieldsV1`.
    pub fn print(&self) -> String {
        match self {
            Self::Field(name) => format!("f:{name}"),
            Self::Key(fields) => {
                let map: serde_json::Map<_, _> =
                    fields.iter().map(|(name, value)| (name.to_string(), value.clone())).collect();
                format!("k:{}", Value::Object(map))
            }
            Self::Value(value) => format!("v:{value}"),
            Self::Index(index) => format!("i:{index}"),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Field(_) => 0,
            Self::Key(_) => 1,
            Self::Value(_) => 2,
            Self::Index(_) => 3,
        }
    }
}

impl PartialOrd for Element {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Element {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Field(a), Self::Field(b)) => a.cmp(b),
            (Self::Key(a), Self::Key(b)) => {
                let fields = a.iter().zip(b.iter());
                fields
                    .map(|((a, x), (b, y))| a.cmp(b).then_with(|| order(x, y)))
                    .find(|found| found.is_ne())
                    .unwrap_or_else(|| a.len().cmp(&b.len()))
            }
            (Self::Value(a), Self::Value(b)) => order(a, b),
            (Self::Index(a), Self::Index(b)) => a.cmp(b),
            (a, b) => a.rank().cmp(&b.rank()),
        }
    }
}

/// Numbers, texts, booleans, lists, maps, nulls. Total, and equal only for what is equal.
fn order(a: &Value, b: &Value) -> Ordering {
    let rank = |value: &Value| match value {
        Value::Number(_) => 0,
        Value::String(_) => 1,
        Value::Bool(_) => 2,
        Value::Array(_) => 3,
        Value::Object(_) => 4,
        Value::Null => 5,
    };
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => match (x.as_i64(), y.as_i64()) {
            (Some(x), Some(y)) => x.cmp(&y),
            _ => {
                let (x_float, y_float) = (x.as_f64().unwrap_or(0.0), y.as_f64().unwrap_or(0.0));
                x_float.total_cmp(&y_float).then_with(|| x.to_string().cmp(&y.to_string()))
            }
        },
        (Value::String(x), Value::String(y)) => x.cmp(y),
        (Value::Bool(x), Value::Bool(y)) => x.cmp(y),
        (Value::Array(x), Value::Array(y)) => {
            let items = x.iter().zip(y);
            items
                .map(|(x, y)| order(x, y))
                .find(|found| found.is_ne())
                .unwrap_or_else(|| x.len().cmp(&y.len()))
        }
        (Value::Object(x), Value::Object(y)) => {
            let sorted = |map: &serde_json::Map<String, Value>| {
                let mut entries: Vec<_> =
                    map.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
                entries.sort_by(|a, b| a.0.cmp(&b.0));
                entries
            };
            let (x, y) = (sorted(x), sorted(y));
            let entries = x.iter().zip(&y);
            entries
                .map(|((a, x), (b, y))| a.cmp(b).then_with(|| order(x, y)))
                .find(|found| found.is_ne())
                .unwrap_or_else(|| x.len().cmp(&y.len()))
        }
        (a, b) => rank(a).cmp(&rank(b)),
    }
}

/// As in messages: `.name`, `[name="c"]`, `[="x"]`, `[3]`.
impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => write!(f, ".{name}"),
            Self::Key(fields) => {
                let fields: Vec<String> =
                    fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
                write!(f, "[{}]", fields.join(","))
            }
            Self::Value(value) => write!(f, "[={value}]"),
            Self::Index(index) => write!(f, "[{index}]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn elements_are_read_written_and_shown_as_kubernetes_does() {
        let key = Element::parse(r#"k:{"protocol":"TCP","containerPort":80}"#).unwrap().unwrap();
        assert_eq!(key.print(), r#"k:{"containerPort":80,"protocol":"TCP"}"#);
        assert_eq!(key.to_string(), r#"[containerPort=80,protocol="TCP"]"#);
        let value = Element::Value(Box::new(json!("a:b")));
        assert_eq!(Element::parse(&value.print()), Ok(Some(value)));
        assert_eq!(Element::parse("f:a:b"), Ok(Some(Element::field("a:b"))));
        assert_eq!(Element::parse("x:whatever"), Ok(None));
        assert!(Element::parse("k:[1]").is_err() && Element::parse("f").is_err());
    }

    #[test]
    fn fields_come_before_keys_and_keys_before_values() {
        let all = ["f:b", "f:a", "v:2", "v:10", "k:{\"name\":\"a\"}", "i:1", "v:\"x\"", "k:{\"name\":\"A\"}"];
        let mut all: Vec<Element> = all.iter().map(|one| Element::parse(one).unwrap().unwrap()).collect();
        all.sort();
        let printed: Vec<String> = all.iter().map(Element::print).collect();
        let expected =
            ["f:a", "f:b", "k:{\"name\":\"A\"}", "k:{\"name\":\"a\"}", "v:2", "v:10", "v:\"x\"", "i:1"];
        assert_eq!(printed, expected);
    }
}
