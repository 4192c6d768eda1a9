//! How long a daemon set waits before it replaces a failed pod on the same node again: 1 s, doubled each time, at most 15 minutes.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;

const FIRST: i64 = 1;
const LONGEST: i64 = 900;

/// By the set's uid and the node. Bounded by the nodes that had failures lately.
#[derive(Debug, Default)]
pub(super) struct Patience(HashMap<(String, String), Failed>);

#[derive(Clone, Copy, Debug)]
struct Failed {
    pause: i64,
    at: Timestamp,
}

impl Patience {
    /// Whether a failed pod may be replaced now, which counts as a failure; else when.
    pub(super) fn ask(&mut self, set: &str, node: &str, now: Timestamp) -> Result<(), Duration> {
        let passed = |failed: &Failed| now.as_second() - failed.at.as_second();
        self.0.retain(|_, failed| passed(failed) <= 2 * LONGEST);
        let key = (set.to_owned(), node.to_owned());
        let pause = match self.0.get(&key) {
            Some(failed) if passed(failed) < failed.pause => {
                let left = failed.pause - passed(failed);
                return Err(Duration::from_secs(u64::try_from(left).unwrap_or(0)));
            }
            Some(failed) => (failed.pause * 2).min(LONGEST),
            None => FIRST,
        };
        self.0.insert(key, Failed { pause, at: now });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_per_node_and_are_forgotten_after_long_peace() {
        let mut patience = Patience::default();
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut ask =
            |node: &str, second| patience.ask("set", node, at(second)).map_err(|left| left.as_secs());
        assert_eq!(ask("a", 100), Ok(()));
        assert_eq!(ask("a", 100), Err(1));
        assert_eq!(ask("a", 101), Ok(()));
        assert_eq!(ask("a", 102), Err(1));
        assert_eq!(ask("b", 102), Ok(()));
        assert_eq!(ask("a", 103), Ok(()));
        assert_eq!(ask("a", 104), Err(3));
        assert_eq!(ask("a", 5000), Ok(()));
        assert_eq!(ask("a", 5000), Err(1));
    }
}
