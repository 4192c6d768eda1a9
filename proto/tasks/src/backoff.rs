//! Jittered exponential back-off: many nodes that lost the same server must not come back in step.

use std::time::Duration;

/// Yields the pauses between attempts: each doubles up to a cap, and half of each is random.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    next: Duration,
}

impl Backoff {
    /// Starts at `first` and never exceeds `cap`.
    #[must_use]
    pub fn new(first: Duration, cap: Duration) -> Self {
        let first = first.min(cap);
        Self { first, cap, next: first }
    }

    /// The pause before the next attempt.
    pub fn pause(&mut self) -> Duration {
        let ceiling = self.next;
        self.next = (self.next * 2).min(self.cap);
        ceiling.mul_f64(0.5 + fastrand::f64() * 0.5)
    }

    /// To be called after a success: the next failure starts from the shortest pause again.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

impl Default for Backoff {
    /// 100 ms to 15 s.
    fn default() -> Self {
        Self::new(Duration::from_millis(100), Duration::from_secs(15))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_cap_and_start_over_after_a_success() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(400));
        for ceiling in [100, 200, 400, 400] {
            let pause = backoff.pause();
            assert!(pause <= Duration::from_millis(ceiling), "{pause:?} exceeds {ceiling} ms");
            assert!(pause >= Duration::from_millis(ceiling / 2), "{pause:?} is under half of {ceiling} ms");
        }
        backoff.reset();
        assert!(backoff.pause() <= Duration::from_millis(100));
    }
}
