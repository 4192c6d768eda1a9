//! From a sensor's publish to the value in a watch of DeviceStatus.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Result, bail};
use e2e::{EdgeOptions, Stack, StackOptions, device, eventually};
use futures::{StreamExt, TryStreamExt};
use kube::{
    Api,
    api::{DynamicObject, WatchEvent, WatchParams},
};
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::task::AbortOnDropHandle;

use crate::{Measure, quantile};

/// Rates that are tried for the highest sustained one, in publishes a second.
const RATES: [u32; 7] = [100, 250, 500, 1000, 2000, 4000, 8000];

/// How long a rate must hold to count as sustained.
const SUSTAINED: Duration = Duration::from_secs(30);

pub(crate) async fn run() -> Result<Vec<Measure>> {
    let mut stack = Stack::start(StackOptions::default()).await?;
    stack.join(&EdgeOptions::default()).await?;
    device::apply_thermometer(&stack.client(), "edge1", "bench-sensor").await?;
    let probe = Probe::start(&stack).await?;
    probe.settle().await?;

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

/// What became of one series of publishes.
struct Series {
    /// Publish → seen in the watch, of every value that was seen.
    latencies: Vec<Duration>,
    /// Publishes acknowledged by the broker.
    acknowledged: u64,
    /// Publishes meant to be sent.
    meant: u64,
    /// How long the series really took.
    took: Duration,
}

impl Series {
    /// All acknowledged at the wanted rate, and what the cloud shows is never older than a second.
    fn sustained(&self, rate: u32) -> bool {
        let reached = self.acknowledged as f64 / self.took.as_secs_f64();
        self.acknowledged == self.meant
            && reached >= f64::from(rate) * 0.97
            && quantile(&self.latencies, 0.99) <= Duration::from_secs(1)
    }
}

/// A sensor and somebody who watches its status in the cloud.
struct Probe {
    sensor: AsyncClient,
    sent: Arc<Mutex<HashMap<u64, Instant>>>,
    seen: Arc<Mutex<Vec<(u64, Duration)>>>,
    acknowledged: Arc<AtomicU64>,
    next: AtomicU64,
    _tasks: [AbortOnDropHandle<()>; 2],
}

impl Probe {
    async fn start(stack: &Stack) -> Result<Self> {
        let mut options = MqttOptions::new("bench-sensor", "127.0.0.1", stack.mqtt_port());
        options.set_keep_alive(Duration::from_secs(30)).set_inflight(1000);
        let (sensor, mut events) = AsyncClient::new(options, 2000);
        let acknowledged = Arc::new(AtomicU64::new(0));
        let sent: Arc<Mutex<HashMap<u64, Instant>>> = Arc::default();
        let seen: Arc<Mutex<Vec<(u64, Duration)>>> = Arc::default();

        let acks = Arc::clone(&acknowledged);
        let mqtt = spawn(async move {
            loop {
                match events.poll().await {
                    Ok(Event::Incoming(Packet::PubAck(_))) => {
                        acks.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(_) => {}
                    Err(_) => sleep(Duration::from_millis(50)).await,
                }
            }
        });

        let statuses: Api<DynamicObject> =
            Api::namespaced_with(stack.client(), "default", &device::status_resource());
        let (watch_sent, watch_seen) = (Arc::clone(&sent), Arc::clone(&seen));
        let watch = spawn(async move {
            loop {
                let Ok(stream) = statuses.watch(&WatchParams::default(), "0").await else {
                    sleep(Duration::from_millis(50)).await;
                    continue;
                };
                let mut stream = stream.boxed();
                while let Ok(Some(event)) = stream.try_next().await {
                    let (WatchEvent::Added(object) | WatchEvent::Modified(object)) = event else { continue };
                    let Some(number) =
                        device::reported(&object, "temperature").and_then(|text| text.parse().ok())
                    else {
                        continue;
                    };
                    let at = lock(&watch_sent).remove(&number);
                    if let Some(at) = at {
                        lock(&watch_seen).push((number, at.elapsed()));
                    }
                }
            }
        });
        Ok(Self { sensor, sent, seen, acknowledged, next: AtomicU64::new(1), _tasks: [mqtt, watch] })
    }

    /// Waits until a first value has gone the whole way.
    async fn settle(&self) -> Result<()> {
        let end = Instant::now() + Duration::from_secs(60);
        while self.publish(2, Duration::from_secs(1)).await?.latencies.is_empty() {
            if Instant::now() > end {
                bail!("no published value reached DeviceStatus within 60 s");
            }
        }
        Ok(())
    }

    async fn publish(&self, rate: u32, length: Duration) -> Result<Series> {
        lock(&self.seen).clear();
        lock(&self.sent).clear();
        let before = self.acknowledged.load(Ordering::Relaxed);
        let meant = u64::from(rate) * length.as_secs();
        // At high rates a tick carries several publishes: timers are not finer than a millisecond.
        let a_tick = u64::from(rate).div_ceil(500);
        let mut ticks = interval(Duration::from_secs_f64(a_tick as f64 / f64::from(rate)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let start = Instant::now();
        let mut last = 0;
        let mut published = 0;
        while published < meant {
            ticks.tick().await;
            for _ in 0..a_tick.min(meant - published) {
                last = self.next.fetch_add(1, Ordering::Relaxed);
                lock(&self.sent).insert(last, Instant::now());
                let payload = device::reading("temperature", &last.to_string());
                self.sensor
                    .publish(device::update_topic("bench-sensor"), QoS::AtLeastOnce, false, payload)
                    .await?;
                published += 1;
            }
        }
        let acknowledged = || self.acknowledged.load(Ordering::Relaxed) - before;
        let limit = Duration::from_secs(5);
        eventually("all publishes are acknowledged", limit, || async {
            let count = acknowledged();
            if count >= meant { Ok(()) } else { Err(count) }
        })
        .await
        .ok();
        let took = start.elapsed();
        eventually("the last value is in the cloud", limit, || async {
            if lock(&self.seen).iter().any(|(number, _)| *number == last) { Ok(()) } else { Err(()) }
        })
        .await
        .ok();
        let seen = lock(&self.seen);
        let last_seen = seen.iter().any(|(number, _)| *number == last);
        let latencies =
            if last_seen { seen.iter().map(|(_, latency)| *latency).collect() } else { Vec::new() };
        Ok(Series { latencies, acknowledged: acknowledged(), meant, took })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The handle that comes back is the task's owner: it ends with it.
#[allow(clippy::disallowed_methods)]
pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(task))
}
