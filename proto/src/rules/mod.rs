//! Rules: the custom resources of `rules.kubeedge.io/v1`, what they mean, and what the two ends say about them over the link.
//!
//! Owns: [`Way`], a rule that makes sense, and the words for one that does not (KubeEdge's own where it has some). Called by the
//! embedded API (which refuses what is no way), by the cloud's router and by the edge. Pure.

mod topic;
mod traffic;
mod way;

pub use topic::{InvalidTopic, Topic, matches};
pub use traffic::{HttpRequest, HttpResponse, Orders, PublishBytes, is_passed_on};
pub use way::{Endpoint, EndpointType, From, Reason, RuleSpec, To, Way};

/// The API group.
pub const GROUP: &str = "rules.kubeedge.io";

/// The API version that is served.
pub const VERSION: &str = "v1";

/// The resource under which a Skerry edge is told all that its rules want, as [`Orders`].
pub const ORDERS: &str = "rules";
