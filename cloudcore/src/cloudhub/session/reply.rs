//! What becomes of an edge's request, before it is put into the words of the peer's dialect.

use proto::answer::Answer;
use proto::message::{Content, Group, Message, Source};
use proto::resource::Resource;
use proto::session::{Ack, Dialect, Item, Outcome};

use crate::kubeapi::{Failure, failure};

/// The reply to a request. Each variant knows how both dialects say it.
#[derive(Debug)]
pub enum Reply {
    /// A write was taken by the API; the content is the answer's envelope with the object as it is now.
    Written {
        /// Made with [`Answer::object`].
        answer: Content,
        /// The object's version, for answers that carry one.
        resource_version: Option<String>,
    },
    /// A write, or a read that is answered like one (leases), failed.
    WriteFailed(Failure),
    /// A read found this.
    Found {
        /// The bare object, or text.
        content: Content,
        /// The object's version.
        resource_version: Option<String>,
    },
    /// A read failed, or a request that is answered with plain `OK`.
    Failed(Failure),
    /// It is done, and there is nothing to say about it.
    Done,
    /// A report (event, twin, state) was taken or not.
    Report(Outcome),
    /// What the target of a rule says to a program on the edge, or why it says nothing.
    Said(Result<String, String>),
}

// === impl Reply ===

impl Reply {
    /// A failure in Kubernetes' words.
    #[must_use]
    pub fn failed(code: u16, reason: &str, message: &str) -> Self {
        Self::Failed(failure(code, reason, message))
    }

    /// What to send to the peer. `request` may have lost its content.
    pub(super) fn into_items(self, request: &Message, dialect: Dialect) -> Vec<Item> {
        let respond = |content, resource_version| {
            let mut answer = request.respond_as(speaker(request), Group::Resource, content);
            answer.header.resource_version = resource_version;
            vec![Item::Message(answer)]
        };
        match (self, dialect) {
            (Self::Written { answer, resource_version }, _) => respond(answer, resource_version),
            (Self::WriteFailed(status), _) => respond(Answer::status(&status), None),
            (Self::Found { content, resource_version }, _) => respond(content, resource_version),
            (Self::Failed(status), Dialect::SkerryV1) => respond(Answer::query_status(&status), None),
            // A KubeEdge edge stores an `ErrStatus` as an empty object; `error` with text makes it try again.
            (Self::Failed(status), Dialect::KubeEdge) => {
                vec![Item::Message(request.fail_as(speaker(request), Group::Resource, &status.message))]
            }
            (Self::Done, _) => respond(Content::ok(), None),
            (Self::Said(said), _) => {
                let (source, group) = (Source::RouterServiceBus, Group::User);
                vec![Item::Message(match said {
                    Ok(text) => request.respond_as(source, group, Content::text(&text)),
                    Err(reason) => request.fail_as(source, group, &reason),
                })]
            }
            (Self::Report(outcome), Dialect::SkerryV1) => vec![Item::Ack(Ack::of(request, outcome))],
            (Self::Report(outcome), Dialect::KubeEdge) => confirm(request, &outcome).into_iter().collect(),
        }
    }
}

/// The module in whose name KubeEdge's cloud answers.
fn speaker(request: &Message) -> Source {
    match request.route.resource {
        Resource::KubeCa => Source::CloudHub,
        _ => Source::EdgeController,
    }
}

/// KubeEdge confirms device reports and nothing else. One that will never be taken is confirmed too, or the edge
/// would send it forever; one that may be taken later is left to the edge to repeat.
fn confirm(request: &Message, outcome: &Outcome) -> Option<Item> {
    let about_devices = request.route.source == Source::Twin
        || matches!(request.route.resource, Resource::MembershipDetail)
        || request.route.resource.device().is_some();
    if !about_devices || matches!(outcome, Outcome::Retry(_)) {
        return None;
    }
    Some(Item::Message(proto::devices::confirm(request)))
}
