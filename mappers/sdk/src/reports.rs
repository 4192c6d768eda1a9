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

use crate::receipt::Receipt;

/// Devices that are reported at the same time.
const AT_ONCE: usize = 64;
/// An equal value is told again after this long, so that the cloud sees that it is alive.
const SAME: Duration = Duration::from_secs(60);

/// What waits, of all devices.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    state: Mutex<State>,
    news: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: BTreeMap<String, Waiting>,
    /// What was taken last, and when; of properties of which nothing newer waits or is under way.
    taken: HashMap<(String, String), (Value, Instant)>,
}

/// A property's value, and what is wanted of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Value {
    pub actual: String,
    pub wanted: String,
}

/// A value that edgecore does not have yet, and what its source hears when that has changed.
#[derive(Debug)]
pub(crate) struct Reading {
    pub value: Value,
    pub receipt: Option<Receipt>,
}

#[derive(Debug, Default)]
struct Waiting {
    state: Option<String>,
    values: BTreeMap<String, Reading>,
}

/// edgecore is gone.
#[derive(Debug)]
pub(crate) struct Lost(pub Status);

// === impl Reports ===

impl Reports {
    /// Values of a device. Those that edgecore has just taken are left out.
    pub(crate) fn values(&self, device: &str, readings: impl IntoIterator<Item = (String, Reading)>) {
        let mut state = self.state();
        let now = Instant::now();
        let mut news = false;
        for (property, reading) in readings {
            let key = (device.to_owned(), property.clone());
            let same = |(old, at): &(Value, Instant)| *old == reading.value && now.duration_since(*at) < SAME;
            if state.taken.get(&key).is_some_and(same) {
                reading.received();
                continue;
            }
            // From now on this one is the newest, also while it is under way: an older one that comes again is news.
            state.taken.remove(&key);
            state.waiting.entry(device.to_owned()).or_default().put(property, reading);
            news = true;
        }
        if news {
            self.news.notify_one();
        }
    }

    /// Whether a device is online.
    pub(crate) fn state_of(&self, device: &str, word: &str) {
        self.state().waiting.entry(device.to_owned()).or_default().state = Some(word.to_owned());
        self.news.notify_one();
    }

    /// The device is gone, and so is what waits of it.
    pub(crate) fn forget(&self, device: &str) {
        let mut state = self.state();
        state.waiting.remove(device);
        state.taken.retain(|(of, _), _| of != device);
    }

    /// edgecore may have forgotten what it took.
    pub(crate) fn begin_anew(&self) {
        self.state().taken.clear();
    }

    /// edgecore has these.
    fn took(&self, device: &str, batch: BTreeMap<String, Reading>) {
        let mut state = self.state();
        let at = Instant::now();
        for (property, reading) in batch {
            let newer =
                state.waiting.get(device).is_some_and(|waiting| waiting.values.contains_key(&property));
            if !newer {
                state.taken.insert((device.to_owned(), property), (reading.value.clone(), at));
            }
            reading.received();
        }
    }

    /// Nothing that holds the lock can panic half-way.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends what waits until edgecore is lost. What was not taken then waits on.
    pub(crate) async fn send(&self, client: &DeviceManagerServiceClient<Channel>) -> Lost {
        loop {
            let batch = std::mem::take(&mut self.state().waiting);
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
                Ok(_) => self.took(&device, batch),
                Err(status) if is_lasting(&status) && batch.len() > 1 => {
                    batches.extend(batch.into_iter().map(|one| BTreeMap::from([one])));
                }
                Err(status) if is_lasting(&status) => {
                    let property = batch.keys().next().map_or("", String::as_str);
                    warn!(device, property, "edgecore refuses a value: {}", status.message());
                    // It would be refused the next time too.
                    batch.into_values().for_each(Reading::received);
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
        let mut state = self.state();
        let newest = state.waiting.entry(device).or_default();
        newest.state = newest.state.take().or(older.state);
        for (property, reading) in older.values {
            newest.put_before(property, reading);
        }
        Some(Lost(why))
    }
}

// === impl Reading ===

impl Reading {
    /// Its source need not keep it any more.
    fn received(self) {
        if let Some(receipt) = self.receipt {
            receipt.give();
        }
    }

    /// Takes the place of an older one.
    fn after(mut self, older: Self) -> Self {
        self.receipt = Receipt::newest(older.receipt, self.receipt);
        self
    }
}

// === impl Waiting ===

impl Waiting {
    /// The newest of its property.
    fn put(&mut self, property: String, newer: Reading) {
        let reading = match self.values.remove(&property) {
            Some(older) => newer.after(older),
            None => newer,
        };
        self.values.insert(property, reading);
    }

    /// The newest of its property, unless there is one already.
    fn put_before(&mut self, property: String, older: Reading) {
        let reading = match self.values.remove(&property) {
            Some(newer) => newer.after(older),
            None => older,
        };
        self.values.insert(property, reading);
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

fn status_request(device: &str, values: &BTreeMap<String, Reading>) -> wire::ReportDeviceStatusRequest {
    let (namespace, name) = device.split_once('/').unwrap_or_default();
    let text = |value: &str| Some(wire::TwinProperty { value: value.to_owned(), metadata: BTreeMap::new() });
    let twins = values.iter().map(|(property, Reading { value, .. })| wire::Twin {
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

#[cfg(test)]
mod tests;
