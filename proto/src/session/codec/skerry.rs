//! `skerry.v1`: a binary websocket message is a protobuf `Frame { repeated Item items = 1; }`.
//!
//! The outer levels (items of a frame, objects of an inventory) are walked by hand, so that a bound on their
//! number holds before anything is allocated for them; what is inside one of them is prost's.

use std::str::FromStr;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message as _;
use prost::encoding::{
    WireType, decode_key, decode_varint, encode_key, encode_varint, encoded_len_varint, skip_field,
};
use tokio_tungstenite::tungstenite::Message as Frame;

use super::json::name;
use super::{DecodeError, EncodeError};
use crate::message::{Content, Group, Header, Message, MessageId, Operation, Route, Source};
use crate::resource::{ObjectKey, Resource};
use crate::session::{Ack, Held, Inventory, Item, Limits, Outcome};

/// Longest reason that travels with a negative acknowledgement.
const REASON_LIMIT: usize = 4096;

#[derive(Clone, PartialEq, prost::Message)]
struct WireMessage {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, optional, tag = "2")]
    parent: Option<String>,
    #[prost(sint64, tag = "3")]
    timestamp: i64,
    #[prost(string, optional, tag = "4")]
    resource_version: Option<String>,
    #[prost(string, tag = "5")]
    source: String,
    #[prost(string, tag = "6")]
    group: String,
    #[prost(string, tag = "7")]
    operation: String,
    #[prost(string, tag = "8")]
    resource: String,
    /// JSON text.
    #[prost(string, tag = "9")]
    content: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireAck {
    #[prost(string, tag = "1")]
    of: String,
    /// 0 done, 1 retry, 2 rejected.
    #[prost(uint32, tag = "2")]
    outcome: u32,
    #[prost(string, tag = "3")]
    reason: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireHeld {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    uid: String,
    #[prost(string, tag = "3")]
    resource_version: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireItem {
    #[prost(message, optional, tag = "1")]
    message: Option<WireMessage>,
    #[prost(message, optional, tag = "2")]
    ack: Option<WireAck>,
    /// `Inventory { repeated Held held = 1; bool last = 2; }`, read by hand.
    #[prost(bytes = "bytes", optional, tag = "3")]
    inventory: Option<Bytes>,
}

pub(super) fn encode(items: &[Item], limits: &Limits) -> Result<Vec<Frame>, EncodeError> {
    let mut batch = Batch { frames: Vec::new(), open: BytesMut::new(), items: 0, limits };
    for item in items {
        match item {
            Item::Message(message) => {
                batch.push(item, WireItem { message: Some(outgoing(message)), ..WireItem::default() })?
            }
            Item::Ack(ack) => {
                batch.push(item, WireItem { ack: Some(outgoing_ack(ack)), ..WireItem::default() })?
            }
            Item::Inventory(inventory) => {
                for chunk in chunks(inventory, limits.held) {
                    batch.push(item, WireItem { inventory: Some(chunk), ..WireItem::default() })?;
                }
            }
        }
    }
    batch.close();
    Ok(batch.frames)
}

struct Batch<'a> {
    frames: Vec<Frame>,
    open: BytesMut,
    items: usize,
    limits: &'a Limits,
}

impl Batch<'_> {
    fn push(&mut self, item: &Item, wire: WireItem) -> Result<(), EncodeError> {
        let length = wire.encoded_len();
        let bytes = 1 + encoded_len_varint(length as u64) + length;
        if bytes > self.limits.message_bytes {
            return Err(EncodeError::TooLong { what: name(item), bytes, limit: self.limits.message_bytes });
        }
        let full = self.open.len() + bytes > self.limits.frame_bytes.min(self.limits.message_bytes);
        if full || self.items >= self.limits.items {
            self.close();
        }
        self.open.reserve(bytes);
        encode_key(1, WireType::LengthDelimited, &mut self.open);
        encode_varint(length as u64, &mut self.open);
        wire.encode_raw(&mut self.open);
        self.items += 1;
        Ok(())
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
            self.frames.push(Frame::Binary(self.open.split().freeze()));
            self.items = 0;
        }
    }
}

fn outgoing(message: &Message) -> WireMessage {
    WireMessage {
        id: message.header.id.to_string(),
        parent: message.header.parent.as_ref().map(MessageId::to_string),
        timestamp: message.header.timestamp,
        resource_version: message.header.resource_version.clone(),
        source: message.route.source.to_string(),
        group: message.route.group.to_string(),
        operation: message.route.operation.to_string(),
        resource: message.route.resource.to_string(),
        content: message.content.get().to_owned(),
    }
}

fn outgoing_ack(ack: &Ack) -> WireAck {
    let (outcome, reason) = match &ack.outcome {
        Outcome::Done => (0, ""),
        Outcome::Retry(why) => (1, why.as_str()),
        Outcome::Rejected(why) => (2, why.as_str()),
    };
    WireAck { of: ack.of.to_string(), outcome, reason: short(reason) }
}

/// As much of a reason as anyone will read.
fn short(reason: &str) -> String {
    reason[..reason.floor_char_boundary(REASON_LIMIT)].to_owned()
}

