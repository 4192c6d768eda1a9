//! A token bucket.

use std::time::Duration;

use tokio::time::Instant;

use super::Rate;

#[derive(Debug)]
pub(super) struct Limiter {
    rate: Option<Rate>,
    tokens: f64,
    at: Instant,
}

impl Limiter {
    pub(super) fn new(rate: Option<Rate>, now: Instant) -> Self {
        // A rate of nothing would stop the node for good; KubeEdge reads it as "no limit" too.
        let rate = rate.filter(|rate| rate.per_second > 0.0);
        Self { rate, tokens: rate.map_or(0.0, |rate| rate.burst.max(1.0)), at: now }
    }

    /// Takes a token if there is one.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let Some(rate) = self.rate else { return true };
        self.refill(rate, now);
        let some = self.tokens >= 1.0;
        if some {
            self.tokens -= 1.0;
        }
        some
    }

    /// Takes a token whether or not there is one: for what must not wait but counts.
    pub(super) fn charge(&mut self, now: Instant) {
        let Some(rate) = self.rate else { return };
        self.refill(rate, now);
        self.tokens = (self.tokens - 1.0).max(-rate.burst.max(1.0));
    }

    /// When the next token is there, seen from the last call.
    pub(super) fn next(&self) -> Instant {
        let missing = (1.0 - self.tokens).max(0.0);
        let wait = self.rate.map_or(0.0, |rate| missing / rate.per_second);
        // A whole millisecond, so that rounding never wakes the shell too early over and over.
        self.at + Duration::from_secs_f64(wait) + Duration::from_millis(1)
    }

    fn refill(&mut self, rate: Rate, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + passed * rate.per_second).min(rate.burst.max(1.0));
        self.at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_at_once_and_then_the_rate_holds() {
        let mut now = Instant::now();
        let mut limiter = Limiter::new(Some(Rate { per_second: 30.0, burst: 60.0 }), now);
        let mut passed = 0;
        let end = now + Duration::from_secs(10);
        while now < end {
            while limiter.take(now) {
                passed += 1;
            }
            now = limiter.next();
        }
        assert!((355..=361).contains(&passed), "{passed} passed in 10 s");
    }
}
