//! Why a connection ended, and what the client is told of it.

use mqtt_proto::v5::DisconnectReasonCode;

use crate::eventbus::broker::frame::FrameError;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(in crate::eventbus::broker) enum End {
    #[error("the client said goodbye")]
    Goodbye,
    #[error("the client said goodbye and wants its will spoken")]
    GoodbyeWithWill,
    #[error("the client closed the connection")]
    Closed,
    #[error("another connection took the session over")]
    TakenOver,
    #[error("the broker is shutting down")]
    Shutdown,
    #[error("nothing came for one and a half times the keep-alive")]
    Silent,
    #[error("the client did not introduce itself in time")]
    NoIntroduction,
    #[error("the client does not read")]
    Stalled,
    #[error("a message was not stored: it must be sent again")]
    NotStored,
    #[error("more publishes are unsettled than the client was told it may have")]
    TooMany,
    #[error("refused: {0}")]
    Refused(&'static str),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("network: {0}")]
    Io(#[from] std::io::Error),
}

impl End {
    /// What a client of MQTT 5 is told before the door closes; `None`: nothing.
    pub(in crate::eventbus::broker) fn reason(&self) -> Option<DisconnectReasonCode> {
        Some(match self {
            Self::Goodbye | Self::GoodbyeWithWill | Self::Closed | Self::NoIntroduction => return None,
            Self::Stalled | Self::Refused(_) | Self::Io(_) => return None,
            Self::TakenOver => DisconnectReasonCode::SessionTakenOver,
            Self::Shutdown => DisconnectReasonCode::ServerShuttingDown,
            Self::Silent => DisconnectReasonCode::KeepAliveTimeout,
            Self::NotStored => DisconnectReasonCode::ImplementationSpecificError,
            Self::TooMany => DisconnectReasonCode::ReceiveMaximumExceeded,
            Self::Frame(error) => error.reason(),
        })
    }

    /// What the client did wrong, in one word; `None`: nothing.
    pub(in crate::eventbus::broker) fn fault(&self) -> Option<&'static str> {
        Some(match self {
            Self::Goodbye | Self::GoodbyeWithWill | Self::Closed | Self::TakenOver => return None,
            Self::Shutdown | Self::NotStored | Self::Io(_) => return None,
            Self::Silent => "silent",
            Self::NoIntroduction => "no_introduction",
            Self::Stalled => "stalled",
            Self::TooMany => "too_many",
            Self::Refused(_) => "refused",
            Self::Frame(FrameError::TooLong(_)) => "oversized",
            Self::Frame(_) => "malformed",
        })
    }
}
