//! What became of a rule's messages, as its status tells it.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Errors that a status shows.
const ERRORS: usize = 5;
/// Longest error, in characters.
const LONGEST: usize = 400;

/// `status` of a Rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct RuleStatus {
    pub(super) success_messages: i64,
    pub(super) fail_messages: i64,
    pub(super) errors: VecDeque<String>,
}

/// Counts for one rule.
#[derive(Debug)]
pub(super) struct Tally {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    status: RuleStatus,
    dirty: bool,
}

// === impl Tally ===

impl Tally {
    /// Goes on from what the object says.
    pub(super) fn from(status: RuleStatus) -> Self {
        Self { inner: Mutex::new(Inner { status, dirty: false }) }
    }

    /// A message arrived.
    pub(super) fn success(&self) {
        self.change(|status| status.success_messages += 1);
    }

    /// A message was given up.
    pub(super) fn failure(&self, reason: &str) {
        self.change(|status| status.fail_messages += 1);
        self.trouble(reason);
    }

    /// Something is wrong that costs no message, or not yet. What was said last is not said again.
    pub(super) fn trouble(&self, reason: &str) {
        let text: String = reason.chars().take(LONGEST).collect();
        self.change(|status| {
            let said = |last: &String| last.split_once(' ').is_some_and(|(_, said)| said == text);
            if status.errors.back().is_some_and(said) {
                return;
            }
            let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap_or(Timestamp::UNIX_EPOCH);
            status.errors.push_back(format!("{now} {text}"));
            while status.errors.len() > ERRORS {
                status.errors.pop_front();
            }
        });
    }

    /// The status, if it is news.
    pub(super) fn news(&self) -> Option<RuleStatus> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut inner.dirty).then(|| inner.status.clone())
    }

    /// The news could not be written.
    pub(super) fn unwritten(&self) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).dirty = true;
    }

    fn change(&self, change: impl FnOnce(&mut RuleStatus)) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let before = inner.status.clone();
        change(&mut inner.status);
        inner.dirty |= inner.status != before;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_errors_are_kept_each_once_in_a_row() {
        let tally = Tally::from(RuleStatus::default());
        assert_eq!(tally.news(), None);
        for round in 0..4 {
            tally.failure(&format!("e{round}"));
            tally.failure(&format!("e{round}"));
            tally.failure("same");
        }
        let status = tally.news().unwrap();
        assert_eq!((status.fail_messages, status.errors.len()), (12, ERRORS));
        assert!(status.errors.back().unwrap().ends_with("Z same"), "{status:?}");
        assert_eq!(tally.news(), None);
        tally.unwritten();
        assert!(tally.news().is_some());
    }
}
