//! The message that both ends exchange, as KubeEdge defines it (header, route, content).
//!
//! Owns: the typed form of a message and how answers are derived from requests. It knows nothing of
//! bytes: [`crate::session`] encodes and decodes. Everyone who talks across the link builds these.

mod content;
mod id;
mod word;

pub use content::{Content, ContentError};
pub use id::{EmptyId, MessageId};
pub use word::{Group, Operation, Source};

use crate::resource::Resource;

/// One message: who says it, about what, and what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Identity, correlation and time.
    pub header: Header,
    /// Who says what about which object.
    pub route: Route,
    /// The payload, kept as the JSON text that came over the wire.
    pub content: Content,
}

/// Identity, correlation and time of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Unique per message; a resend keeps it.
    pub id: MessageId,
    /// The message that this one answers. There is no other correlation.
    pub parent: Option<MessageId>,
    /// Unix milliseconds at the sender.
    pub timestamp: i64,
    /// The Kubernetes resourceVersion of the object in the content.
    pub resource_version: Option<String>,
}

/// Who says what about which object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Route {
    /// The module that produced the message.
    pub source: Source,
    /// The group of modules it is for; the edge dispatches on it.
    pub group: Group,
    /// The verb.
    pub operation: Operation,
    /// The object.
    pub resource: Resource,
}

impl Route {
    /// A route from its four parts.
    pub fn new(source: Source, group: Group, operation: Operation, resource: Resource) -> Self {
        Self { source, group, operation, resource }
    }
}

impl Message {
    /// A new message with a fresh id and the present time.
    pub fn new(route: Route, content: Content) -> Self {
        let header = Header {
            id: MessageId::new(),
            parent: None,
            timestamp: jiff::Timestamp::now().as_millisecond(),
            resource_version: None,
        };
        Self { header, route, content }
    }

    /// Sets the resourceVersion of the object in the content; an empty one counts as none.
    pub fn with_resource_version(mut self, version: impl Into<String>) -> Self {
        self.header.resource_version = Some(version.into()).filter(|v| !v.is_empty());
        self
    }

    /// The answer to this message: new id, this id as parent, same source, group and resource.
    pub fn respond(&self, content: Content) -> Self {
        self.derive(Operation::Response, self.route.source.clone(), self.route.group.clone(), content)
    }

    /// The answer given in another module's name. The cloud answers in the name of the controller that
    /// did the work and always in group `resource`, whichever group the request came in.
    pub fn respond_as(&self, source: Source, group: Group, content: Content) -> Self {
        self.derive(Operation::Response, source, group, content)
    }

    /// Says that this message failed, and why, in words.
    pub fn fail(&self, reason: &str) -> Self {
        let (source, group) = (self.route.source.clone(), self.route.group.clone());
        self.derive(Operation::Error, source, group, Content::text(reason))
    }

    /// [`Message::fail`] in another module's name.
    pub fn fail_as(&self, source: Source, group: Group, reason: &str) -> Self {
        self.derive(Operation::Error, source, group, Content::text(reason))
    }

    /// The heartbeat that an edge sends right after connecting and every 15 s from then on.
    pub fn keepalive() -> Self {
        let route = Route::new(Source::Websocket, Group::Resource, Operation::Keepalive, Resource::Node);
        Self::new(route, Content::text("ping"))
    }

    /// True for an answer of either kind: it has a parent and says `response` or `error`.
    pub fn is_answer(&self) -> bool {
        self.header.parent.is_some() && matches!(self.route.operation, Operation::Response | Operation::Error)
    }

    fn derive(&self, operation: Operation, source: Source, group: Group, content: Content) -> Self {
        let route = Route::new(source, group, operation, self.route.resource.clone());
        let mut answer = Self::new(route, content);
        answer.header.parent = Some(self.header.id.clone());
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Message {
        let resource = "default/configmap/app".parse().unwrap();
        Message::new(Route::new(Source::Edged, Group::Meta, Operation::Query, resource), Content::null())
    }

    #[test]
    fn an_answer_names_its_request_and_keeps_its_route() {
        let asked = request();
        let answer = asked.respond(Content::ok());
        assert_ne!(answer.header.id, asked.header.id);
        assert_eq!(answer.header.parent, Some(asked.header.id.clone()));
        assert_eq!(answer.route, Route { operation: Operation::Response, ..asked.route });
        assert!(answer.is_answer() && answer.content.is_ok_literal());
    }

    #[test]
    fn a_failure_carries_its_reason_as_text() {
        let failed = request().fail_as(Source::EdgeController, Group::Resource, "api server: timeout");
        assert_eq!(failed.route.operation, Operation::Error);
        assert_eq!(failed.content.as_str().unwrap(), "api server: timeout");
    }
}
