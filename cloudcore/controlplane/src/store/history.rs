//! The watch history of one collection: a bounded window of changes, oldest first.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Compacted, Key, Object};

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// It came into being.
    Added,
    /// It changed.
    Modified,
    /// It is gone; `object` is its last state, stamped with the revision of its removal.
    Deleted,
}

/// One change. Its revision is `object.revision`.
#[derive(Clone, Debug)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// To whom.
    pub key: Key,
    /// The state after the change.
    pub object: Arc<Object>,
    /// The state before; none when it was added.
    pub previous: Option<Arc<Object>>,
}

impl Event {
    /// The revision of the change.
    pub fn revision(&self) -> u64 {
        self.object.revision
    }

    /// Bytes that are kept only because the history remembers this change.
    pub(super) fn weight(&self) -> usize {
        let gone = if self.kind == EventKind::Deleted { self.object.document.weight() } else { 0 };
        128 + gone + self.previous.as_ref().map_or(0, |previous| previous.document.weight())
    }
}

/// The window. Everything after `floor` is in `events`.
#[derive(Debug, Default)]
pub(super) struct History {
    events: VecDeque<Event>,
    floor: u64,
}

impl History {
    pub(super) fn starting_at(floor: u64) -> Self {
        Self { events: VecDeque::new(), floor }
    }

    pub(super) fn floor(&self) -> u64 {
        self.floor
    }

    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    pub(super) fn push(&mut self, event: Event) {
        self.events.push_back(event);
    }

    pub(super) fn oldest(&self) -> Option<u64> {
        self.events.front().map(Event::revision)
    }

    /// Forgets the oldest change.
    pub(super) fn pop(&mut self) -> Option<Event> {
        let event = self.events.pop_front()?;
        self.floor = event.revision();
        Some(event)
    }

    /// What came after `revision`, oldest first.
    pub(super) fn since(&self, revision: u64) -> Result<impl DoubleEndedIterator<Item = &Event>, Compacted> {
        if revision < self.floor {
            return Err(Compacted { asked: revision, oldest: self.floor });
        }
        let start = self.events.partition_point(|event| event.revision() <= revision);
        Ok(self.events.range(start..))
    }
}
