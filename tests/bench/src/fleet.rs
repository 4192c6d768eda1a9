//! Many devices: what 100 on a node cost, what ten nodes of 100 each bring to the cloud, and 10,000 twins on one node.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::{Daemon, EdgeOptions, Stack, StackOptions, device, eventually};
use futures::future::try_join_all;
use futures::{StreamExt, TryStreamExt};
use kube::api::{DynamicObject, WatchEvent, WatchParams};
use kube::{Api, Client};
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::task::AbortOnDropHandle;

use crate::device::spawn;
use crate::{Measure, quantile};

/// Devices of a node.
const DEVICES: usize = 100;
/// Nodes of the fleet.
const NODES: usize = 10;
/// Publishes a second that are tried for the highest that the fleet sustains.
const RATES: [u32; 4] = [1000, 2000, 5000, 10_000];
/// How long a rate must hold to count as sustained.
const SUSTAINED: Duration = Duration::from_secs(20);
/// How long the last values may take.
const LAST: Duration = Duration::from_secs(10);

pub(crate) async fn run() -> Result<Vec<Measure>> {
    let mut measures = one_node().await?;
    measures.extend(ten_nodes().await?);
    measures.push(many_twins().await?);
    Ok(measures)
}

async fn one_node() -> Result<Vec<Measure>> {
    let mut stack = Stack::start(StackOptions::default()).await?;
    stack.join(&EdgeOptions::default()).await?;
    let sensors = vec![Sensors::of(&stack.client(), "edge1", stack.mqtt_port()).await?];
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
        sensors.push(Sensors::of(&stack.client(), &node, edge.1).await?);
        edges.push(edge);
    }
    let fleet = Fleet::start(&stack.client(), sensors).await?;
    let (mut best, mut states) = (0.0, 0.0);
    let mut detail = String::from("none of the tried rates held");
    for rate in RATES {
        let series = fleet.publish(rate, SUSTAINED).await?;
        let p99 = quantile(&series.latencies, 0.99);
        if !series.arrived || series.rate() < f64::from(rate) * 0.97 || p99 > Duration::from_secs(1) {
            break;
        }
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
    sleep(Duration::from_secs(20)).await;
    let method =
        format!("VmRSS of edgecore, {OF_THEM} devices of {PROPERTIES} properties, reported, 20 s after");
    Ok(Measure::bytes("fleet.rss-twins", stack.edge_mut()?.resident_bytes()?, method))
}

/// The devices of one node, behind one client.
struct Sensors {
    client: AsyncClient,
    names: Vec<String>,
    acknowledged: Arc<AtomicU64>,
    _mqtt: AbortOnDropHandle<()>,
}

impl Sensors {
    async fn of(client: &Client, node: &str, port: u16) -> Result<Self> {
        let names: Vec<String> = (0..DEVICES).map(|number| format!("{node}-{number}")).collect();
        for name in &names {
            device::apply_thermometer(client, node, name).await?;
        }
        let (client, mqtt, acknowledged) = connect(port).await?;
        Ok(Self { client, names, acknowledged, _mqtt: mqtt })
    }
}

async fn connect(port: u16) -> Result<(AsyncClient, AbortOnDropHandle<()>, Arc<AtomicU64>)> {
    let mut options = MqttOptions::new("bench", "127.0.0.1", port);
    options.set_keep_alive(Duration::from_secs(30)).set_inflight(1000);
    let (client, mut events) = AsyncClient::new(options, 2000);
    let acknowledged = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&acknowledged);
    let mqtt = spawn(async move {
        loop {
            match events.poll().await {
                Ok(Event::Incoming(Packet::PubAck(_))) => {
                    count.fetch_add(1, Ordering::Relaxed);
                }
                Ok(_) => {}
                Err(_) => sleep(Duration::from_millis(50)).await,
            }
        }
    });
    Ok((client, mqtt, acknowledged))
}

/// What became of one series of publishes.
struct Series {
    /// Publish → seen in the watch, of every value that was seen.
    latencies: Vec<Duration>,
    /// Events of the watch.
    states: u64,
    /// Publishes acknowledged by the brokers.
    acknowledged: u64,
    /// Everything was acknowledged, and the last value of every device was seen.
    arrived: bool,
    /// How long the series really took.
    took: Duration,
}

impl Series {
    fn rate(&self) -> f64 {
        self.acknowledged as f64 / self.took.as_secs_f64()
    }
}

