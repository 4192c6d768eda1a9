//! One device: connected, read in the cycle of each property, written when something else is wanted of it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tasks::Backoff;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::device::{Device, Property};
use crate::protocol::{Error, Protocol};
use crate::push::{Push, Sample};
use crate::reports::{Reading, Reports, Value};

/// The longest that a device may take to answer.
const LIMIT: Duration = Duration::from_secs(10);
/// The first pause before connecting again, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// What is known of a connection.
struct Session<L> {
    link: L,
    /// When each property is read next.
    due: BTreeMap<String, Instant>,
    /// When each property is pushed next.
    pushed: BTreeMap<String, Instant>,
    /// What was written, so that it is not written again.
    written: BTreeMap<String, String>,
    /// What does not work, so that it is said once.
    broken: BTreeMap<String, String>,
    /// When the state is told next.
    state_due: Option<Instant>,
}

pub(crate) async fn run<P: Protocol>(
    protocol: Arc<P>,
    mut wanted: watch::Receiver<Arc<Device>>,
    reports: Arc<Reports>,
    push: Push,
    stop: CancellationToken,
) -> Result<(), Infallible> {
    let mut backoff = Backoff::new(PAUSES.0, PAUSES.1);
    let mut said = String::new();
    loop {
        let device = Arc::clone(&wanted.borrow_and_update());
        let connected = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            connected = limited(protocol.connect(&device)) => connected,
        };
        let why = match connected {
            Ok(link) => {
                info!(device = device.id(), "connected");
                let session = serve(&*protocol, link, device, &mut wanted, (&reports, &push), &mut backoff);
                let ended = tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    ended = session => ended,
                };
                match ended {
                    // It is reached another way now.
                    None => continue,
                    Some(error) => error,
                }
            }
            Err(error) => error,
        };
        let device = Arc::clone(&wanted.borrow());
        if device.state_cycle.is_some() {
            reports.state_of(&device.id(), "offline");
        }
        if said != why.to_string() {
            warn!(device = device.id(), "not reached, it is tried again: {why}");
            said = why.to_string();
        }
        let pause = backoff.pause();
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(pause) => {}
            changed = wanted.changed() => if changed.is_err() { return Ok(()) },
        }
    }
}

/// Until the connection is of no use (why), or another one is needed.
async fn serve<P: Protocol>(
    protocol: &P,
    link: P::Link,
    mut device: Arc<Device>,
    wanted: &mut watch::Receiver<Arc<Device>>,
    (reports, push): (&Reports, &Push),
    backoff: &mut Backoff,
) -> Option<Error> {
    let mut session = Session {
        link,
        due: BTreeMap::new(),
        pushed: BTreeMap::new(),
        written: BTreeMap::new(),
        broken: BTreeMap::new(),
        state_due: Some(Instant::now()),
    };
    loop {
        if let Err(error) = session.turn(protocol, &device, reports, push).await {
            return Some(error);
        }
        backoff.reset();
        let next = session.next(&device);
        tokio::select! {
            () = sleep_until(next) => {}
            () = protocol.said(&mut session.link) => session.due.clear(),
            changed = wanted.changed() => {
                changed.ok()?;
                let new = Arc::clone(&wanted.borrow_and_update());
                if !new.same_link(&device) {
                    return None;
                }
                device = new;
            }
        }
    }
}

impl<L: Send> Session<L> {
    /// Writes what is wanted, reads what is due, tells it.
    async fn turn<P: Protocol<Link = L>>(
        &mut self,
        protocol: &P,
        device: &Device,
        reports: &Reports,
        push: &Push,
    ) -> Result<(), Error> {
        for property in device.properties.iter().filter(|property| !property.read_only) {
            let Some(desired) = &property.desired else { continue };
            if self.written.get(&property.name) == Some(desired) {
                continue;
            }
            let done = limited(protocol.write(&mut self.link, property, desired)).await;
            if self.judge(device, &property.name, done)?.is_some() {
                info!(device = device.id(), property = property.name, value = desired, "written");
                self.written.insert(property.name.clone(), desired.clone());
                // What became of it is of interest at once.
                self.due.remove(&property.name);
            }
        }
        let mut readings = Vec::new();
        let read = self.read_due(protocol, device, push, &mut readings).await;
        // Also when the connection broke in between: who was read has said it.
        reports.values(&device.id(), readings);
        read?;
        let now = Instant::now();
        if let Some(cycle) = device.state_cycle
            && self.state_due.is_none_or(|due| due <= now)
        {
            reports.state_of(&device.id(), "ok");
            self.state_due = Some(now + cycle);
        }
        Ok(())
    }

