//! What goes into a session and what comes out of it.

use std::time::Duration;

use proto::message::{Message, MessageId};
use proto::resource::ObjectKey;
use proto::session::Item;

use super::Reply;
use crate::desired::Change;

/// Time since the session began.
pub type Moment = Duration;

/// What happened.
#[derive(Debug)]
pub enum Input {
    /// The node's desired set changed.
    Changed(Change),
    /// The edge sent something.
    Received(Item),
    /// A controller tells the node something, for which it wants no confirmation.
    Tell(Message),
    /// Bytes of any kind arrived: the peer lives.
    Heard,
    /// A controller has dealt with a request.
    Answered {
        /// The request.
        to: MessageId,
        /// What becomes of it.
        reply: Reply,
    },
    /// So many items that were put out have been written to the socket.
    Written(usize),
    /// Time has passed; see [`wake_at`](super::Session::wake_at).
    Tick,
}

/// What is to be done about it.
#[derive(Debug)]
pub enum Output {
    /// Write this to the peer.
    Send(Item),
    /// Let a controller deal with this request, and come back with [`Input::Answered`].
    Ask(Message),
    /// Send a websocket ping.
    Ping,
    /// The edge is sent an object with this uid: from now on it may hold it.
    Offered(ObjectKey, String),
    /// The edge has stored the object (its uid), or has forgotten it (`None`).
    Stored(ObjectKey, Option<String>),
    /// The edge will never take this version.
    Refused(ObjectKey, String),
    /// An object was sent again because it was not confirmed.
    Resent(ObjectKey),
    /// End the session.
    Close(Farewell),
}

/// Why a session ends by itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Farewell {
    /// Nothing, not even an answer to a ping, came in this time.
    #[error("nothing was heard from the node for {} s", .0.as_secs())]
    Silent(Duration),
    /// The inventory has more entries than any node can have.
    #[error("the node's inventory has more than {0} objects")]
    InventoryTooLong(usize),
}