/// An inventory as chunks of at most `limit` objects; only the last carries the mark.
fn chunks(inventory: &Inventory, limit: usize) -> Vec<Bytes> {
    let mut parts: Vec<&[Held]> = inventory.held.chunks(limit.max(1)).collect();
    if parts.is_empty() {
        parts.push(&[]);
    }
    let final_part = parts.len() - 1;
    let encode = |(at, part): (usize, &[Held])| {
        let mut bytes = BytesMut::new();
        for held in part {
            let wire = WireHeld {
                key: held.key.to_string(),
                uid: held.uid.clone(),
                resource_version: held.resource_version.clone(),
            };
            prost::encoding::message::encode(1, &wire, &mut bytes);
        }
        if inventory.last && at == final_part {
            encode_key(2, WireType::Varint, &mut bytes);
            bytes.put_u8(1);
        }
        bytes.freeze()
    };
    parts.into_iter().enumerate().map(encode).collect()
}

pub(super) fn decode(mut frame: Bytes, limits: &Limits) -> Result<Vec<Item>, DecodeError> {
    let length = frame.len();
    let mut items = Vec::new();
    while frame.has_remaining() {
        let (item, offset) = (items.len(), length - frame.remaining());
        if item >= limits.items {
            return Err(DecodeError::TooMany { what: "items", limit: limits.items });
        }
        let fail = |reason: String| DecodeError::Frame { item, offset, reason };
        match next_field(&mut frame).map_err(fail)? {
            Field::Nested(1, body) => items.push(read_item(body, limits).map_err(|error| match error {
                ItemError::TooMany => DecodeError::TooMany { what: "inventory entries", limit: limits.held },
                ItemError::Malformed(reason) => fail(reason),
            })?),
            _ => return Err(fail("expected an item (field 1)".to_owned())),
        }
    }
    Ok(items)
}

enum Field {
    /// A length-delimited field and its body.
    Nested(u32, Bytes),
    Varint(u32, u64),
    Skipped,
}

fn next_field(bytes: &mut Bytes) -> Result<Field, String> {
    let (tag, wire) = decode_key(bytes).map_err(|e| e.to_string())?;
    match wire {
        WireType::LengthDelimited => {
            let length = decode_varint(bytes).map_err(|e| e.to_string())?;
            let available = bytes.remaining();
            match usize::try_from(length) {
                Ok(length) if length <= available => Ok(Field::Nested(tag, bytes.split_to(length))),
                _ => Err(format!("field {tag} claims {length} bytes, {available} are left")),
            }
        }
        WireType::Varint => Ok(Field::Varint(tag, decode_varint(bytes).map_err(|e| e.to_string())?)),
        _ => {
            skip_field(wire, tag, bytes, prost::encoding::DecodeContext::default())
                .map_err(|e| e.to_string())?;
            Ok(Field::Skipped)
        }
    }
}

enum ItemError {
    TooMany,
    Malformed(String),
}

impl From<String> for ItemError {
    fn from(reason: String) -> Self {
        Self::Malformed(reason)
    }
}

fn read_item(body: Bytes, limits: &Limits) -> Result<Item, ItemError> {
    let wire = WireItem::decode(body).map_err(|e| e.to_string())?;
    match wire {
        WireItem { message: Some(message), ack: None, inventory: None } => {
            Ok(Item::Message(incoming(message)?))
        }
        WireItem { message: None, ack: Some(ack), inventory: None } => Ok(Item::Ack(incoming_ack(ack)?)),
        WireItem { message: None, ack: None, inventory: Some(bytes) } => {
            read_inventory(bytes, limits.held).map(Item::Inventory)
        }
        _ => Err(ItemError::Malformed("expected exactly one of message, ack and inventory".to_owned())),
    }
}

fn read_id(text: &str, field: &str) -> Result<MessageId, String> {
    MessageId::from_str(text).map_err(|error| format!("{field}: {error}"))
}

fn incoming(wire: WireMessage) -> Result<Message, String> {
    let header = Header {
        id: read_id(&wire.id, "message.id")?,
        parent: wire.parent.as_deref().map(|p| read_id(p, "message.parent")).transpose()?,
        timestamp: wire.timestamp,
        resource_version: wire.resource_version.filter(|v| !v.is_empty()),
    };
    let route = Route::new(
        Source::from(wire.source.as_str()),
        Group::from(wire.group.as_str()),
        Operation::from(wire.operation.as_str()),
        Resource::from(wire.resource.as_str()),
    );
    let content =
        Content::from_json_text(wire.content).map_err(|error| format!("message.content: {error}"))?;
    Ok(Message { header, route, content })
}

fn incoming_ack(wire: WireAck) -> Result<Ack, String> {
    let outcome = match wire.outcome {
        0 => Outcome::Done,
        1 => Outcome::Retry(short(&wire.reason)),
        2 => Outcome::Rejected(short(&wire.reason)),
        other => return Err(format!("ack.outcome: {other} is none of 0 (done), 1 (retry), 2 (rejected)")),
    };
    let route = Route::new(Source::None, Group::None, Operation::Response, Resource::None);
    Ok(Ack { of: read_id(&wire.of, "ack.of")?, route, outcome })
}

fn read_inventory(mut bytes: Bytes, limit: usize) -> Result<Inventory, ItemError> {
    let mut inventory = Inventory::default();
    while bytes.has_remaining() {
        match next_field(&mut bytes)? {
            Field::Nested(1, body) => {
                let at = inventory.held.len();
                if at >= limit {
                    return Err(ItemError::TooMany);
                }
                let wire = WireHeld::decode(body).map_err(|e| format!("inventory.held[{at}]: {e}"))?;
                let key =
                    ObjectKey::from_str(&wire.key).map_err(|e| format!("inventory.held[{at}].key: {e}"))?;
                inventory.held.push(Held { key, uid: wire.uid, resource_version: wire.resource_version });
            }
            Field::Varint(2, last) => inventory.last = last != 0,
            Field::Nested(..) | Field::Varint(..) | Field::Skipped => {}
        }
    }
    Ok(inventory)
}