    async fn read_due<P: Protocol<Link = L>>(
        &mut self,
        protocol: &P,
        device: &Device,
        push: &Push,
        readings: &mut Vec<(String, Reading)>,
    ) -> Result<(), Error> {
        for property in device.properties.iter().filter(|property| property.is_read()) {
            let now = Instant::now();
            if self.due.get(&property.name).is_some_and(|due| *due > now) {
                continue;
            }
            self.due.insert(property.name.clone(), now + property.collect_cycle);
            let read = limited(protocol.read(&mut self.link, property)).await;
            let Some(Some(actual)) = self.judge(device, &property.name, read)? else { continue };
            let receipt = protocol.receipt(&mut self.link, property);
            let is_pushed = self.is_pushed_now(property);
            if is_pushed {
                hand_on(device, property, &actual, push).await;
            }
            if property.report {
                let wanted = property.desired.clone().filter(|_| !property.read_only).unwrap_or_default();
                let value = Value { actual: actual.clone(), wanted };
                readings.push((property.name.clone(), Reading { value, receipt }));
            } else if let Some(receipt) = receipt {
                receipt.give();
            }
            if is_pushed {
                self.detect(protocol, device, property, &actual).await?;
            }
        }
        Ok(())
    }

    /// Whether it is time for the property's other targets.
    fn is_pushed_now(&mut self, property: &Property) -> bool {
        let now = Instant::now();
        let is_pushed = property.detection.is_some() || !property.targets.is_empty();
        if !is_pushed || self.pushed.get(&property.name).is_some_and(|due| *due > now) {
            return false;
        }
        self.pushed.insert(property.name.clone(), now + property.push_cycle);
        true
    }

    /// Shows the reading to what finds anomalies.
    async fn detect<P: Protocol<Link = L>>(
        &mut self,
        protocol: &P,
        device: &Device,
        property: &Property,
        value: &str,
    ) -> Result<(), Error> {
        let Some(detection) = &property.detection else { return Ok(()) };
        let detected = limited(protocol.detect(&mut self.link, property, detection, value)).await;
        // What is wrong with it is said beside what is wrong with reading the property.
        let of = format!("{} anomalyDetection", property.name);
        self.judge(device, &of, detected).map(drop)
    }

    /// What only this property has trouble with is said once and tried again in its cycle.
    fn judge<T>(
        &mut self,
        device: &Device,
        property: &str,
        result: Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        match result {
            Ok(value) => {
                self.broken.remove(property);
                Ok(Some(value))
            }
            Err(error @ Error::Link(_)) => Err(error),
            Err(error) => {
                let why = error.to_string();
                if self.broken.get(property) != Some(&why) {
                    warn!(device = device.id(), property, "{why}");
                    self.broken.insert(property.to_owned(), why);
                }
                Ok(None)
            }
        }
    }

    fn next(&self, device: &Device) -> Instant {
        let reads = device.properties.iter().filter(|property| property.is_read());
        let reads = reads.filter_map(|property| self.due.get(&property.name).copied());
        let unwritten = device.properties.iter().filter(|property| {
            !property.read_only
                && property.desired.is_some()
                && self.written.get(&property.name) != property.desired.as_ref()
        });
        let now = Instant::now();
        let writes = unwritten.map(|property| now + property.collect_cycle);
        let state = device.state_cycle.and(self.state_due);
        // A device of which nothing is wanted is looked at again when it changes.
        reads.chain(writes).chain(state).min().unwrap_or(now + Duration::from_secs(3600))
    }
}

/// Hands the reading on to the property's other targets.
async fn hand_on(device: &Device, property: &Property, value: &str, push: &Push) {
    for target in &property.targets {
        let sample = Sample {
            namespace: device.namespace.clone(),
            device: device.name.clone(),
            property: property.name.clone(),
            kind: property.data_type(),
            value: value.to_owned(),
            at_ms: tasks::clock::unix_ms(),
        };
        push.take(target, sample).await;
    }
}

async fn limited<T>(answer: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let late = || Error::link(format!("no answer within {} s", LIMIT.as_secs()));
    timeout(LIMIT, answer).await.unwrap_or_else(|_| Err(late()))
}

#[cfg(test)]
mod tests;
