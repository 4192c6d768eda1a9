//! Reading what devices send: hostile JSON, keys in any letter case as Go accepts them, sizes bounded.

use serde_json::{Map, Value};

use super::answer::Reason;
use super::device::Version;
use proto::devices::value::is_property_name;

/// How much one device may ask of us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest payload that is parsed. serde_json's tree is up to thirty times the text.
    pub payload_bytes: usize,
    /// Most properties a device may have, deleted ones included.
    pub properties: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { payload_bytes: 256 * 1024, properties: 1024 }
    }
}

/// A payload that was refused, with the event id if it got that far.
#[derive(Debug, PartialEq)]
pub(super) struct Refused {
    pub(super) event_id: String,
    pub(super) reason: Reason,
}

/// The body of an update: what is to become of which property.
#[derive(Debug, PartialEq)]
pub(super) struct Update {
    pub(super) event_id: String,
    pub(super) twins: Vec<(String, Option<Entry>)>,
}

/// What is said about one property.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Entry {
    pub(super) expected: Option<String>,
    pub(super) actual: Option<String>,
    pub(super) optional: Option<bool>,
    pub(super) type_word: Option<String>,
    pub(super) expected_version: Option<Version>,
    pub(super) actual_version: Option<Version>,
}

/// Any JSON object; only its event id matters.
pub(super) fn event_id(payload: &[u8], limits: &Limits) -> Result<String, Refused> {
    object(payload, limits).map(|(event_id, _)| event_id)
}

/// A state report.
pub(super) fn state(payload: &[u8], limits: &Limits) -> Result<(String, String), Refused> {
    let (event_id, body) = object(payload, limits)?;
    match text(&body, "state") {
        Ok(state) => Ok((event_id, state.unwrap_or_default())),
        Err(reason) => Err(Refused { event_id, reason }),
    }
}

/// A twin update.
pub(super) fn update(payload: &[u8], limits: &Limits) -> Result<Update, Refused> {
    let (event_id, mut body) = object(payload, limits)?;
    match twins(&mut body, limits) {
        Ok(twins) => Ok(Update { event_id, twins }),
        Err(reason) => Err(Refused { event_id, reason }),
    }
}

fn object(payload: &[u8], limits: &Limits) -> Result<(String, Map<String, Value>), Refused> {
    let refused = |reason| Refused { event_id: String::new(), reason };
    if payload.len() > limits.payload_bytes {
        return Err(refused(Reason::TooLong { limit: limits.payload_bytes }));
    }
    // serde_json stops at a depth of 128, so nesting cannot exhaust the stack.
    let Ok(Value::Object(body)) = serde_json::from_slice(payload) else {
        return Err(refused(Reason::Malformed));
    };
    let event_id = text(&body, "event_id").map_err(refused)?.unwrap_or_default();
    if field(&body, "timestamp").is_some_and(|value| !is_integer(value)) {
        return Err(Refused { event_id, reason: Reason::Malformed });
    }
    Ok((event_id, body))
}

fn twins(body: &mut Map<String, Value>, limits: &Limits) -> Result<Vec<(String, Option<Entry>)>, Reason> {
    let twins = match field(body, "twin") {
        None => return Err(Reason::NoTwin),
        Some(Value::Object(twins)) => twins,
        Some(_) => return Err(Reason::Malformed),
    };
    if twins.len() > limits.properties {
        return Err(Reason::TooManyProperties { limit: limits.properties });
    }
    twins
        .iter()
        .map(|(key, value)| match value {
            _ if !is_property_name(key) => Err(Reason::KeyCharacters),
            Value::Null => Ok((key.clone(), None)),
            Value::Object(entry) => Ok((key.clone(), Some(entry_of(entry)?))),
            _ => Err(Reason::Malformed),
        })
        .collect()
}

fn entry_of(entry: &Map<String, Value>) -> Result<Entry, Reason> {
    let optional = match field(entry, "optional") {
        None => None,
        Some(Value::Bool(optional)) => Some(*optional),
        Some(_) => return Err(Reason::Malformed),
    };
    let type_word = match field(entry, "metadata") {
        None => None,
        Some(Value::Object(metadata)) => text(metadata, "type")?,
        Some(_) => return Err(Reason::Malformed),
    };
    Ok(Entry {
        expected: half(entry, "expected")?,
        actual: half(entry, "actual")?,
        optional,
        type_word,
        expected_version: version(entry, "expected_version")?,
        actual_version: version(entry, "actual_version")?,
    })
}

/// One side's value. A side without a value kills KubeEdge's twin worker; here it is an error of the sender.
fn half(entry: &Map<String, Value>, key: &str) -> Result<Option<String>, Reason> {
    let half = match field(entry, key) {
        None => return Ok(None),
        Some(Value::Object(half)) => half,
        Some(_) => return Err(Reason::Malformed),
    };
    if let Some(metadata) = field(half, "metadata") {
        let Value::Object(metadata) = metadata else { return Err(Reason::Malformed) };
        if field(metadata, "timestamp").is_some_and(|value| !is_integer(value)) {
            return Err(Reason::Malformed);
        }
    }
    match text(half, "value")? {
        Some(value) => Ok(Some(value)),
        None => Err(Reason::NoValue),
    }
}

