use std::{fmt, time::Duration};

use serde::Serialize;

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Unit {
    /// Bytes, printed in MB (10⁶).
    #[serde(rename = "B")]
    Bytes,
    /// Seconds.
    #[serde(rename = "s")]
    Seconds,
    /// Events per second.
    #[serde(rename = "1/s")]
    PerSecond,
    /// Hundredths of a processor.
    #[serde(rename = "%")]
    Percent,
}

/// One measured number.
#[derive(Clone, Debug, Serialize)]
pub struct Measure {
    /// Stable name, as promises refer to it: `edgecore.rss`.
    pub name: &'static str,
    /// The number, in `unit`.
    pub value: f64,
    /// What the number counts.
    pub unit: Unit,
    /// How it was measured, in one clause.
    pub method: String,
}

impl Measure {
    /// A duration.
    pub fn seconds(name: &'static str, value: Duration, method: impl Into<String>) -> Self {
        Self { name, value: value.as_secs_f64(), unit: Unit::Seconds, method: method.into() }
    }

    /// A size.
    pub fn bytes(name: &'static str, value: u64, method: impl Into<String>) -> Self {
        Self { name, value: value as f64, unit: Unit::Bytes, method: method.into() }
    }

    /// A share of one processor, from 0 to the number of processors.
    pub fn share(name: &'static str, value: f64, method: impl Into<String>) -> Self {
        Self { name, value: value * 100.0, unit: Unit::Percent, method: method.into() }
    }

    /// A rate.
    pub fn per_second(name: &'static str, value: f64, method: impl Into<String>) -> Self {
        Self { name, value, unit: Unit::PerSecond, method: method.into() }
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = match self.unit {
            Unit::Bytes if self.value >= 1e6 => format!("{:.1} MB", self.value / 1e6),
            Unit::Bytes => format!("{:.1} kB", self.value / 1e3),
            Unit::Seconds if self.value < 1.0 => format!("{:.1} ms", self.value * 1e3),
            Unit::Seconds => format!("{:.2} s", self.value),
            Unit::PerSecond => format!("{:.0} /s", self.value),
            Unit::Percent => format!("{:.2} %", self.value),
        };
        write!(f, "{:<28} {:>12}   {}", self.name, number, self.method)
    }
}

/// The measures as lines of a table.
pub fn table(measures: &[Measure]) -> String {
    measures.iter().map(|measure| format!("{measure}\n")).collect()
}

/// The `q`-quantile (0 to 1, nearest rank) of `samples`; zero when there are none.
pub fn quantile(samples: &[Duration], q: f64) -> Duration {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    let rank = ((sorted.len() as f64 * q).ceil() as usize).clamp(1, sorted.len().max(1));
    sorted.get(rank - 1).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_the_nearest_rank() {
        let samples: Vec<_> = (1..=100).map(Duration::from_millis).collect();
        assert_eq!(quantile(&samples, 0.5), Duration::from_millis(50));
        assert_eq!(quantile(&samples, 0.99), Duration::from_millis(99));
        assert_eq!(quantile(&samples, 1.0), Duration::from_millis(100));
        assert_eq!(quantile(&[], 0.5), Duration::ZERO);
    }

    #[test]
    fn numbers_are_printed_in_the_unit_that_suits_them() {
        assert!(Measure::bytes("a", 18_300_000, "").to_string().contains("18.3 MB"));
        assert!(Measure::bytes("a", 40_960, "").to_string().contains("41.0 kB"));
        assert!(Measure::seconds("a", Duration::from_micros(4200), "").to_string().contains("4.2 ms"));
        assert!(Measure::per_second("a", 1000.0, "").to_string().contains("1000 /s"));
        assert!(Measure::share("a", 0.0025, "").to_string().contains("0.25 %"));
    }
}
