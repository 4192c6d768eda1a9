//! One object between what is desired and what is confirmed.

use proto::message::MessageId;

use super::Moment;
use super::push::Target;

/// A version of an object as the edge may hold it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Version {
    Present { uid: String, digest: u64 },
    Absent,
}

/// One object between what is desired and what is confirmed.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) target: Target,
    /// What the edge said it has.
    pub(super) confirmed: Option<Version>,
    /// What the edge said it will never take.
    pub(super) refused: Option<Version>,
    /// The last thing sent that is neither confirmed nor replaced.
    pub(super) sent: Option<(MessageId, Version)>,
    /// The uid that the edge may hold under this key.
    pub(super) edge_uid: Option<String>,
    /// It was there before the session had all objects of its plane.
    pub(super) initial: bool,
    /// What is under way does not count: it is to be sent once more after it.
    pub(super) again: bool,
    pub(super) attempts: u32,
    pub(super) stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nothing to do until something changes.
    Idle,
    /// Waits for room in the window; the number is its place in the queue.
    Queued(u64),
    /// In the window until confirmed, or until this moment.
    Flying(Moment),
    /// Out of the window until this moment, then queued again.
    Resting(Moment),
}

impl Slot {
    pub(super) fn new(target: Target) -> Self {
        Self {
            target,
            confirmed: None,
            refused: None,
            sent: None,
            edge_uid: None,
            initial: false,
            again: false,
            attempts: 0,
            stage: Stage::Idle,
        }
    }
}

impl Target {
    pub(super) fn version(&self) -> Version {
        match self {
            Self::Present(object) => Version::Present { uid: object.uid.clone(), digest: object.digest },
            Self::Gone { .. } => Version::Absent,
        }
    }
}
