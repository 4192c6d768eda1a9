//! The edge's requests under way: those that change one object go one after the other, all others at once.

use std::collections::{HashMap, VecDeque};

use proto::message::{Content, Message, MessageId, Operation};
use proto::resource::{Resource, ResourceKind};

/// Requests that must keep their order share a lane.
type Lane = String;

/// Requests that were accepted and not yet answered, and what bounds them.
#[derive(Debug)]
pub(super) struct Lanes {
    max: usize,
    max_bytes: usize,
    bytes: usize,
    open: HashMap<MessageId, Request>,
    /// Per lane that has a request under way, those that wait behind it.
    waiting: HashMap<Lane, VecDeque<Message>>,
}

#[derive(Debug)]
struct Request {
    /// The request without its content, which its controller has.
    head: Option<Message>,
    lane: Option<Lane>,
    bytes: usize,
}

// === impl Lanes ===

impl Lanes {
    pub(super) fn new(max: usize, max_bytes: usize) -> Self {
        Self { max, max_bytes, bytes: 0, open: HashMap::new(), waiting: HashMap::new() }
    }

    /// Whether another request would be within bounds. One that arrives nevertheless (several share a frame) is kept.
    pub(super) fn have_room(&self) -> bool {
        self.open.len() < self.max && self.bytes < self.max_bytes
    }

    /// Takes a request in; returns it if it may be dealt with now. A repetition of one under way is dropped, as the
    /// answer to the first serves both.
    pub(super) fn arrive(&mut self, message: Message) -> Option<Message> {
        let id = message.header.id.clone();
        if self.open.contains_key(&id) {
            return None;
        }
        let lane = lane(&message);
        let bytes = message.content.get().len();
        self.bytes += bytes;
        self.open.insert(id.clone(), Request { head: None, lane: lane.clone(), bytes });
        if let Some(lane) = lane {
            if let Some(queue) = self.waiting.get_mut(&lane) {
                queue.push_back(message);
                return None;
            }
            self.waiting.insert(lane, VecDeque::new());
        }
        Some(self.begin(message))
    }

    /// Takes an answered request out; returns what is needed to answer it, and the next of its lane.
    pub(super) fn done(&mut self, id: &MessageId) -> (Option<Message>, Option<Message>) {
        let Some(request) = self.open.remove(id) else { return (None, None) };
        self.bytes -= request.bytes;
        let next = request.lane.and_then(|lane| {
            let next = self.waiting.get_mut(&lane)?.pop_front();
            if next.is_none() {
                self.waiting.remove(&lane);
            }
            next
        });
        (request.head, next.map(|message| self.begin(message)))
    }

    fn begin(&mut self, message: Message) -> Message {
        if let Some(request) = self.open.get_mut(&message.header.id) {
            let head = Message {
                header: message.header.clone(),
                route: message.route.clone(),
                content: Content::null(),
            };
            request.head = Some(head);
        }
        message
    }
}

/// Two requests change the same thing if they name the same object, whichever of its aspects.
fn lane(message: &Message) -> Option<Lane> {
    if matches!(message.route.operation, Operation::Query | Operation::Get) {
        return None;
    }
    let Resource::Object(key) = &message.route.resource else { return None };
    let family = match &key.kind {
        ResourceKind::Pod | ResourceKind::PodPatch | ResourceKind::PodStatus => "pod",
        ResourceKind::Node | ResourceKind::NodePatch | ResourceKind::NodeStatus => "node",
        ResourceKind::Lease => "lease",
        ResourceKind::Event => "event",
        // Device reports keep their order in the device controller, which merges them.
        _ => return None,
    };
    Some(format!("{family}/{}/{}", key.namespace.as_deref().unwrap_or_default(), key.name))
}
