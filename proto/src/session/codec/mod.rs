//! Items to websocket messages and back, in both dialects.

mod json;
mod skerry;

use tokio_tungstenite::tungstenite::Message as Frame;

use super::{Dialect, Item, Limits};

/// Encodes and decodes one link's traffic. It holds no state: share or copy it at will.
#[derive(Clone, Copy, Debug)]
pub struct Codec {
    dialect: Dialect,
    limits: Limits,
}

/// An item cannot be put on the wire.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// Longer than the peer will take. Sending it again will not help.
    #[error(
        "{what} takes {bytes} bytes on the wire, the limit is {limit}: make the object smaller or raise the limit on both ends"
    )]
    TooLong {
        /// The message.
        what: String,
        /// Its size.
        bytes: usize,
        /// What may be sent.
        limit: usize,
    },
    /// A value has no JSON form. A defect of ours.
    #[error("{what} cannot be written as JSON: {source}")]
    Json {
        /// The message.
        what: String,
        /// Why.
        source: serde_json::Error,
    },
}

/// Bytes from the peer are not what the dialect says. The link may live on: nothing of the frame was taken.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Longer than we take.
    #[error("a message of {bytes} bytes is over the limit of {limit}")]
    TooLong {
        /// Its size.
        bytes: usize,
        /// What we take.
        limit: usize,
    },
    /// The JSON dialect's message is malformed; the reason names field and position.
    #[error("malformed message: {reason}")]
    Json {
        /// Field, what is wrong, line and column.
        reason: String,
    },
    /// A frame of `skerry.v1` is malformed.
    #[error("malformed skerry.v1 frame: item {item} at byte {offset}: {reason}")]
    Frame {
        /// Which item, from 0.
        item: usize,
        /// Where it starts in the frame.
        offset: usize,
        /// Field and what is wrong.
        reason: String,
    },
    /// More things in one frame than we take.
    #[error("a frame has more than {limit} {what}: send them in several")]
    TooMany {
        /// Items or inventory entries.
        what: &'static str,
        /// What we take.
        limit: usize,
    },
    /// Text where the dialect wants binary.
    #[error("a text message on a skerry.v1 link: only binary frames are allowed")]
    TextInBinaryDialect,
}

impl Codec {
    /// A codec for a link.
    pub fn new(dialect: Dialect, limits: Limits) -> Self {
        Self { dialect, limits }
    }

    /// The dialect of the link.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The bounds of the link.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Websocket messages to be sent in this order. The JSON dialect has no inventory: those items vanish.
    /// On an error nothing of the batch is to be sent: encode one by one to find the culprit.
    pub fn encode(&self, items: &[Item]) -> Result<Vec<Frame>, EncodeError> {
        match self.dialect {
            Dialect::KubeEdge => {
                items.iter().filter_map(|item| json::encode(item, &self.limits).transpose()).collect()
            }
            Dialect::SkerryV1 => skerry::encode(items, &self.limits),
        }
    }

    /// The items of a websocket message; none for pings, pongs and closes. In the JSON dialect an
    /// acknowledgement stays a message with operation `response`: the session knows what it answers.
    pub fn decode(&self, frame: Frame) -> Result<Vec<Item>, DecodeError> {
        let limit = self.limits.message_bytes;
        if frame.len() > limit {
            return Err(DecodeError::TooLong { bytes: frame.len(), limit });
        }
        match (self.dialect, frame) {
            (Dialect::KubeEdge, Frame::Text(text)) => json::decode(text.as_bytes()).map(one),
            (Dialect::KubeEdge, Frame::Binary(bytes)) => json::decode(&bytes).map(one),
            (Dialect::SkerryV1, Frame::Binary(bytes)) => skerry::decode(bytes, &self.limits),
            (Dialect::SkerryV1, Frame::Text(_)) => Err(DecodeError::TextInBinaryDialect),
            (_, Frame::Ping(_) | Frame::Pong(_) | Frame::Close(_) | Frame::Frame(_)) => Ok(Vec::new()),
        }
    }
}

fn one(message: crate::message::Message) -> Vec<Item> {
    vec![Item::Message(message)]
}

#[cfg(test)]
mod tests;
