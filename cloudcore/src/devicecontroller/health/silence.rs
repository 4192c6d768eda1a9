//! When a device has been silent for too long. Pure.

use std::time::Duration;

use proto::devices::Device;
use proto::session::Dialect;
use tokio::time::Instant;

use super::Known;
use super::links::Link;

/// Cycles that may be missed.
const CYCLES: u32 = 5;
/// The least silence that is said. A node tells once a minute of devices whose values stay the same.
const AT_LEAST: Duration = Duration::from_secs(120);

/// How long a device may be silent, if it says how often it reports. KubeEdge's defaults do not count: a device that
/// publishes by itself need not keep to them.
pub(super) fn patience(device: &Device) -> Option<Duration> {
    let properties = device.spec.properties.iter().filter(|property| property.report_to_cloud == Some(true));
    let state = device.spec.state_report.as_ref().filter(|state| state.report_to_cloud);
    let cycles = properties.filter_map(|property| property.collect_cycle);
    let cycles = cycles.chain(state.and_then(|state| state.report_cycle));
    let shortest = cycles.filter_map(|cycle| u64::try_from(cycle).ok()).filter(|cycle| *cycle > 0).min()?;
    Some(Duration::from_millis(shortest).saturating_mul(CYCLES).max(AT_LEAST))
}

impl Known {
    /// Whether the device has been silent for too long while its node was connected.
    pub(super) fn is_silent(&self, link: Link, now: Instant) -> bool {
        let Some(patience) = self.patience else { return false };
        let since = match (link.dialect, link.listens) {
            (Dialect::SkerryV1, Some(since)) => since,
            // It sends what changes, and nothing else.
            (Dialect::SkerryV1, None) => return false,
            // It sends everything, and drops what is reported while it is cut off.
            (Dialect::KubeEdge, _) => link.since,
        };
        let since = self.heard.map_or(since, |heard| heard.max(since));
        now.saturating_duration_since(since) > patience
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn device(properties: serde_json::Value, state: serde_json::Value) -> Device {
        serde_json::from_value(
            json!({"metadata": {"name": "d"}, "spec": {"properties": properties, "stateReport": state}}),
        )
        .expect("a device")
    }

    #[test]
    fn only_who_says_how_often_it_reports_can_be_late() {
        let reports = |cycle: i64| json!({"name": "t", "reportToCloud": true, "collectCycle": cycle});
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        let none = serde_json::Value::Null;
        for (properties, state, wanted) in [
            (json!([]), none.clone(), None),
            (json!([{"name": "t", "reportToCloud": true}]), none.clone(), None),
            (json!([{"name": "t", "reportToCloud": false, "collectCycle": 1000}]), none.clone(), None),
            (json!([reports(0), reports(-5)]), none.clone(), None),
            (json!([reports(1000)]), none.clone(), seconds(120)),
            (json!([reports(600_000), reports(60_000)]), none.clone(), seconds(300)),
            (json!([reports(600_000)]), json!({"reportToCloud": true, "reportCycle": 120_000}), seconds(600)),
            (json!([]), json!({"reportToCloud": false, "reportCycle": 120_000}), None),
            // Nanoseconds of older samples, read as what they are.
            (json!([reports(10_000_000_000)]), none.clone(), seconds(50_000_000)),
        ] {
            assert_eq!(patience(&device(properties.clone(), state)), wanted, "{properties}");
        }
        assert!(patience(&device(json!([reports(i64::MAX)]), none)).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_device_is_silent_when_its_node_would_have_heard_it() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let known = |heard| Known { patience: Some(Duration::from_secs(180)), heard, ..Known::default() };
        let link = |dialect, listens: Option<u64>, since| Link {
            listens: listens.map(at),
            ..Link::new(1, dialect, at(since))
        };
        let ours = |listens, since| link(Dialect::SkerryV1, Some(listens), since);
        let cases = [
            (known(Some(at(0))), ours(0, 0), 180, false),
            (known(Some(at(0))), ours(0, 0), 181, true),
            // A node that was cut off knows of meanwhile; one that was off does not, and neither does KubeEdge's.
            (known(Some(at(0))), ours(0, 1000), 1001, true),
            (known(Some(at(0))), ours(1000, 1000), 1001, false),
            (known(Some(at(0))), ours(1000, 1000), 1181, true),
            (known(Some(at(0))), link(Dialect::KubeEdge, None, 1000), 1001, false),
            (known(Some(at(0))), link(Dialect::KubeEdge, None, 1000), 1181, true),
            (known(None), ours(1000, 1000), 1100, false),
            (known(None), ours(1000, 1000), 1181, true),
            // An older node of ours does not tell.
            (known(Some(at(0))), link(Dialect::SkerryV1, None, 0), 100_000, false),
            (Known::default(), ours(0, 0), 100_000, false),
        ];
        for (number, (known, link, now, silent)) in cases.into_iter().enumerate() {
            assert_eq!(known.is_silent(link, at(now)), silent, "case {number}");
        }
    }
}