/// Sensors of all nodes and somebody who watches their statuses in the cloud.
struct Fleet {
    sensors: Vec<Sensors>,
    sent: Arc<Mutex<HashMap<u64, Instant>>>,
    seen: Arc<Mutex<HashMap<u64, Duration>>>,
    states: Arc<AtomicU64>,
    next: AtomicU64,
    _watch: AbortOnDropHandle<()>,
}

impl Fleet {
    async fn start(client: &Client, sensors: Vec<Sensors>) -> Result<Self> {
        let sent: Arc<Mutex<HashMap<u64, Instant>>> = Arc::default();
        let seen: Arc<Mutex<HashMap<u64, Duration>>> = Arc::default();
        let states = Arc::new(AtomicU64::new(0));
        let statuses: Api<DynamicObject> =
            Api::namespaced_with(client.clone(), "default", &device::status_resource());
        let (watch_sent, watch_seen, watch_states) =
            (Arc::clone(&sent), Arc::clone(&seen), Arc::clone(&states));
        let watch = spawn(async move {
            loop {
                let Ok(stream) = statuses.watch(&WatchParams::default(), "0").await else {
                    sleep(Duration::from_millis(50)).await;
                    continue;
                };
                let mut stream = stream.boxed();
                while let Ok(Some(event)) = stream.try_next().await {
                    let (WatchEvent::Added(object) | WatchEvent::Modified(object)) = event else { continue };
                    watch_states.fetch_add(1, Ordering::Relaxed);
                    let number =
                        device::reported(&object, "temperature").and_then(|text| text.parse::<u64>().ok());
                    let at = number.and_then(|number| Some((number, lock(&watch_sent).remove(&number)?)));
                    if let Some((number, at)) = at {
                        lock(&watch_seen).insert(number, at.elapsed());
                    }
                }
            }
        });
        let fleet = Self { sensors, sent, seen, states, next: AtomicU64::new(1), _watch: watch };
        let end = Instant::now() + Duration::from_secs(120);
        while !fleet.publish(u32::try_from(fleet.devices())?, Duration::from_secs(1)).await?.arrived {
            ensure!(Instant::now() < end, "the devices' values did not all reach the cloud within 120 s");
        }
        Ok(fleet)
    }

    fn devices(&self) -> usize {
        self.sensors.iter().map(|sensors| sensors.names.len()).sum()
    }

    fn acknowledged(&self) -> u64 {
        self.sensors.iter().map(|sensors| sensors.acknowledged.load(Ordering::Relaxed)).sum()
    }

    /// Publishes `rate` values a second, of all devices in turn, node by node.
    async fn publish(&self, rate: u32, length: Duration) -> Result<Series> {
        lock(&self.seen).clear();
        lock(&self.sent).clear();
        let (before, states_before) = (self.acknowledged(), self.states.load(Ordering::Relaxed));
        let meant = u64::from(rate) * length.as_secs();
        let a_tick = u64::from(rate).div_ceil(500);
        let mut ticks = interval(Duration::from_secs_f64(a_tick as f64 / f64::from(rate)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let start = Instant::now();
        let mut last: HashMap<usize, u64> = HashMap::new();
        let mut published = 0;
        while published < meant {
            ticks.tick().await;
            for _ in 0..a_tick.min(meant - published) {
                let number = self.next.fetch_add(1, Ordering::Relaxed);
                let at = usize::try_from(number)? % self.devices();
                let sensors = self.sensors.get(at % self.sensors.len()).context("a node")?;
                let name = sensors.names.get(at / self.sensors.len()).context("a device")?;
                lock(&self.sent).insert(number, Instant::now());
                let payload = device::reading("temperature", &number.to_string());
                sensors.client.publish(device::update_topic(name), QoS::AtLeastOnce, false, payload).await?;
                last.insert(at, number);
                published += 1;
            }
        }
        let all = eventually("all publishes are acknowledged", LAST, || async {
            let count = self.acknowledged() - before;
            if count >= meant { Ok(()) } else { Err(count) }
        });
        let all = all.await.is_ok();
        let took = start.elapsed();
        let arrived = eventually("the last values are in the cloud", LAST, || async {
            let seen = lock(&self.seen);
            let missing = last.values().filter(|number| !seen.contains_key(*number)).count();
            if missing == 0 { Ok(()) } else { Err(missing) }
        });
        let arrived = all && arrived.await.is_ok();
        Ok(Series {
            latencies: lock(&self.seen).values().copied().collect(),
            states: self.states.load(Ordering::Relaxed) - states_before,
            acknowledged: self.acknowledged() - before,
            arrived,
            took,
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
