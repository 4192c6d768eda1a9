//! What is wrong with a packet, and what its client is told of it.

use mqtt_proto::Error as CodecError;
use mqtt_proto::v5::{DisconnectReasonCode, ErrorV5};

/// Why a connection must be closed (MQTT-4.8.0-1, MQTT-4.13.1-1).
#[derive(Debug, thiserror::Error)]
pub(in crate::eventbus::broker) enum FrameError {
    /// Longer than allowed.
    #[error("a packet of {0} bytes is longer than the broker takes")]
    TooLong(usize),
    /// A rule of the standards, by its number.
    #[error("broken: {0}")]
    Violation(&'static str),
    /// What cannot stand there, by the number of the standard.
    #[error("malformed: {0}")]
    Unfit(&'static str),
    /// A topic alias that was never set, or beyond what was offered.
    #[error("MQTT5-3.3.2-8, 3.3.2-9: the topic alias is unknown or out of range")]
    TopicAlias,
    /// Another version of MQTT.
    #[error("protocol level {0} is neither MQTT 3.1.1 nor 5")]
    Level(u8),
    /// The codec's words.
    #[error("malformed packet: {0}")]
    Malformed(ErrorV5),
}

impl FrameError {
    /// What a client of MQTT 5 is told.
    pub(in crate::eventbus::broker) fn reason(&self) -> DisconnectReasonCode {
        match self {
            Self::TooLong(_) => DisconnectReasonCode::PacketTooLarge,
            Self::Violation(_) | Self::Level(_) => DisconnectReasonCode::ProtocolError,
            Self::Unfit(_) => DisconnectReasonCode::MalformedPacket,
            Self::TopicAlias => DisconnectReasonCode::TopicAliasInvalid,
            Self::Malformed(error) => match error {
                ErrorV5::Common(CodecError::InvalidTopicName(_)) => DisconnectReasonCode::TopicNameInvalid,
                ErrorV5::Common(CodecError::InvalidTopicFilter(_)) => {
                    DisconnectReasonCode::TopicFilterInvalid
                }
                ErrorV5::InvalidPayloadFormat => DisconnectReasonCode::PayloadFormatInvalid,
                // MQTT5-2.2.2-2 and the texts of the single properties: twice, or out of range, is an error of protocol.
                ErrorV5::DuplicatedProperty(_)
                | ErrorV5::InvalidByteProperty(..)
                | ErrorV5::Common(CodecError::EmptySubscription | CodecError::ZeroPid) => {
                    DisconnectReasonCode::ProtocolError
                }
                _ => DisconnectReasonCode::MalformedPacket,
            },
        }
    }
}

impl From<CodecError> for FrameError {
    fn from(error: CodecError) -> Self {
        Self::Malformed(error.into())
    }
}

impl From<ErrorV5> for FrameError {
    fn from(error: ErrorV5) -> Self {
        Self::Malformed(error)
    }
}
