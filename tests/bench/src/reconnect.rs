//! Restart of the cloud → node connected again.

use std::time::Duration;

use anyhow::{Context, Result};
use e2e::{EdgeOptions, Sensor, Stack, StackOptions, device};
use kube::{Api, api::DynamicObject};
use tokio::time::{Instant, sleep};

use crate::{Measure, quantile};

const RUNS: usize = 5;

pub(crate) async fn run() -> Result<Vec<Measure>> {
    let mut stack = Stack::start(StackOptions::default()).await?;
    stack.join(&EdgeOptions::default()).await?;
    device::apply_thermometer(&stack.client(), "edge1", "bench-sensor").await?;
    let mut sensor = Sensor::new("bench-sensor", stack.mqtt_port());
    let mut samples = Vec::new();
    let limit = Duration::from_secs(60);
    until_seen(&stack, &mut sensor, 0, limit).await.context("before the first restart")?;
    for run in 1..=RUNS {
        stack.cloud.kill();
        sleep(Duration::from_secs(3)).await;
        let start = Instant::now();
        stack.cloud.restart()?;
        until_seen(&stack, &mut sensor, run, limit).await?;
        samples.push(start.elapsed());
    }
    let method = format!(
        "median of {RUNS}: cloudcore killed (-9), started 3 s later → a new reading of the node is in its API"
    );
    Ok(vec![Measure::seconds("cloud.reconnect", quantile(&samples, 0.5), method)])
}

/// Publishes `value` until the API shows it.
async fn until_seen(stack: &Stack, sensor: &mut Sensor, value: usize, limit: Duration) -> Result<()> {
    let statuses: Api<DynamicObject> =
        Api::namespaced_with(stack.client(), "default", &device::status_resource());
    let mut again = Instant::now();
    let end = Instant::now() + limit;
    loop {
        if Instant::now() >= again {
            sensor.report("bench-sensor", "temperature", &value.to_string(), limit).await?;
            again = Instant::now() + Duration::from_secs(1);
        }
        let object = statuses.get("bench-sensor").await.ok();
        let shown = object.and_then(|object| device::reported(&object, "temperature"));
        if shown.as_deref() == Some(value.to_string().as_str()) {
            return Ok(());
        }
        anyhow::ensure!(Instant::now() < end, "the cloud shows {shown:?} instead of {value} after {limit:?}");
        sleep(Duration::from_millis(10)).await;
    }
}
