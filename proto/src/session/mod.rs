//! What two ends exchange over the link, whatever the dialect, and the codecs for both dialects.
//!
//! Owns: [`Item`] and the bytes it becomes. Calls: nothing with I/O. cloudhub and edgehub hand websocket
//! messages in and out; when to send, resend and acknowledge is theirs.

mod codec;

pub use codec::{Codec, DecodeError, EncodeError};

use crate::message::{Message, MessageId, Route};
use crate::resource::ObjectKey;

/// One thing said over the link.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// State, a request or an answer.
    Message(Message),
    /// What became of a message.
    Ack(Ack),
    /// What an edge holds.
    Inventory(Inventory),
}

/// What became of a message at the receiver.
#[derive(Clone, Debug, PartialEq)]
pub struct Ack {
    /// The message.
    pub of: MessageId,
    /// The message's route; only the JSON dialect sends it.
    pub route: Route,
    /// How it went.
    pub outcome: Outcome,
}

/// How a message went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is on disk, or in the API: the sender may forget it.
    Done,
    /// Not taken, for a passing reason: send it again later.
    Retry(String),
    /// This version will never be taken: do not send it again.
    Rejected(String),
}

/// What an edge holds, sent right after connecting, in chunks. Only `skerry.v1` has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// The objects of this chunk.
    pub held: Vec<Held>,
    /// True on the last chunk.
    pub last: bool,
}

/// One object that an edge holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Its name.
    pub key: ObjectKey,
    /// Its identity: a name that was deleted and made again has another.
    pub uid: String,
    /// Its version.
    pub resource_version: String,
}

/// The language of a link, agreed when it is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// KubeEdge's: one JSON text a message.
    KubeEdge,
    /// Ours: binary protobuf frames with several items each.
    SkerryV1,
}

impl Dialect {
    /// The websocket subprotocol that offers and selects [`Dialect::SkerryV1`].
    pub const SUBPROTOCOL: &str = "skerry.v1";
}

/// Bounds of what a peer may make us hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest message, in either dialect, of either direction.
    pub message_bytes: usize,
    /// The size at which the encoder of `skerry.v1` starts another frame; one larger item gets its own.
    pub frame_bytes: usize,
    /// Most items in a frame.
    pub items: usize,
    /// Most objects in a chunk of an inventory. A longer one is sent as several chunks.
    pub held: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { message_bytes: 32 << 20, frame_bytes: 256 << 10, items: 1024, held: 1024 }
    }
}

impl Limits {
    /// The same bounds for the websocket below.
    pub fn websocket(&self) -> tokio_tungstenite::tungstenite::protocol::WebSocketConfig {
        let mut config = tokio_tungstenite::tungstenite::protocol::WebSocketConfig::default();
        // Idle links are the normal case: small buffers, the socket has its own.
        config.read_buffer_size = 16 << 10;
        config.write_buffer_size = 16 << 10;
        config.max_write_buffer_size = self.message_bytes.saturating_mul(2).max(64 << 10);
        config.max_message_size = Some(self.message_bytes);
        config.max_frame_size = Some(self.message_bytes);
        config
    }
}

impl Ack {
    /// The acknowledgement of a message.
    pub fn of(message: &Message, outcome: Outcome) -> Self {
        Self { of: message.header.id.clone(), route: message.route.clone(), outcome }
    }
}
