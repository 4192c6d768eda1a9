//! KubeEdge's dialect: one JSON text, newline at its end, per websocket message.

use std::fmt;
use std::str::FromStr;

use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use tokio_tungstenite::tungstenite::Message as Frame;

use super::{DecodeError, EncodeError};
use crate::message::{Content, Group, Header, Message, MessageId, Operation, Route, Source};
use crate::resource::Resource;
use crate::session::{Ack, Item, Limits, Outcome};

/// A message id or resourceVersion longer than this is no such thing.
const WORD_LIMIT: usize = 1024;

pub(super) fn encode(item: &Item, limits: &Limits) -> Result<Option<Frame>, EncodeError> {
    let text = match item {
        Item::Message(message) => write(message)?,
        Item::Ack(ack) => write(&answer(ack))?,
        Item::Inventory(_) => return Ok(None),
    };
    if text.len() > limits.message_bytes {
        let what = name(item);
        return Err(EncodeError::TooLong { what, bytes: text.len(), limit: limits.message_bytes });
    }
    Ok(Some(Frame::text(text)))
}

/// The acknowledgement as KubeEdge knows it: an "OK" response, or a failure in words.
fn answer(ack: &Ack) -> Message {
    let (operation, content) = match &ack.outcome {
        Outcome::Done => (Operation::Response, Content::ok()),
        Outcome::Retry(why) | Outcome::Rejected(why) => (Operation::Error, Content::text(why)),
    };
    let mut message = Message::new(Route { operation, ..ack.route.clone() }, content);
    message.header.parent = Some(ack.of.clone());
    message
}

fn write(message: &Message) -> Result<String, EncodeError> {
    let mut text = Vec::with_capacity(message.content.get().len() + 320);
    serde_json::to_writer(&mut text, &Envelope(message))
        .map_err(|source| EncodeError::Json { what: message.route.resource.to_string(), source })?;
    text.push(b'\n');
    // serde_json writes UTF-8 only.
    Ok(String::from_utf8(text).unwrap_or_default())
}

pub(super) fn name(item: &Item) -> String {
    match item {
        Item::Message(message) => format!("{} {}", message.route.operation, message.route.resource),
        Item::Ack(ack) => format!("acknowledgement of {}", ack.of),
        Item::Inventory(_) => "an inventory".to_owned(),
    }
}

struct Envelope<'a>(&'a Message);

impl Serialize for Envelope<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("header", &HeaderFields(&self.0.header))?;
        map.serialize_entry("route", &RouteFields(&self.0.route))?;
        map.serialize_entry("content", self.0.content.raw())?;
        map.end()
    }
}

struct HeaderFields<'a>(&'a Header);

impl Serialize for HeaderFields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("msg_id", self.0.id.as_str())?;
        if let Some(parent) = &self.0.parent {
            map.serialize_entry("parent_msg_id", parent.as_str())?;
        }
        map.serialize_entry("timestamp", &self.0.timestamp)?;
        if let Some(version) = &self.0.resource_version {
            map.serialize_entry("resourceversion", version)?;
        }
        map.end()
    }
}

struct RouteFields<'a>(&'a Route);

impl Serialize for RouteFields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let resource = self.0.resource.to_string();
        let fields = [
            ("source", self.0.source.as_str()),
            ("group", self.0.group.as_str()),
            ("operation", self.0.operation.as_str()),
            ("resource", resource.as_str()),
        ];
        let mut map = serializer.serialize_map(None)?;
        for (key, value) in fields.into_iter().filter(|(_, value)| !value.is_empty()) {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

/// Reads the first JSON value; what follows it is ignored, as KubeEdge does.
pub(super) fn decode(bytes: &[u8]) -> Result<Message, DecodeError> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    EnvelopeSeed.deserialize(&mut reader).map_err(|error| DecodeError::Json { reason: error.to_string() })
}

/// Keys match in any letter case and unknown ones are ignored: Go writes and reads so.
fn is(key: &str, name: &str) -> bool {
    key.eq_ignore_ascii_case(name)
}

/// The value of a field; its error names the field. `null` reads as absent, as in Go.
fn field<'de, A: MapAccess<'de>, T: Deserialize<'de>>(
    map: &mut A,
    name: &str,
) -> Result<Option<T>, A::Error> {
    map.next_value::<Option<T>>().map_err(|error| A::Error::custom(format_args!("{name}: {error}")))
}

