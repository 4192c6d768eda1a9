//! Sensors that publish at a rate, and somebody who watches their statuses in the cloud.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::{device, eventually};
use futures::{StreamExt, TryStreamExt};
use kube::api::{DynamicObject, WatchEvent, WatchParams};
use kube::{Api, Client};
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::task::AbortOnDropHandle;

use crate::quantile;

/// How long the last values may take.
const LAST: Duration = Duration::from_secs(10);

/// The devices of one node, behind one client.
pub(crate) struct Sensors {
    client: AsyncClient,
    names: Vec<String>,
    acknowledged: Arc<AtomicU64>,
    _mqtt: AbortOnDropHandle<()>,
}

impl Sensors {
    /// Makes the devices, and a client that speaks for all of them.
    pub(crate) async fn of(client: &Client, node: &str, port: u16, names: Vec<String>) -> Result<Self> {
        for name in &names {
            device::apply_thermometer(client, node, name).await?;
        }
        let (client, mqtt, acknowledged) = connect(port).await?;
        Ok(Self { client, names, acknowledged, _mqtt: mqtt })
    }
}

/// A client; how often the broker has acknowledged what it published is counted.
pub(crate) async fn connect(port: u16) -> Result<(AsyncClient, AbortOnDropHandle<()>, Arc<AtomicU64>)> {
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
pub(crate) struct Series {
    /// Publish → seen in the watch, of every value that was seen.
    pub(crate) latencies: Vec<Duration>,
    /// Events of the watch.
    pub(crate) states: u64,
    /// Publishes acknowledged by the brokers.
    pub(crate) acknowledged: u64,
    /// Everything was acknowledged, and the last value of every device was seen.
    pub(crate) arrived: bool,
    /// How long the series really took.
    pub(crate) took: Duration,
}

impl Series {
    /// All arrived at the wanted rate, and what the cloud shows is never older than a second.
    pub(crate) fn sustained(&self, rate: u32) -> bool {
        let reached = self.acknowledged as f64 / self.took.as_secs_f64();
        self.arrived
            && reached >= f64::from(rate) * 0.97
            && quantile(&self.latencies, 0.99) <= Duration::from_secs(1)
    }
}

/// Sensors of all nodes and somebody who watches their statuses in the cloud.
pub(crate) struct Fleet {
    sensors: Vec<Sensors>,
    sent: Arc<Mutex<HashMap<u64, Instant>>>,
    seen: Arc<Mutex<HashMap<u64, Duration>>>,
    states: Arc<AtomicU64>,
    next: AtomicU64,
    _watch: AbortOnDropHandle<()>,
}

impl Fleet {
    /// Watches, and waits until a first value of every device has gone the whole way.
    pub(crate) async fn start(client: &Client, sensors: Vec<Sensors>) -> Result<Self> {
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
    pub(crate) async fn publish(&self, rate: u32, length: Duration) -> Result<Series> {
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

/// The handle that comes back is the task's owner: it ends with it.
#[allow(clippy::disallowed_methods, reason = "the handle ends it")]
pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(task))
}
