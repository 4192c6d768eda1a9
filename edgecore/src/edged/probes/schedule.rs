//! How often a probe asks, and how many answers count.

use std::time::Duration;

use k8s_openapi::api::core::v1::Probe;

/// The numbers of a probe, with the defaults of the API where the object has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Schedule {
    pub(super) delay: Duration,
    pub(super) timeout: Duration,
    pub(super) period: Duration,
    pub(super) successes: u32,
    pub(super) failures: u32,
}

impl From<&Probe> for Schedule {
    fn from(probe: &Probe) -> Self {
        let at_least = |number: Option<i32>, least: u32, default: u32| {
            number
                .and_then(|number| u32::try_from(number).ok())
                .filter(|number| *number >= least)
                .unwrap_or(default)
        };
        let seconds = |number: u32| Duration::from_secs(u64::from(number));
        Self {
            delay: seconds(at_least(probe.initial_delay_seconds, 0, 0)),
            timeout: seconds(at_least(probe.timeout_seconds, 1, 1)),
            period: seconds(at_least(probe.period_seconds, 1, 10)),
            successes: at_least(probe.success_threshold, 1, 1),
            failures: at_least(probe.failure_threshold, 1, 3),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_or_senseless_is_as_the_api_defaults_it() {
        let bare = Schedule::from(&Probe::default());
        assert_eq!((bare.period.as_secs(), bare.timeout.as_secs(), bare.delay.as_secs()), (10, 1, 0));
        assert_eq!((bare.successes, bare.failures), (1, 3));
        let odd = Probe { period_seconds: Some(0), failure_threshold: Some(-1), ..Probe::default() };
        assert_eq!(Schedule::from(&odd), bare);
    }
}
