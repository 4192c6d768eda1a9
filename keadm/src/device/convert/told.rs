//! What is said about a conversion: what is wrong, what is lost, and what was decided.

use crate::problem::{Exit, Failure, Problem};

/// Everything that is said, about one object after the other.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Whom it is about, for example `Device default/boiler-1`.
    object: String,
    /// There is no v1beta1 for it.
    wrong: Vec<Problem>,
    /// v1beta1 has no place for it.
    lost: Vec<Problem>,
    notes: Vec<String>,
}

impl Told {
    /// What follows is about this object.
    pub(super) fn about(&mut self, object: impl Into<String>) {
        self.object = object.into();
    }

    /// `what` reads on from the field: `spec.protocol names two protocols`.
    pub(super) fn wrong(&mut self, field: &str, what: &str, cause: &str, next: impl Into<String>) {
        self.wrong.push(problem(&self.object, field, what, cause, next));
    }

    /// It is not carried over.
    pub(super) fn lost(&mut self, field: &str, cause: &str, next: impl Into<String>) {
        self.lost.push(problem(&self.object, field, "is lost", cause, next));
    }

    /// It is carried over and makes no sense there.
    pub(super) fn doubtful(&mut self, field: &str, what: &str, cause: &str, next: impl Into<String>) {
        self.lost.push(problem(&self.object, field, what, cause, next));
    }

    /// Something that was decided, or that works otherwise now.
    pub(super) fn note(&mut self, text: impl AsRef<str>) {
        self.notes.push(format!("{}: {}", self.object, text.as_ref()));
    }

    #[cfg(test)]
    pub(super) fn is_wrong(&self) -> bool {
        !self.wrong.is_empty()
    }

    /// Everything as it is said on standard error, for the tests.
    #[cfg(test)]
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for (word, problems) in [("wrong: ", &self.wrong), ("lost: ", &self.lost)] {
            text.extend(problems.iter().map(|problem| problem.below(word)));
        }
        text.extend(self.notes.iter().map(|note| format!("note: {note}\n")));
        text
    }

    /// Says it all. What is wrong ends it, and what is lost does unless the user accepts that.
    pub(super) fn finish(self, accept_loss: bool) -> Result<(), Failure> {
        let Self { wrong, lost, notes, .. } = self;
        for note in notes {
            eprintln!("note: {note}");
        }
        let (mut problems, mut warnings) = (wrong, Vec::new());
        let headline = match (problems.is_empty(), accept_loss) {
            (true, false) => "something is lost, so nothing was written; --accept-loss writes the rest",
            _ => "not everything can be converted, so nothing was written",
        };
        let place = if accept_loss { &mut warnings } else { &mut problems };
        place.extend(lost);
        for warning in warnings {
            eprint!("{}", warning.below("warning: "));
        }
        if problems.is_empty() {
            return Ok(());
        }
        Err(Failure::new(headline, problems, Exit::Preflight))
    }
}

fn problem(object: &str, field: &str, what: &str, cause: &str, next: impl Into<String>) -> Problem {
    Problem::new(format!("{object}: {field} {what}")).cause(cause).next(next)
}
