//! From a sensor's publish to the value in a watch of DeviceStatus.

use std::time::Duration;

use anyhow::Result;
use e2e::{EdgeOptions, Stack, StackOptions};

use crate::sensors::{Fleet, Sensors};
use crate::{Measure, quantile};

/// Rates that are tried for the highest sustained one, in publishes a second.
const RATES: [u32; 7] = [100, 250, 500, 1000, 2000, 4000, 8000];

/// How long a rate must hold to count as sustained.
const SUSTAINED: Duration = Duration::from_secs(30);

pub(crate) async fn run() -> Result<Vec<Measure>> {
    let mut stack = Stack::start(StackOptions::default()).await?;
    stack.join(&EdgeOptions::default()).await?;
    let name = vec!["bench-sensor".to_owned()];
    let sensors = Sensors::of(&stack.client(), "edge1", stack.mqtt_port(), name).await?;
    let probe = Fleet::start(&stack.client(), vec![sensors]).await?;

    let slow = probe.publish(10, Duration::from_secs(20)).await?;
    let mut measures = vec![
        Measure::seconds(
            "twin.p50",
            quantile(&slow.latencies, 0.50),
            "publish → watch of DeviceStatus, 10/s for 20 s",
        ),
        Measure::seconds("twin.p99", quantile(&slow.latencies, 0.99), "the same, 99th percentile"),
    ];
    let mut best = 0.0;
    let mut detail = String::from("none of the tried rates held");
    for rate in RATES {
        if !probe.publish(rate, Duration::from_secs(5)).await?.sustained(rate) {
            break;
        }
        let long = probe.publish(rate, SUSTAINED).await?;
        if !long.sustained(rate) {
            break;
        }
        best = f64::from(rate);
        detail = format!(
            "QoS 1 publishes, all acknowledged, for 30 s; {} states seen in the cloud, p99 {:.0} ms",
            long.latencies.len(),
            quantile(&long.latencies, 0.99).as_secs_f64() * 1e3
        );
    }
    measures.push(Measure::per_second("twin.rate", best, detail));
    Ok(measures)
}
