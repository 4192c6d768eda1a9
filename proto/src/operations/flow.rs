//! Which steps a node takes for a job, and in which order.

use serde::{Deserialize, Serialize};

/// A kind of job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum JobType {
    /// Images are fetched before a pod wants them.
    ImagePrePull,
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Action {
    /// Is the node fit for it?
    Check,
    /// Fetch the images.
    Pull,
}

/// What comes after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Another step.
    Then(Action),
    /// The node is done with the job.
    End {
        /// Whether it succeeded.
        succeeded: bool,
    },
}

/// The steps of one kind of job (KubeEdge v1.23 pkg/nodetask/actionflow).
#[derive(Debug)]
pub struct Flow {
    steps: &'static [Step],
}

#[derive(Debug)]
struct Step {
    action: Action,
    /// After success; `None` ends well.
    done: Option<Action>,
    /// After failure; `None` ends badly.
    failed: Option<Action>,
}

static IMAGE_PRE_PULL: Flow = Flow {
    steps: &[
        Step { action: Action::Check, done: Some(Action::Pull), failed: None },
        Step { action: Action::Pull, done: None, failed: None },
    ],
};

// === impl JobType ===

impl JobType {
    /// All kinds.
    pub const ALL: [Self; 1] = [Self::ImagePrePull];

    /// Its segment in a task's resource.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ImagePrePull => "imageprepulljob",
        }
    }

    /// The kind with this segment.
    #[must_use]
    pub fn parse(segment: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == segment)
    }

    /// The steps.
    #[must_use]
    pub fn flow(self) -> &'static Flow {
        match self {
            Self::ImagePrePull => &IMAGE_PRE_PULL,
        }
    }
}

// === impl Action ===

impl Action {
    /// Its word on the wire and in statuses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Check => "Check",
            Self::Pull => "Pull",
        }
    }
}

// === impl Flow ===

impl Flow {
    /// Where a node begins. A task's message carries it as its operation.
    #[must_use]
    pub fn first(&self) -> Action {
        self.steps.first().map_or(Action::Check, |step| step.action)
    }

    /// What follows. A step that is not of this flow ends it.
    #[must_use]
    pub fn after(&self, action: Action, succeeded: bool) -> Next {
        let step = self.steps.iter().find(|step| step.action == action);
        let next = step.and_then(|step| if succeeded { step.done } else { step.failed });
        next.map_or(Next::End { succeeded: succeeded && step.is_some() }, Next::Then)
    }

    /// The place of a step, for putting reports into order.
    #[must_use]
    pub fn place(&self, action: Action) -> usize {
        self.steps.iter().position(|step| step.action == action).unwrap_or(self.steps.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_pulled_after_a_check_and_a_failure_ends_it() {
        let flow = JobType::ImagePrePull.flow();
        assert_eq!(flow.first(), Action::Check);
        assert_eq!(flow.after(Action::Check, true), Next::Then(Action::Pull));
        assert_eq!(flow.after(Action::Check, false), Next::End { succeeded: false });
        assert_eq!(flow.after(Action::Pull, true), Next::End { succeeded: true });
        assert_eq!(JobType::parse("imageprepulljob"), Some(JobType::ImagePrePull));
    }
}
