//! The embedded broker: MQTT 3.1.1 for the devices of this node.
//!
//! rumqttd's router does the publish/subscribe work: subscriptions, retained messages, sessions, QoS. The network side
//! is ours, for one reason: the router acknowledges a publish at once, and a reading may be acknowledged only when
//! devicetwin has it on disk ([`session`]). Four habits of the router (0.20) are kept away from devices there:
//! it delivers no topic that begins with `$` and disconnects who publishes where nobody listens ([`names`]); it never
//! forgets a client id ([`clients`]), nor a topic or filter ([`bounds`]).

mod bounds;
mod clients;
mod listener;
mod names;
mod router;
mod session;

pub use listener::ListenError;
pub(super) use listener::start;
pub(super) use router::Publisher;
