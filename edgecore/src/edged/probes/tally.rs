//! When answers in a row become a verdict.

use super::schedule::Schedule;

/// Counts equal answers.
#[derive(Debug)]
pub(super) struct Tally {
    successes: u32,
    failures: u32,
    last: Option<bool>,
    run: u32,
}

impl Tally {
    pub(super) fn new(schedule: &Schedule) -> Self {
        Self { successes: schedule.successes, failures: schedule.failures, last: None, run: 0 }
    }

    /// Takes an answer; the verdict once enough of the same have come in a row.
    pub(super) fn take(&mut self, good: bool) -> Option<bool> {
        if self.last == Some(good) {
            self.run = self.run.saturating_add(1);
        } else {
            (self.last, self.run) = (Some(good), 1);
        }
        (self.run >= if good { self.successes } else { self.failures }).then_some(good)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tally(successes: u32, failures: u32) -> Tally {
        Tally { successes, failures, last: None, run: 0 }
    }

    #[test]
    fn a_single_failure_among_successes_decides_nothing() {
        let mut tally = tally(1, 3);
        let verdicts: Vec<_> = [false, false, true, false, false, false].map(|good| tally.take(good)).into();
        assert_eq!(verdicts, [None, None, Some(true), None, None, Some(false)]);
    }

    proptest! {
        #[test]
        fn a_verdict_is_what_the_last_answers_in_a_row_said(
            answers in prop::collection::vec(any::<bool>(), 0..60), successes in 1_u32..4, failures in 1_u32..5,
        ) {
            let mut tally = tally(successes, failures);
            for end in 0..answers.len() {
                let row = answers[..=end].iter().rev().take_while(|good| **good == answers[end]).count();
                let needed = if answers[end] { successes } else { failures };
                let wanted = (row >= needed as usize).then_some(answers[end]);
                prop_assert_eq!(tally.take(answers[end]), wanted);
            }
        }
    }
}