fn version(entry: &Map<String, Value>, key: &str) -> Result<Option<Version>, Reason> {
    let version = match field(entry, key) {
        None => return Ok(None),
        Some(Value::Object(version)) => version,
        Some(_) => return Err(Reason::Malformed),
    };
    let count = |key| match field(version, key) {
        None => Ok(0),
        Some(value) => value.as_i64().filter(|count| *count >= 0).ok_or(Reason::Malformed),
    };
    Ok(Some(Version { cloud: count("cloud")?, edge: count("edge")? }))
}

/// A field that must be a string if it is there.
fn text(object: &Map<String, Value>, key: &str) -> Result<Option<String>, Reason> {
    match field(object, key) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(Reason::Malformed),
    }
}

/// A field by its name, or by its name in other letter case. `null` counts as absent.
fn field<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    let exact = object.get(key);
    exact
        .or_else(|| object.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| value))
        .filter(|value| !value.is_null())
}

fn is_integer(value: &Value) -> bool {
    value.is_i64() || value.is_u64()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(payload: &str) -> Result<Update, Refused> {
        update(payload.as_bytes(), &Limits::default())
    }

    #[test]
    fn keys_are_read_in_any_letter_case_but_property_names_are_not() {
        let update = read(
            r#"{"Event_ID":"e","TimeStamp":1,"TWIN":{"Temp":{"Actual":{"VALUE":"1"},"MetaData":{"Type":"int"}}}}"#,
        )
        .unwrap();
        assert_eq!(update.event_id, "e");
        let (key, entry) = &update.twins[0];
        assert_eq!(key, "Temp");
        let entry = entry.as_ref().unwrap();
        assert_eq!((entry.actual.as_deref(), entry.type_word.as_deref()), (Some("1"), Some("int")));
    }

    #[test]
    fn what_is_wrong_keeps_the_event_id_that_could_be_read() {
        for (payload, reason) in [
            (r#"{"event_id":"e"}"#, Reason::NoTwin),
            (r#"{"event_id":"e","twin":null}"#, Reason::NoTwin),
            (r#"{"event_id":"e","twin":[]}"#, Reason::Malformed),
            (r#"{"event_id":"e","twin":{"t":1}}"#, Reason::Malformed),
            (r#"{"event_id":"e","twin":{"t":{"actual":{"value":23}}}}"#, Reason::Malformed),
            (r#"{"event_id":"e","twin":{"t":{"actual":{}}}}"#, Reason::NoValue),
            (r#"{"event_id":"e","twin":{"t":{"actual":{"value":null}}}}"#, Reason::NoValue),
            (r#"{"event_id":"e","twin":{"a b":{}}}"#, Reason::KeyCharacters),
            (r#"{"event_id":"e","twin":{"":{}}}"#, Reason::KeyCharacters),
            (r#"{"event_id":"e","timestamp":"now","twin":{}}"#, Reason::Malformed),
        ] {
            let refused = read(payload).unwrap_err();
            assert_eq!((refused.event_id.as_str(), refused.reason), ("e", reason), "{payload}");
        }
        for payload in ["", "x", "[]", "1", "null", "{", r#"{"event_id":7,"twin":{}}"#] {
            assert_eq!(read(payload).unwrap_err().reason, Reason::Malformed, "{payload}");
        }
    }

    #[test]
    fn deep_and_long_payloads_are_refused_before_they_cost_anything() {
        let deep = format!("{}1{}", r#"{"twin":"#.repeat(50_000 / 8), "}".repeat(50_000 / 8));
        assert_eq!(read(&deep).unwrap_err().reason, Reason::Malformed);
        let long = format!(r#"{{"twin":{{"t":{{"actual":{{"value":"{}"}}}}}}}}"#, "x".repeat(300_000));
        assert!(matches!(read(&long).unwrap_err().reason, Reason::TooLong { .. }));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parsers_panic(payload in proptest::collection::vec(any::<u8>(), 0..256)) {
            let limits = Limits::default();
            let _ = update(&payload, &limits);
            let _ = state(&payload, &limits);
            let _ = event_id(&payload, &limits);
        }

        #[test]
        fn no_json_makes_the_parsers_panic(
            key in "(event_id|twin|timestamp|state|Twin|x)",
            inner in r#"(\{|\}|\[|\]|"|:|,|null|true|1|-1e9|actual|expected|value|metadata|optional|t| ){0,30}"#,
        ) {
            let payload = format!("{{\"{key}\":{inner}}}");
            let _ = update(payload.as_bytes(), &Limits::default());
            let _ = state(payload.as_bytes(), &Limits::default());
        }

        #[test]
        fn a_valid_update_is_read_back_as_it_was_written(
            event_id in "[ -~]{0,40}",
            twins in proptest::collection::btree_map("[a-z]{1,8}", ("[a-z0-9.]{0,20}", proptest::option::of("[0-9]{1,5}")), 0..8),
        ) {
            let body: Map<String, Value> = twins.iter().map(|(key, (actual, expected))| {
                let mut entry = serde_json::json!({"actual": {"value": actual}});
                if let Some(expected) = expected {
                    entry["expected"] = serde_json::json!({"value": expected});
                }
                (key.clone(), entry)
            }).collect();
            let payload = serde_json::json!({"event_id": event_id, "twin": body}).to_string();
            let update = update(payload.as_bytes(), &Limits::default()).unwrap();
            prop_assert_eq!(update.event_id, event_id);
            let read: Vec<_> = update.twins.into_iter().map(|(key, entry)| {
                let entry = entry.unwrap();
                (key, (entry.actual.unwrap(), entry.expected))
            }).collect();
            prop_assert_eq!(read, twins.into_iter().collect::<Vec<_>>());
        }
    }
}
