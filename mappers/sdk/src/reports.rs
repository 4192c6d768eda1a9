//! Reports that edgecore has not taken yet: the newest value of each property, sent a device at a time.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dmi::v1beta1 as wire;
use dmi::v1beta1::device_manager_service_client::DeviceManagerServiceClient;
use futures::StreamExt;
use tokio::sync::Notify;
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tracing::warn;

/// Devices that are reported at the same time.
const AT_ONCE: usize = 64;
/// An equal value is told again after this long, so that the cloud sees that it is alive.
const SAME: Duration = Duration::from_secs(60);

/// What waits, of all devices.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    waiting: Mutex<BTreeMap<String, Waiting>>,
    /// What was taken last, and when.
    taken: Mutex<HashMap<(String, String), (Value, Instant)>>,
    news: Notify,
}

/// A property's value, and what is wanted of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Value {
    pub actual: String,
    pub wanted: String,
}

#[derive(Clone, Debug, Default)]
struct Waiting {
    state: Option<String>,
    values: BTreeMap<String, Value>,
}

/// edgecore is gone.
#[derive(Debug)]
pub(crate) struct Lost(pub Status);

// === impl Reports ===

impl Reports {
    /// Values of a device. Those that edgecore has just taken are left out.
    pub(crate) fn values(&self, device: &str, values: impl IntoIterator<Item = (String, Value)>) {
        let taken = lock(&self.taken);
        let now = Instant::now();
        let news = values.into_iter().filter(|(property, value)| {
            let known = taken.get(&(device.to_owned(), property.clone()));
            known.is_none_or(|(old, at)| old != value || now.duration_since(*at) >= SAME)
        });
        let news: Vec<_> = news.collect();
        drop(taken);
        if !news.is_empty() {
            lock(&self.waiting).entry(device.to_owned()).or_default().values.extend(news);
            self.news.notify_one();
        }
    }

    /// Whether a device is online.
    pub(crate) fn state(&self, device: &str, state: &str) {
        lock(&self.waiting).entry(device.to_owned()).or_default().state = Some(state.to_owned());
        self.news.notify_one();
    }

    /// The device is gone, and so is what waits of it.
    pub(crate) fn forget(&self, device: &str) {
        lock(&self.waiting).remove(device);
        lock(&self.taken).retain(|(of, _), _| of != device);
    }

    /// edgecore may have forgotten what it took.
    pub(crate) fn begin_anew(&self) {
        lock(&self.taken).clear();
    }

    /// Sends what waits until edgecore is lost. What was not taken then waits on.
    pub(crate) async fn send(&self, client: &DeviceManagerServiceClient<Channel>) -> Lost {
        loop {
            let batch = std::mem::take(&mut *lock(&self.waiting));
            if batch.is_empty() {
                self.news.notified().await;
                continue;
            }
            let sending =
                batch.into_iter().map(|(device, waiting)| self.tell(client.clone(), device, waiting));
            let sent: Vec<Option<Lost>> =
                futures::stream::iter(sending).buffer_unordered(AT_ONCE).collect().await;
            if let Some(lost) = sent.into_iter().flatten().next() {
                return lost;
            }
        }
    }

    async fn tell(
        &self,
        mut client: DeviceManagerServiceClient<Channel>,
        device: String,
        mut waiting: Waiting,
    ) -> Option<Lost> {
        if let Some(state) = waiting.state.take() {
            match client.report_device_states(state_request(&device, &state)).await {
                Ok(_) => {}
                Err(status) if is_lasting(&status) => {
                    warn!(device, state, "edgecore refuses a state: {}", status.message())
                }
                Err(status) => {
                    waiting.state = Some(state);
                    return self.put_back(device, waiting, status);
                }
            }
        }
        // All in one; when something in it is refused, each by itself, so that the others are taken.
        let mut batches = vec![std::mem::take(&mut waiting.values)];
        while let Some(batch) = batches.pop().filter(|batch| !batch.is_empty()) {
            match client.report_device_status(status_request(&device, &batch)).await {
                Ok(_) => {
                    let at = Instant::now();
                    let taken =
                        batch.into_iter().map(|(property, value)| ((device.clone(), property), (value, at)));
                    lock(&self.taken).extend(taken);
                }
                Err(status) if is_lasting(&status) && batch.len() > 1 => {
                    batches.extend(batch.into_iter().map(|one| BTreeMap::from([one])));
                }
                Err(status) if is_lasting(&status) => {
                    let property = batch.keys().next().map_or("", String::as_str);
                    warn!(device, property, "edgecore refuses a value: {}", status.message());
                }
                Err(status) => {
                    waiting.values = batches.into_iter().flatten().chain(batch).collect();
                    return self.put_back(device, waiting, status);
                }
            }
        }
        None
    }

    fn put_back(&self, device: String, older: Waiting, why: Status) -> Option<Lost> {
        let mut all = lock(&self.waiting);
        let newest = all.entry(device).or_default();
        newest.state = newest.state.take().or(older.state);
        for (property, value) in older.values {
            newest.values.entry(property).or_insert(value);
        }
        Some(Lost(why))
    }
}

/// It will be refused the next time too.
fn is_lasting(status: &Status) -> bool {
    match status.code() {
        Code::InvalidArgument | Code::NotFound | Code::Unimplemented | Code::FailedPrecondition => true,
        // What KubeEdge's edgecore answers to anything that it does not like, its limit of one a second aside.
        Code::Unknown => {
            std::error::Error::source(status).is_none() && !status.message().contains("too many request")
        }
        _ => false,
    }
}

fn state_request(device: &str, state: &str) -> wire::ReportDeviceStatesRequest {
    let (namespace, name) = device.split_once('/').unwrap_or_default();
    wire::ReportDeviceStatesRequest {
        device_name: name.to_owned(),
        device_namespace: namespace.to_owned(),
        state: state.to_owned(),
    }
}

fn status_request(device: &str, values: &BTreeMap<String, Value>) -> wire::ReportDeviceStatusRequest {
    let (namespace, name) = device.split_once('/').unwrap_or_default();
    let text = |value: &str| Some(wire::TwinProperty { value: value.to_owned(), metadata: BTreeMap::new() });
    let twins = values.iter().map(|(property, value)| wire::Twin {
        property_name: property.clone(),
        observed_desired: text(&value.wanted),
        reported: text(&value.actual),
    });
    wire::ReportDeviceStatusRequest {
        device_name: name.to_owned(),
        device_namespace: namespace.to_owned(),
        reported_device: Some(wire::DeviceStatus { twins: twins.collect(), ..Default::default() }),
    }
}

/// Nothing that holds one of these locks can panic half-way.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
