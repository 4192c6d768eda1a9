//! Many devices: what 100 on a node cost, what ten nodes of 100 each bring to the cloud, and 10,000 twins on one node.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::{Daemon, EdgeOptions, Stack, StackOptions, device, eventually};
use futures::future::try_join_all;
use kube::Api;
use kube::api::DynamicObject;
use rumqttc::QoS;
use tokio::time::sleep;

use crate::sensors::{Fleet, Sensors, connect};
use crate::{Measure, quantile};

/// Devices of a node.
const DEVICES: usize = 100;
/// Nodes of the fleet.
const NODES: usize = 10;
/// Publishes a second that are tried for the highest that the fleet sustains.
const RATES: [u32; 4] = [1000, 2000, 5000, 10_000];
/// How long a rate must hold to count as sustained.
const SUSTAINED: Duration = Duration::from_secs(20);

pub(crate) async fn run() -> Result<Vec<Measure>> {
    let mut measures = one_node().await?;
    measures.extend(ten_nodes().await?);
    measures.push(many_twins().await?);
    Ok(measures)
}

/// The names of a node's devices.
fn names(node: &str) -> Vec<String> {
    (0..DEVICES).map(|number| format!("{node}-{number}")).collect()
}

async fn one_node() -> Result<Vec<Measure>> {
    let mut stack = Stack::start(StackOptions::default()).await?;
    stack.join(&EdgeOptions::default()).await?;
    let sensors = vec![Sensors::of(&stack.client(), "edge1", stack.mqtt_port(), names("edge1")).await?];
    let fleet = Fleet::start(&stack.client(), sensors).await?;
    let used =
        |stack: &mut Stack| Ok::<_, anyhow::Error>([stack.edge_mut()?.cpu_time()?, stack.cloud.cpu_time()?]);
    let before = used(&mut stack)?;
    let series = fleet.publish(1000, SUSTAINED).await?;
    let after = used(&mut stack)?;
    ensure!(series.arrived, "the last values did not reach the cloud");
    let each = |at: usize| {
        let spent =
            after.get(at).zip(before.get(at)).map_or(Duration::ZERO, |(after, before)| *after - *before);
        spent / u32::try_from(series.acknowledged).unwrap_or(u32::MAX).max(1)
    };
    let method = format!("{DEVICES} devices of one node, 1,000 publishes a second for 20 s");
    Ok(vec![
        Measure::seconds(
            "fleet.p50",
            quantile(&series.latencies, 0.5),
            format!("publish → watch of DeviceStatus: {method}"),
        ),
        Measure::seconds("fleet.p99", quantile(&series.latencies, 0.99), "the same, 99th percentile"),
        Measure::seconds(
            "fleet.cpu-edge",
            each(0),
            format!("processor time of edgecore for one publish: {method}"),
        ),
        Measure::seconds("fleet.cpu-cloud", each(1), "the same of cloudcore, its API included"),
    ])
}

async fn ten_nodes() -> Result<Vec<Measure>> {
    let stack = Stack::start(StackOptions::default()).await?;
    let mut edges: Vec<(Daemon, u16)> = Vec::new();
    let mut sensors = Vec::new();
    for number in 0..NODES {
        let node = format!("edge-{number}");
        let edge = stack.join_another(&EdgeOptions { node: node.clone(), ..EdgeOptions::default() }).await?;
        sensors.push(Sensors::of(&stack.client(), &node, edge.1, names(&node)).await?);
        edges.push(edge);
    }
    let fleet = Fleet::start(&stack.client(), sensors).await?;
    let (mut best, mut states) = (0.0, 0.0);
    let mut detail = String::from("none of the tried rates held");
    for rate in RATES {
        let series = fleet.publish(rate, SUSTAINED).await?;
        if !series.sustained(rate) {
            break;
        }
        let p99 = quantile(&series.latencies, 0.99);
        best = f64::from(rate);
        states = series.states as f64 / series.took.as_secs_f64();
        detail = format!(
            "{NODES} nodes of {DEVICES} devices, QoS 1, all acknowledged, for 20 s; p99 {:.0} ms",
            p99.as_secs_f64() * 1e3
        );
    }
    drop(edges);
    Ok(vec![
        Measure::per_second("fleet.rate", best, detail),
        Measure::per_second(
            "fleet.states",
            states,
            "states of devices that a watch of DeviceStatus saw meanwhile",
        ),
    ])
}

async fn many_twins() -> Result<Measure> {
    const PROPERTIES: usize = 10;
    const OF_THEM: usize = 1000;
    let mut stack = Stack::start(StackOptions::default()).await?;
    stack.join(&EdgeOptions::default()).await?;
    let properties: Vec<String> = (0..PROPERTIES).map(|number| format!("property-{number}")).collect();
    let name = |number: usize| format!("twins-{number}");
    let client = stack.client();
    for chunk in (0..OF_THEM).collect::<Vec<_>>().chunks(50) {
        try_join_all(chunk.iter().map(|number| {
            let (client, properties, name) = (client.clone(), &properties, name(*number));
            async move { device::apply(&client, "edge1", &name, properties).await }
        }))
        .await?;
    }
    let (sensor, _mqtt, _) = connect(stack.mqtt_port()).await?;
    let statuses: Api<DynamicObject> = Api::namespaced_with(client, "default", &device::status_resource());
    eventually("every twin is in the cloud", Duration::from_secs(180), || async {
        let missing = match statuses.list(&Default::default()).await {
            Ok(list) => {
                let there: HashSet<String> = list
                    .items
                    .iter()
                    .filter(|status| {
                        properties.iter().all(|property| device::reported(status, property).is_some())
                    })
                    .filter_map(|status| status.metadata.name.clone())
                    .collect();
                (0..OF_THEM).map(name).filter(|name| !there.contains(name)).collect::<Vec<_>>()
            }
            Err(error) => return Err(error.to_string()),
        };
        for name in &missing {
            let twin: serde_json::Map<String, serde_json::Value> = properties
                .iter()
                .map(|property| (property.clone(), serde_json::json!({"actual": {"value": "1"}})))
                .collect();
            let payload = serde_json::json!({"event_id": "", "timestamp": 0, "twin": twin}).to_string();
            let sent = sensor.publish(device::update_topic(name), QoS::AtLeastOnce, false, payload).await;
            sent.map_err(|error| error.to_string())?;
        }
        sleep(Duration::from_secs(2)).await;
        if missing.is_empty() { Ok(()) } else { Err(format!("{} devices are missing", missing.len())) }
    })
    .await?;
    drop(sensor);
    sleep(Duration::from_secs(70)).await;
    let method =
        format!("VmRSS of edgecore, {OF_THEM} devices of {PROPERTIES} properties, reported, 70 s after");
    Ok(Measure::bytes("fleet.rss-twins", stack.edge_mut()?.resident_bytes()?, method))
}
