//! What rules send over the link, as JSON.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Everything that the rules of a node want of it: topics to listen on, URLs that local programs may call. It replaces what was
/// said before, so it may be lost, repeated or late.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orders {
    /// Filters to subscribe to, with the rule's namespace in front.
    #[serde(default)]
    pub topics: BTreeSet<String>,
    /// Values of `targetURL` that ServiceBus takes.
    #[serde(default)]
    pub urls: BTreeSet<String>,
}

/// Bytes to be published that are no text; only a Skerry edge is sent it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishBytes {
    /// The bytes.
    #[serde(with = "base64_bytes")]
    pub base64: Vec<u8>,
}

/// A call of a program on the edge.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpRequest {
    /// Values of each header.
    #[serde(default, deserialize_with = "or_default")]
    pub header: BTreeMap<String, Vec<String>>,
    /// The body.
    #[serde(default, with = "base64_bytes")]
    pub body: Vec<u8>,
    /// The verb.
    #[serde(default)]
    pub method: String,
    /// Always empty.
    #[serde(default)]
    pub url: String,
}

/// What the program answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpResponse {
    /// Values of each header.
    #[serde(default, deserialize_with = "or_default")]
    pub header: BTreeMap<String, Vec<String>>,
    /// The status.
    pub status_code: u16,
    /// The body.
    #[serde(default, with = "base64_bytes")]
    pub body: Vec<u8>,
}

/// Headers of one connection, not of the call: they are not passed on. In lower case.
const OF_ONE_CONNECTION: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Whether a header, in lower case, is part of a call, so that the other end is to see it.
#[must_use]
pub fn is_passed_on(header: &str) -> bool {
    !OF_ONE_CONNECTION.contains(&header)
}

/// Go writes an empty map as null.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(reader: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(reader)?.unwrap_or_default())
}

/// Go writes bytes as base64, and none as null.
mod base64_bytes {
    use super::{BASE64_STANDARD, Deserialize, Deserializer, Engine, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], writer: S) -> Result<S::Ok, S::Error> {
        writer.serialize_str(&BASE64_STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(reader: D) -> Result<Vec<u8>, D::Error> {
        let text = Option::<String>::deserialize(reader)?.unwrap_or_default();
        BASE64_STANDARD.decode(text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_written_as_kubeedge_writes_them() {
        let request = HttpRequest {
            header: BTreeMap::from([("Accept".to_owned(), vec!["*/*".to_owned()])]),
            body: b"on".to_vec(),
            method: "POST".into(),
            url: String::new(),
        };
        let json = serde_json::to_string(&request).unwrap();
        assert_eq!(json, r#"{"header":{"Accept":["*/*"]},"body":"b24=","method":"POST","url":""}"#);
        assert_eq!(serde_json::from_str::<HttpRequest>(&json).unwrap(), request);
        let answer: HttpResponse =
            serde_json::from_str(r#"{"header":null,"status_code":404,"body":null}"#).unwrap();
        assert_eq!((answer.status_code, answer.body.len()), (404, 0));
        assert!(serde_json::from_str::<HttpResponse>(r#"{"status_code":200,"body":"*"}"#).is_err());
    }
}