struct EnvelopeSeed;

impl<'de> DeserializeSeed<'de> for EnvelopeSeed {
    type Value = Message;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Message, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for EnvelopeSeed {
    type Value = Message;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message: an object with header, route and content")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Message, A::Error> {
        let (mut header, mut route, mut content) = (None, None, None);
        while let Some(key) = map.next_key::<Key>()? {
            if is(&key.0, "header") {
                header = map.next_value::<Option<WireHeader>>()?;
            } else if is(&key.0, "route") {
                route = map.next_value::<Option<WireRoute>>()?;
            } else if is(&key.0, "content") {
                // Not `field`: null is a content.
                content = Some(map.next_value::<Box<RawValue>>()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        let header = header.ok_or_else(|| A::Error::custom("header is missing"))?;
        let route = route.ok_or_else(|| A::Error::custom("route is missing"))?;
        let content = content.map_or_else(Content::null, Content::from_raw);
        Ok(Message { header: header.0, route: route.0, content })
    }
}

/// A key, cut off if it is longer than any that we know.
struct Key(String);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl Visitor<'_> for KeyVisitor {
            type Value = Key;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }
            fn visit_str<E>(self, key: &str) -> Result<Key, E> {
                Ok(Key(if key.len() > 32 { String::new() } else { key.to_owned() }))
            }
        }
        deserializer.deserialize_str(KeyVisitor)
    }
}

struct WireHeader(Header);

impl<'de> Deserialize<'de> for WireHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeaderVisitor)
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = WireHeader;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("header: an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<WireHeader, A::Error> {
        let (mut id, mut parent, mut timestamp, mut resource_version) = (None, None, None, None);
        while let Some(key) = map.next_key::<Key>()? {
            if is(&key.0, "msg_id") {
                id = short(field(&mut map, "header.msg_id")?, "header.msg_id")?;
            } else if is(&key.0, "parent_msg_id") {
                parent = short(field(&mut map, "header.parent_msg_id")?, "header.parent_msg_id")?;
            } else if is(&key.0, "timestamp") {
                timestamp = field::<_, i64>(&mut map, "header.timestamp")?;
            } else if is(&key.0, "resourceversion") {
                resource_version =
                    short(field(&mut map, "header.resourceversion")?, "header.resourceversion")?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        let id = id.ok_or_else(|| A::Error::custom("header.msg_id is missing"))?;
        let read = |id: &str| MessageId::from_str(id).map_err(A::Error::custom);
        Ok(WireHeader(Header {
            id: read(&id)?,
            parent: parent.as_deref().map(read).transpose()?,
            timestamp: timestamp.unwrap_or_default(),
            resource_version,
        }))
    }
}

/// Empty is absent; too long is an error.
fn short<E: Error>(text: Option<String>, name: &str) -> Result<Option<String>, E> {
    match text {
        Some(text) if text.len() > WORD_LIMIT => {
            Err(E::custom(format_args!("{name} has {} bytes, at most {WORD_LIMIT} are allowed", text.len())))
        }
        text => Ok(text.filter(|t| !t.is_empty())),
    }
}

struct WireRoute(Route);

impl<'de> Deserialize<'de> for WireRoute {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(RouteVisitor)
    }
}

struct RouteVisitor;

impl<'de> Visitor<'de> for RouteVisitor {
    type Value = WireRoute;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("route: an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<WireRoute, A::Error> {
        let mut route = Route::new(Source::None, Group::None, Operation::None, Resource::None);
        let word = |map: &mut A, name: &str| -> Result<String, A::Error> {
            Ok(field::<_, String>(map, name)?.unwrap_or_default())
        };
        while let Some(key) = map.next_key::<Key>()? {
            if is(&key.0, "source") {
                route.source = Source::from(word(&mut map, "route.source")?.as_str());
            } else if is(&key.0, "group") {
                route.group = Group::from(word(&mut map, "route.group")?.as_str());
            } else if is(&key.0, "operation") {
                route.operation = Operation::from(word(&mut map, "route.operation")?.as_str());
            } else if is(&key.0, "resource") {
                route.resource = Resource::from(word(&mut map, "route.resource")?.as_str());
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(WireRoute(route))
    }
}
