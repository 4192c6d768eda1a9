//! How fast counters grow: two samples of each are needed, and they must lie apart.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

/// Samples closer than this say little (Kubernetes v1.36 `pkg/kubelet/stats`, `defaultCachePeriod`).
const APART: Duration = Duration::from_secs(10);

/// What is known of each counter.
#[derive(Debug, Default)]
pub(in crate::edged::server) struct Rates(HashMap<String, Known>);

#[derive(Debug)]
struct Known {
    /// When and what.
    base: (Instant, u64),
    rate: Option<u64>,
    /// The last time that somebody asked.
    asked: Instant,
}

impl Rates {
    /// The counter's growth in a second, `None` until two samples lie apart.
    pub(in crate::edged::server) fn of(&mut self, key: &str, count: u64, now: Instant) -> Option<u64> {
        let new = || Known { base: (now, count), rate: None, asked: now };
        let known = self.0.entry(key.to_owned()).or_insert_with(new);
        known.asked = now;
        let (since, before) = known.base;
        let passed = now.duration_since(since);
        if count < before {
            // Another group of that name.
            *known = new();
        } else if passed >= APART {
            let grown = u128::from(count - before) * 1_000_000_000 / passed.as_nanos().max(1);
            known.rate = Some(u64::try_from(grown).unwrap_or(u64::MAX));
            known.base = (now, count);
        }
        known.rate
    }

    /// Forgets counters that nobody asked for at `now`.
    pub(in crate::edged::server) fn keep_asked(&mut self, now: Instant) {
        self.0.retain(|_, known| known.asked == now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_needs_two_samples_that_lie_apart() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut rates = Rates::default();
        assert_eq!(rates.of("a", 100, at(0)), None);
        assert_eq!(rates.of("a", 200, at(1)), None);
        assert_eq!(rates.of("a", 1100, at(10)), Some(100));
        assert_eq!(rates.of("a", 1200, at(11)), Some(100));
        assert_eq!(rates.of("a", 5, at(12)), None, "it began anew");
        rates.of("b", 1, at(13));
        rates.keep_asked(at(13));
        assert_eq!(rates.0.len(), 1);
    }
}
