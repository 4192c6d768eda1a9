//! Time that does not jump. A machine without a battery for its clock starts in 1970 and learns the date when the link comes; what it
//! has begun by then goes on as if nothing had happened.
//!
//! All waiting is reckoned in [`Clock::now`]. Times that others have written (the runtime, the API) are in the jumping time; they are
//! taken over by their age, once, when they are first seen ([`Look`]).

use std::fs;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// A clock that says less than this (2020) has not been set: nothing can be told from it.
const UNSET: i64 = 1_577_836_800;

/// The wall clock of the moment when the agent started, carried on by the kernel's monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    wall: Timestamp,
    since: Instant,
}

impl Clock {
    /// From now on it does not jump.
    pub fn start() -> Self {
        Self { wall: Timestamp::now(), since: Instant::now() }
    }

    /// Not for anything that is written down or shown.
    pub fn now(&self) -> Timestamp {
        self.wall.saturating_add(self.since.elapsed()).unwrap_or(Timestamp::MAX)
    }
}

/// When others' times are read.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// What the wall clock shows, after whatever jumps.
    pub wall: Timestamp,
    /// What [`Clock::now`] says.
    pub now: Timestamp,
    /// What it said at the look before: what is new cannot be older.
    pub before: Option<Timestamp>,
}

impl Look {
    /// When something that is seen for the first time happened, on the clock that does not jump.
    pub fn taken_over(&self, at: Timestamp) -> Timestamp {
        let age = self.wall.duration_since(at).max(SignedDuration::ZERO);
        let age = match self.before {
            Some(before) => age.min(self.now.duration_since(before).max(SignedDuration::ZERO)),
            None => age,
        };
        self.now.saturating_sub(age).unwrap_or(Timestamp::MIN)
    }
}

/// A moment in the life of a machine, whatever its clock says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Names the start of the machine.
    boot: String,
    /// Milliseconds since that start, sleep included; what was before it is negative.
    up: i64,
}

impl Moment {
    /// Now. Reads two small files.
    pub fn now() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let up = read("/proc/uptime");
        let up: f64 = up.split_whitespace().next().and_then(|seconds| seconds.parse().ok()).unwrap_or(0.0);
        let boot = read("/proc/sys/kernel/random/boot_id").trim().to_owned();
        Self { boot, up: (up * 1000.0) as i64 }
    }

    /// So long before this one.
    pub fn earlier(&self, by: Duration) -> Self {
        let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        Self { boot: self.boot.clone(), up: self.up.saturating_sub(by) }
    }

    /// Whether both are of one life of the machine.
    pub fn is_of(&self, other: &Self) -> bool {
        self.boot == other.boot
    }

    /// As it is kept in a file.
    pub fn to_text(&self) -> String {
        format!("{} {}\n", self.boot, self.up)
    }

    /// `None` for anything that [`Moment::to_text`] does not write.
    pub fn parse(text: &str) -> Option<Self> {
        let (boot, up) = text.trim_end().split_once(' ')?;
        let up = up.parse().ok()?;
        (!boot.is_empty()).then(|| Self { boot: boot.to_owned(), up })
    }
}

/// How long ago something began that was written down at `kept`, and of which the API says that it began at `start`. Within one life of the
/// machine that is certain; beyond, the clock is believed as far as it makes sense.
pub fn age(kept: Option<&Moment>, here: &Moment, start: Timestamp, wall: Timestamp) -> Duration {
    match kept {
        Some(kept) if kept.is_of(here) => {
            Duration::from_millis(u64::try_from(here.up.saturating_sub(kept.up)).unwrap_or(0))
        }
        _ if start.as_second() < UNSET || wall.as_second() < UNSET => Duration::ZERO,
        _ => Duration::try_from(wall.duration_since(start)).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn moment(boot: &str, up: i64) -> Moment {
        Moment { boot: boot.to_owned(), up: up * 1000 }
    }

    proptest! {
        #[test]
        fn what_happened_since_the_last_look_is_dated_between_the_two_whatever_the_clock_did(
            wall in -2_000_000_000_i64..4_000_000_000, written in -2_000_000_000_i64..4_000_000_000,
            now in 1_000_000_i64..2_000_000_000, since in 0_i64..100_000,
        ) {
            let look = Look { wall: at(wall), now: at(now), before: Some(at(now - since)) };
            let dated = look.taken_over(at(written));
            prop_assert!(dated >= at(now - since) && dated <= at(now));
        }

        #[test]
        fn a_clock_that_did_not_jump_is_believed(now in 0_i64..2_000_000_000, ago in 0_i64..1_000_000, since in 0_i64..1_000_000) {
            let look = Look { wall: at(now), now: at(now), before: Some(at(now - since)) };
            prop_assert_eq!(look.taken_over(at(now - ago)), at(now - ago.min(since)));
            let first = Look { before: None, ..look };
            prop_assert_eq!(first.taken_over(at(now - ago)), at(now - ago));
        }

        #[test]
        fn an_age_within_one_life_of_the_machine_does_not_depend_on_its_clock(
            start in -2_000_000_000_i64..4_000_000_000, wall in -2_000_000_000_i64..4_000_000_000,
            kept in -1_000_000_i64..1_000_000, lived in 0_i64..1_000_000,
        ) {
            let age = age(Some(&moment("a", kept)), &moment("a", kept + lived), at(start), at(wall));
            prop_assert_eq!(age, Duration::from_secs(lived.unsigned_abs()));
        }

        #[test]
        fn moments_are_read_as_they_were_written(boot in "[0-9a-f-]{1,36}", up in any::<i32>(), other in ".{0,40}") {
            let moment = moment(&boot, i64::from(up));
            prop_assert_eq!(Moment::parse(&moment.to_text()), Some(moment));
            let _ = Moment::parse(&other);
        }
    }

    #[test]
    fn after_a_reboot_a_clock_that_was_not_set_tells_nothing() {
        let (kept, here) = (moment("a", 50), moment("b", 10));
        let set = 1_800_000_000;
        assert_eq!(age(Some(&kept), &here, at(set - 100), at(set)), Duration::from_secs(100));
        assert_eq!(
            age(Some(&kept), &here, at(60), at(set)),
            Duration::ZERO,
            "begun before the date was known"
        );
        assert_eq!(age(Some(&kept), &here, at(set), at(60)), Duration::ZERO, "the date is not known yet");
        assert_eq!(age(None, &here, at(set), at(set - 5)), Duration::ZERO, "from the future");
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_goes_on_as_time_passes() {
        let clock = Clock::start();
        let before = clock.now();
        tokio::time::advance(Duration::from_secs(90)).await;
        assert_eq!(clock.now().duration_since(before), SignedDuration::from_secs(90));
        assert!(Moment::now().up > 0 && !Moment::now().boot.is_empty());
    }
}
