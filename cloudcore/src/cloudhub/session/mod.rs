//! One node's session: pushes what the node should have, answers what it asks, notices when it is gone.
//!
//! Owns: [`Session`] (pure), the bounds and pauses in [`Settings`], and [`serve`], the thin shell that gives it a
//! socket and a clock. May call: desired (to pull), [`Upstream`] (to have requests dealt with). Called by: cloudhub's
//! websocket server. Everything that a session starts is polled by the session's own task and dies with it.

mod io;
mod lanes;
mod push;
mod reply;
mod shell;
mod slot;
mod state;

use std::time::Duration;

pub use io::{Farewell, Input, Moment, Output};
pub use reply::Reply;
pub use shell::{Context, Ended, Link, serve};
pub use state::Session;

use proto::message::Message;
use proto::pki::NodeName;

/// Bounds and pauses of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Objects sent and not yet confirmed.
    pub window: usize,
    /// After this an unconfirmed object leaves the window.
    pub ack_within: Duration,
    /// The first pause before an object is sent again; each further one is twice as long.
    pub retry_first: Duration,
    /// The longest such pause.
    pub retry_cap: Duration,
    /// How long a Skerry edge may take to say what it holds before everything is sent to it.
    pub inventory_within: Duration,
    /// Entries of an inventory; more end the session.
    pub inventory_max: usize,
    /// Silence after which a ping is sent.
    pub ping_every: Duration,
    /// Silence after which the session ends.
    pub silent_for: Duration,
    /// Requests of the edge under way; at the bound nothing more is read until one is answered.
    pub requests: usize,
    /// Bytes of such requests; as above.
    pub request_bytes: usize,
    /// How long one frame may take to be written.
    pub write_within: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            window: 32,
            ack_within: Duration::from_secs(5),
            retry_first: Duration::from_secs(1),
            retry_cap: Duration::from_secs(60),
            inventory_within: Duration::from_secs(30),
            inventory_max: 100_000,
            ping_every: Duration::from_secs(5),
            silent_for: Duration::from_secs(15),
            requests: 1024,
            request_bytes: 64 << 20,
            write_within: Duration::from_secs(30),
        }
    }
}

impl Settings {
    /// The pause after so many attempts.
    fn pause(&self, attempts: u32) -> Duration {
        let doublings = attempts.saturating_sub(1).min(16);
        (self.retry_first * 2_u32.saturating_pow(doublings)).min(self.retry_cap)
    }
}

/// Deals with what edges ask and report. Implemented by the wiring, which knows the controllers.
pub trait Upstream: Send + Sync + 'static {
    /// Handles one request of `node`, whose identity the certificate proved. Never fails: every request gets a reply.
    /// It is called in the order in which requests came; what must keep that order is done before it returns, as the
    /// futures of several requests may be polled in any order.
    fn handle(&self, node: &NodeName, request: Message) -> impl Future<Output = Reply> + Send;

    /// A session of `node` has begun.
    fn connected(&self, node: &NodeName) -> impl Future<Output = ()> + Send;
}

#[cfg(test)]
mod tests;
